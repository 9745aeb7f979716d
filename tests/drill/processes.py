"""Run commands in forks of a process that has imported everything, kill them, and tell how they ended."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.001
"""Time between two looks at a running command."""
CHILDREN_SECONDS = 10.0
"""Time in which the processes that a killed command has started must end."""
HIDDEN_VARIABLES = ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE", "SHARPBENCH_METHODS", "SHARPBENCH_WARM")
"""Variables of the environment that would change what a command does."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """Its exit status; minus the signal's number where a signal ended it."""
    text: str
    """What it printed."""
    seconds: float
    """How long it ran."""
    timed_out: bool = False
    """Whether it was ended because it took too long."""
    orphans: int = 0
    """Processes that it started and that did not end with it."""

    @property
    def last_line(self) -> str:
        """The last line that it printed."""
        return (self.text.strip().splitlines() or [""])[-1]

    @property
    def has_traceback(self) -> bool:
        """Whether Python printed a traceback."""
        return "Traceback (most recent call last)" in self.text


@dataclass(frozen=True)
class Kill:
    """When and how a command is killed."""

    number: int
    """The signal."""
    after: float | None = None
    """Seconds after its start; None: at an event."""
    event: Callable[[], bool] = lambda: False
    """Whether the event has happened."""


def prepare() -> None:
    """Import what commands need, and stop threads that would not survive a fork."""
    import tqdm

    from bench.data.workers import one_thread
    from bench.warm import import_heavy_packages

    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HIDDEN_VARIABLES:
        os.environ.pop(name, None)
    tqdm.tqdm.monitor_interval = 0
    import_heavy_packages()
    one_thread()
    import torch

    torch.set_num_threads(1)


def run(
    folder: Path, arguments: Sequence[str], limit: float = 120.0, kill: Kill | None = None, memory: int = 0
) -> Ended:
    """Run a command of `python -m bench` in a fork of this process.

    Args:
        folder: the project in which it runs.
        arguments: the command line without the program's name.
        limit: seconds after which it is ended.
        kill: the signal that it gets meanwhile.
        memory: the most bytes of address space; 0 for no limit.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_command(folder, arguments, output.fileno(), memory)
        status, timed_out = _wait(child, began, limit, kill)
        seconds = time.monotonic() - began
        orphans = _orphans(child)
        output.seek(0)
        return Ended(status, output.read().decode(errors="replace"), seconds, timed_out, orphans)


def _be_command(folder: Path, arguments: Sequence[str], output: int, memory: int) -> None:
    """Run the command in this fork and end it."""
    status = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        os.chdir(folder)
        from bench.cli.main import main

        status = main(list(arguments))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, began: float, limit: float, kill: Kill | None) -> tuple[int, bool]:
    """Wait for a command and kill it at its moment; return its status and whether it took too long."""
    timed_out = False
    while True:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status), timed_out
        seconds = time.monotonic() - began
        if kill and (seconds >= kill.after if kill.after is not None else kill.event()):
            os.kill(child, kill.number)
            kill = None
        if seconds > limit and not timed_out:
            timed_out = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _orphans(session: int) -> int:
    """Return how many processes of a command's session are left after `CHILDREN_SECONDS`, and end them."""
    deadline = time.monotonic() + CHILDREN_SECONDS
    while (left := _session(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    return len(left)


def _session(session: int) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return processes
