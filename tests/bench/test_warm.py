"""Commands below `python -m bench.warm` are done by forks of one process that has imported what is heavy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from bench import warm
from bench.data.build import Job, build
from bench.files import sha256

ROOT = Path(__file__).parents[2]
RUN = {"method": "mrfnet", "dataset": "places2", "task": "deblur", "network": {"channels": 4}}
TRAIN = {"batch_size": 2, "crop_size": 32}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    runs = {
        "here": RUN | {"train": TRAIN | {"steps": 3}},
        "there": RUN | {"train": TRAIN | {"steps": 3}},
        "long": RUN | {"train": TRAIN | {"steps": 10**6}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "sample", "threads": 1, "runs": {"deblur": runs}}))
    build(Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample"), folder / "data" / "sample" / "places2", 1)
    return folder


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, *arguments], "cwd": folder, "env": environment}


SEVERAL = f"""
import json, os, subprocess, sys
def bench(*arguments, **more):
    done = subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, **more)
    print(json.dumps([done.returncode, done.stdout, done.stderr]))
    return done
print(os.path.exists(os.environ["{warm.ADDRESS}"]))
bench("list", "runs")
bench("train", "hree")
bench("trian")
bench("list", "runs", cwd="..")
bench("list", "runs", env=os.environ | {{"SHARPBENCH_PROFILE": "nothing"}})
sys.exit(bench("train", "there").returncode + 7)
"""


def test_the_work_is_the_same_and_so_are_streams_folder_environment_and_status(project):
    done = subprocess.run(
        **command(project, "-m", "bench.warm", sys.executable, "-c", SEVERAL),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7 and done.stderr == ""
    there, *results = done.stdout.splitlines()
    assert there == "True"
    listed, unknown, usage, elsewhere, profile, trained = map(json.loads, results)
    assert listed[0] == 0 and "runs of profile sample (3)" in listed[1]
    assert unknown[0] == 2 and unknown[2].startswith(
        "sharpbench train: params.yaml: no run 'hree'; the nearest are: here"
    )
    assert usage[0] == 2 and "invalid choice: 'trian'" in usage[2]
    assert elsewhere[0] == 2 and "params.yaml: no such file" in elsewhere[2]
    assert profile[0] == 2 and "profile: found 'nothing'" in profile[2]
    assert trained[0] == 0 and "there: 3 steps in" in trained[1]

    subprocess.run(**command(project, "-m", "bench", "train", "here"), capture_output=True, check=True)
    one, other = (project / "out/sample/runs" / name / "weights.safetensors" for name in ("here", "there"))
    assert sha256(one) == sha256(other)


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def test_killed_the_one_that_waits_takes_the_one_that_works_along(project):
    """And when the warm process is gone, the next command does its work itself."""
    script = f"""
import os, subprocess, sys
training = subprocess.Popen([sys.executable, "-m", "bench", "train", "long"])
print(training.pid, flush=True)
training.wait()
print(training.returncode, flush=True)
os.unlink(os.environ["{warm.ADDRESS}"])
sys.exit(subprocess.run([sys.executable, "-m", "bench", "list", "runs"]).returncode)
"""
    with subprocess.Popen(
        **command(project, "-m", "bench.warm", sys.executable, "-c", script), stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        waiting = int(outer.stdout.readline())
        server = next(c for c in psutil.Process(outer.pid).children() if "--serve" in c.cmdline())
        note = project / ".resume"
        assert until(lambda: list(note.glob("sample-long-*/run.json")))
        (working,) = server.children()
        os.kill(waiting, signal.SIGKILL)
        assert until(lambda: not working.is_running() or working.status() == psutil.STATUS_ZOMBIE)
        rest = outer.stdout.read()
    # Before the kill the training may have said how long it is going to be.
    assert str(-signal.SIGKILL) in rest.splitlines() and "runs of profile sample (3)" in rest
    assert outer.returncode == 0
    assert not server.is_running()


def test_without_a_warm_process_nothing_is_handed_over(monkeypatch):
    monkeypatch.delenv(warm.ADDRESS, raising=False)
    assert warm.hand_over(["list"]) is None
    monkeypatch.setenv(warm.ADDRESS, "/nowhere/socket")
    assert warm.hand_over(["list"]) is None
