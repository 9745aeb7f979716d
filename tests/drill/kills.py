"""Kill a command at any moment: the same command then goes on, and its result is that of an undisturbed one."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.drill import processes, project
from tests.drill.processes import Ended, Kill

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""The signals to choose from: most often the one that no program can handle."""
EXPECTED = {signal.SIGKILL: (-signal.SIGKILL,), signal.SIGTERM: (143,), signal.SIGINT: (130,)}
"""How a command ends by each signal, unless it had ended before."""
LEFTOVERS = (
    "**/.*.part",
    "**/.*.old",
    "**/.probe*",
    "**/.*.building",
    "**/.*.making",
    f".resume/sample-{project.RUN}*",
)
"""Files and folders that no finished command leaves; the study of a search is kept for further trials."""
FRESH_STORE = 0.3
"""The share of kills in which the command has to make MLflow's store first."""
AT_EVENT = 0.5
"""The share of kills at an event; the others are at a random moment."""
COLD = 0.1
"""The share of kills of a new process, which still has to import everything."""


@dataclass(frozen=True)
class Command:
    """A command of the drill."""

    arguments: tuple[str, ...]
    """Its command line."""
    removed: tuple[str, ...]
    """What is removed before it, as patterns."""
    events: tuple[str, ...]
    """Patterns of files whose appearance is a moment to kill it."""
    result: Callable[[Path], Any]
    """What must be as in an undisturbed project."""
    once: str = ""
    """The kind of MLflow runs of which there must be exactly one afterwards."""


def digests_of(*patterns: str) -> Callable[[Path], dict[str, str]]:
    """Return a function of a project to the SHA-256 of its files that fit the patterns, by name."""

    def digests(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for pattern in patterns
            for path in sorted(folder.glob(pattern))
        }

    return digests


def scores_of(folder: Path) -> list[tuple[Any, ...]]:
    """Return the measured values of an evaluation but for its costs, which are measured again."""
    import pandas as pd

    rows = pd.read_parquet(folder / "out" / "sample" / "scores" / project.RUN / "scores.parquet")
    rows = rows[rows["image"] != ""]
    return list(rows[["image", "metric", "value"]].itertuples(index=False, name=None))


def search_of(folder: Path) -> dict[str, Any]:
    """Return what does not depend on which process tried which trial: the run's own trial, and how many there are."""
    study = json.loads((folder / "out" / "sample" / "search" / project.RUN / "study.json").read_text())
    return {"default": study["default"]["value"], "trials": study["settings"]["trials"], "metric": study["metric"]}


