"""Measure which share of each stage the comparison of recorded hashes takes: `python -m benchmarks.hashes`.

A small project is made in a temporary folder: the stand-in of GOPRO, one run, two evaluations, a report, a restored
photograph. Each stage runs in this process, and the processor time of every SHA-256 in it is added up by the module
that asked for it; reading a file only to hash it is included. The shares can be compared between machines, the times
cannot. The command fails when a module's share of a stage is above 2 %.

A resumed build is compared with the whole build: with what was spared, not with the little that is left.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from skimage import data
from skimage.io import imsave

from bench.cli import main as command_line
from bench.contracts import UserError
from bench.data import build, work_folder
from bench.provenance import ROOT

LIMIT = 0.02
"""The largest share of a stage that the checks of one module may take."""
HELPERS = ("bench.hashes", "bench.files", "hashlib", __name__)
"""Modules that hash for others."""
NOT_CHECKS = ("bench.code", "bench.training.train", "bench.search.engine", "bench.search.journal")
"""Modules whose hashes are identities of code and settings, or of lines that are written."""
RUN, DATASET = "mrfnet-gopro", "gopro"


class Meter:
    """Adds up the processor seconds of SHA-256, by the module that asked for it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.lock = threading.Lock()

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added up."""

        def call(*args: Any, **options: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **options)
            seconds = time.thread_time() - began
            with self.lock:
                self.seconds[_asking_module()] += seconds
            return result

        return call

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure what is inside."""
        functions = {name: getattr(hashlib, name) for name in ("sha256", "file_digest")}
        for name, function in functions.items():
            setattr(hashlib, name, self.timed(function))
        try:
            yield
        finally:
            for name, function in functions.items():
                setattr(hashlib, name, function)


def _asking_module() -> str:
    """Return the module behind a call of `hashlib`, without those that hash for others."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals["__name__"] in HELPERS:
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


def run(*arguments: str) -> None:
    """Run a command of Sharpbench in this process, quietly. Ends this program when it fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = command_line.main(list(arguments))
    if status:
        sys.exit(f"{' '.join(arguments)}: status {status}\n{printed.getvalue()}")


def write_project(folder: Path, steps: int) -> None:
    """Write the parameters of a project with one run, its baseline and its search, and a photograph."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    run_values = values["runs"]["deblur"][RUN] | {"sample": {"train": {"steps": steps}}}
    values["runs"] = {"deblur": {RUN: run_values}}
    values |= {"chains": {}, "transfers": {}, "auxiliary": {}, "profile": "sample"}
    values["baselines"] = {"input-gopro": values["baselines"]["input-gopro"]}
    values["searches"] = {}
    values["paths"] |= {"weights": ""}
    values["evaluate"]["sample"] |= {"macs_sizes": [], "timing_repeats": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    imsave(folder / "photo.png", data.astronaut(), check_contrast=False)


@contextlib.contextmanager
def a_thread(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    """A thread in place of the processes that make images, so that their time is measured too."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def stop_a_build() -> None:
    """Build the dataset again and stop when all its images are made."""

    def stop(work: Path, out: Path) -> None:
        raise UserError("stopped")

    original, build.finish = build.finish, stop
    try:
        with contextlib.suppress(SystemExit):
            run("build", DATASET, "--jobs", "1")
    finally:
        build.finish = original
    for name in ("manifest.parquet", "manifest.sha256"):
        (Path("data/sample") / f".{DATASET}.building" / name).unlink()
    assert (Path("data/sample") / f".{DATASET}.building" / work_folder.JOB).is_file()


def measure(stage: str, *arguments: str, whole: float = 0.0) -> tuple[float, float]:
    """Run a command, print the share of each module, and return the largest share and the stage's seconds.

    Args:
        stage: its name.
        arguments: the command.
        whole: processor seconds to compare with in place of the command's.
    """
    meter, began = Meter(), time.process_time()
    with meter.measuring():
        run(*arguments)
    seconds = time.process_time() - began
    largest = 0.0
    for module, spent in meter.seconds.most_common():
        if module.startswith(("bench.", "reports.")) and module not in NOT_CHECKS:
            share = spent / (whole or seconds)
            largest = max(largest, share)
            print(f"{stage:<16} {whole or seconds:>8.1f} {module:<28} {1000 * spent:>9.2f} {share:>8.3%}", flush=True)
    return largest, seconds


def main() -> None:
    """Print one line per stage and module: the stage's time, the hashes' time, the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of the training; a longer one has smaller shares")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("the steps must be at least 1")
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        write_project(Path(name), options.steps)
        run("list", "runs")  # imports what every command needs
        build.processes = a_thread
        print(f"{'stage':<16} {'stage, s':>8} {'who compares':<28} {'hash, ms':>9} {'share':>8}")
        largest, building = measure("build", "build", DATASET, "--jobs", "1")
        stop_a_build()
        shares = [largest, measure("build, resumed", "build", DATASET, "--jobs", "1", whole=building)[0]]
        for stage, arguments in {
            "train": ["train", RUN],
            "evaluate": ["evaluate", RUN],
            "evaluate input": ["evaluate", "input-gopro"],
            "restore": ["restore", RUN, "photo.png", "--out", "restored"],
            "report": ["report"],
            "check": ["check"],
        }.items():
            shares.append(measure(stage, *arguments)[0])
    if max(shares) > LIMIT:
        sys.exit(f"the largest share is {max(shares):.1%}, expected at most {LIMIT:.0%}")


if __name__ == "__main__":
    main()
