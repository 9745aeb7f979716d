"""Processes end with the process that started them, whatever ends that one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench import child_processes, stop_signals
from bench.child_processes import process_pool, supervised
from bench.contracts import UserError
from bench.data.workers import processes
from reports.figures.rasterising import rasters

ROOT = Path(__file__).parents[2]
POOL = """
import multiprocessing, os, sys, time
from pathlib import Path
from bench import stop_signals
from bench.child_processes import process_pool
from bench.files import locked

if __name__ == "__main__":
    with stop_signals.handled(), locked(Path("work"), "building toys"):
        with process_pool(2, context=multiprocessing.get_context("{method}")) as pool:
            print(*{{pool.submit(os.getpid).result() for _ in range(20)}}, flush=True)
            for _ in range(2):
                pool.submit(time.sleep, 100)
            time.sleep(100)
"""
PROGRAM = """
import os, sys, time
from bench.child_processes import supervised

tree = "sleep 100 & setsid sh -c 'sleep 100 & wait' & echo started; wait"
with supervised(["sh", "-c", tree], os.environ, 1) as supervisor:
    print(supervisor.pid, flush=True)
    time.sleep(100)
"""
SIGNALS = [signal.SIGKILL, signal.SIGTERM]


def gone(pids: list[int]) -> bool:
    """Wait until no process of a list is left."""

    def alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def start(tmp_path) -> Callable[[str], subprocess.Popen[str]]:
    def started(code: str) -> subprocess.Popen[str]:
        (tmp_path / "program.py").write_text(code)
        return subprocess.Popen(
            [sys.executable, "program.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return started


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("number", SIGNALS)
def test_the_processes_of_a_pool_end_with_it_and_keep_no_lock(start, tmp_path, number, method):
    first = start(POOL.format(method=method))
    assert first.stdout is not None
    workers = [int(pid) for pid in first.stdout.readline().split()]
    assert len(workers) >= 1
    first.send_signal(number)
    assert first.wait(20) != 0 and gone(workers)
    second = start(POOL.format(method=method))
    assert second.stdout is not None and second.stdout.readline().strip()
    second.kill()
    second.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_supervised_program_ends_with_all_its_processes(start, number):
    process = start(PROGRAM)
    assert process.stdout is not None
    lines = {process.stdout.readline().strip() for _ in range(2)}
    supervisor = int((lines - {"started"}).pop())
    descendants: list[int] = []
    while len(descendants) < 4:  # a shell and its sleep, and the same in a session of their own
        descendants = [child.pid for child in psutil.Process(supervisor).children(recursive=True)]
    process.send_signal(number)
    process.wait()
    assert gone([supervisor, *descendants])


def test_a_supervised_program_that_ends_gives_its_status():
    with supervised(["sh", "-c", "exit 7"], os.environ) as process:
        assert process.wait() == 7


def test_a_signal_ends_the_work_in_hand(tmp_path):
    began = time.monotonic()
    with pytest.raises(stop_signals.Stopped), stop_signals.handled(), process_pool(2) as pool:
        for _ in range(2):
            pool.submit(time.sleep, 100)
        time.sleep(0.3)
        signal.raise_signal(signal.SIGTERM)
    assert time.monotonic() - began < 20


@pytest.fixture
def no_semaphores(monkeypatch) -> None:
    """A system whose /dev/shm is missing or cannot be written."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(child_processes, "ProcessPoolExecutor", refuse)


def test_without_semaphores_several_processes_are_one_message_and_one_works(no_semaphores):
    message = r"this system gives no semaphores .*Read-only file system.*/dev/shm.* run the same command with --jobs 1$"
    with pytest.raises(UserError, match=message), processes(2):
        pass
    with processes(1) as pool:
        assert pool.submit(os.getpid).result() == os.getpid()


def test_without_semaphores_figures_are_drawn_in_a_thread(no_semaphores, tmp_path):
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>')
    with rasters(tmp_path) as drawing:
        drawing.start()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_process_that_draws_figures_and_is_killed_is_one_message(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>')
    with pytest.raises(UserError, match="a process that draws figures was killed"), rasters(tmp_path) as drawing:
        drawing.start()
        for process in multiprocessing.active_children():
            process.kill()