IMPORTED = "out/sample/runs/imported"
WEIGHTS = f"out/sample/runs/{project.RUN}/weights.safetensors"
COMMANDS = (
    Command(
        ("build", "gopro"),
        ("data/sample/gopro", "data/sample/.gopro*"),
        ("data/sample/.gopro.building/rows/*/*.json", "data/sample/.gopro.building/packed/*", "data/sample/.gopro.old",
         "data/sample/.gopro.building/manifest.parquet", "data/sample/gopro/manifest.parquet"),
        digests_of("data/sample/gopro/**/*.png", "data/sample/gopro/packed/*"),
    ),
    Command(
        ("train", project.RUN),
        (f"out/sample/runs/{project.RUN}", ".resume/*"),
        ("mlflow.db", ".mlflow*", ".resume/*/run.json", ".resume/*/state.pt", "out/sample/runs/.*.part/*", WEIGHTS),
        digests_of(WEIGHTS),
        once="trained",
    ),
    Command(
        ("evaluate", project.RUN),
        (f"out/sample/scores/{project.RUN}",),
        ("out/sample/scores/.*.part", "out/sample/scores/.*.part/images/*", "out/sample/scores/.*.part/scores.parquet",
         f"out/sample/scores/{project.RUN}/record.json"),
        scores_of,
    ),
    Command(
        ("import", "mrfnet", f"{WEIGHTS}:network", "--dataset", "gopro", "--name", "imported"),
        (IMPORTED,),
        ("out/sample/runs/.*.part", "out/sample/runs/.*.part/*", f"{IMPORTED}/record.json"),
        digests_of(f"{IMPORTED}/weights.safetensors"),
    ),
    Command(
        ("report",),
        ("reports/out/sample",),
        ("mlflow.db", ".mlflow*", "reports/out/.*.part", "reports/out/.*.part/figures/*",
         "reports/out/.*.part/tables/*", "reports/out/.*.part/summary.json", "reports/out/sample/summary.json"),
        project.read_cells,
    ),
    Command(
        ("search", project.RUN),
        (f"out/sample/search/{project.RUN}", ".resume/*"),
        ("mlflow.db", ".mlflow*", ".resume/*/journal.log", ".resume/*/trial-0/state.pt", ".resume/*/trial-1/state.pt",
         "out/sample/search/.*.part"),
        search_of,
        once="search",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What commands give undisturbed, and how long they take."""

    results: dict[str, Any]
    """By the command's name, of `Command.result`."""
    seconds: dict[str, float]
    """By the command's name."""


def remove(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove files and folders of a project."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def measure(folder: Path) -> Reference:
    """Run every command once more, undisturbed."""
    results, seconds = {}, {}
    for command in COMMANDS:
        remove(folder, command.removed)
        ended = processes.run(folder, command.arguments)
        if ended.status:
            raise RuntimeError(f"{command.arguments}: status {ended.status} undisturbed: {ended.text}")
        results[command.arguments[0]], seconds[command.arguments[0]] = command.result(folder), ended.seconds
    return Reference(results, seconds)


def prepare(folder: Path) -> tuple[Path, Reference]:
    """Make a project in a new folder; return it with what its commands give undisturbed."""
    place = folder / "project"
    project.make(place)
    return place, measure(place)


def attempt(prepared: tuple[Path, Reference], seed: str, number: int) -> list[str]:
    """Kill one command and run it again; return what is wrong.

    Args:
        prepared: a project in which everything was made, and what it gives undisturbed.
        seed: of the choices.
        number: of this kill: the commands take turns.
    """
    return list(kill_once(*prepared, seed, number))


def kill_once(folder: Path, reference: Reference, seed: str, number: int) -> Iterator[str]:
    """Kill one command, run it again, and yield what is wrong; arguments as for `attempt`."""
    choices = random.Random(f"{seed}-{number}")
    command = COMMANDS[number % len(COMMANDS)]
    name = command.arguments[0]
    remove(folder, command.removed)
    if choices.random() < FRESH_STORE:
        remove(folder, ("mlflow.db*", ".mlflow*", "mlruns"))
    fresh = not (folder / "mlflow.db").exists()
    before = 0 if fresh else count_runs(folder, command.once)
    kill = choose_kill(choices, folder, command, reference.seconds[name])
    cold = kill.after is not None and choices.random() < COLD
    ended = run_cold(folder, command.arguments, kill) if cold else processes.run(folder, command.arguments, kill=kill)
    moment = f"{name} ({number}): {signal.Signals(kill.number).name} {_moment(kill)}{' in a new process' * cold}"
    yield from (f"{moment}: {fault}" for fault in faults_of_killed(ended, kill))
    # A whole run may be there although its import was killed after its last step; its name is then in use.
    finished = name == "import" and (folder / IMPORTED / "record.json").is_file()
    again = Ended(0, "", 0.0) if finished else processes.run(folder, command.arguments)
    if again.status or again.has_traceback:
        yield f"{moment}: the same command again: status {again.status}: {again.last_line[:300]}"
        shutil.rmtree(folder)  # so that the next kills find a whole project
        project.make(folder)
        return
    if command.result(folder) != reference.results[name]:
        yield f"{moment}: the result of the same command differs from that of an undisturbed one"
    if left := sorted({str(path.relative_to(folder)) for pattern in LEFTOVERS for path in folder.glob(pattern)}):
        yield f"{moment}: left behind: {', '.join(left[:5])}"
    # A training is a new MLflow run; a search with the same settings continues that of the search before.
    expected = before + 1 if command.once == "trained" else max(before, 1)
    if command.once and ended.status and (count := count_runs(folder, command.once)) != expected:
        yield f"{moment}: {count} MLflow runs of the kind {command.once!r}, expected {expected}"


def choose_kill(choices: random.Random, folder: Path, command: Command, seconds: float) -> Kill:
    """Choose a signal and a moment."""
    number = choices.choice(SIGNALS)
    if choices.random() < AT_EVENT:
        pattern = choices.choice(command.events)
        return Kill(number, None, Event(folder, pattern, choices.uniform(0, 0.02)))
    return Kill(number, choices.uniform(0, 1.1 * seconds))


@dataclass
class Event:
    """A file has appeared, and some time has passed since."""

    folder: Path
    pattern: str
    delay: float
    seen: int = 0

    def __call__(self) -> bool:
        self.seen += bool(self.seen) or any(self.folder.glob(self.pattern))
        return self.seen > self.delay / processes.POLL_SECONDS


def _moment(kill: Kill) -> str:
    return f"after {kill.after:.2f} s" if kill.after is not None else f"at {getattr(kill.event, 'pattern', 'an event')}"


def faults_of_killed(ended: Ended, kill: Kill) -> Iterator[str]:
    """Yield what is wrong with the end of a command that was killed."""
    if ended.status not in (0, *EXPECTED[signal.Signals(kill.number)]):
        yield f"status {ended.status}: {ended.last_line[:300]}"
    if ended.has_traceback:
        yield f"a traceback: {ended.last_line[:300]}"
    if ended.timed_out:
        yield "it did not end"
    if ended.orphans:
        yield f"{ended.orphans} of its processes did not end with it"


def run_cold(folder: Path, arguments: tuple[str, ...], kill: Kill) -> Ended:
    """Run a command in a new process, which still has to import everything, and kill it."""
    assert kill.after is not None
    started = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        text, _ = started.communicate(timeout=kill.after)
    except subprocess.TimeoutExpired:
        started.send_signal(kill.number)
        text, _ = started.communicate()
    return Ended(started.returncode, text, kill.after)


def count_runs(folder: Path, kind: str) -> int:
    """Return how many MLflow runs of a kind the project's store has, asked without MLflow."""
    if not kind:
        return 0
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        query = "SELECT COUNT(*) FROM tags WHERE key = 'kind' AND value = ?"
        return int(store.execute(query, (kind,)).fetchone()[0])
