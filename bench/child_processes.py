"""Child processes that end with the process that started them, whatever ends that one: an error, a signal or kill -9.

A process of `multiprocessing` calls `end_with_parent` first. Another program runs below a supervisor: a process that
runs the program until its own standard input is closed, as it is when the process at the other end of the pipe ends,
and then ends the program and every process that the program has started.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import IO, NoReturn

from bench.contracts import UserError

END_TIMEOUT = 10
"""Seconds between SIGTERM and SIGKILL for a program and its processes."""
SUPERVISOR = """
import sys
sys.path.insert(0, sys.argv[1])  # not by PYTHONPATH, which the program would inherit: our `datasets` is not its
from bench.child_processes import supervise
sys.exit(supervise(sys.argv[2:]))
"""
"""The supervisor's code. Its arguments: the folder of this project, the program and the program's arguments."""
PR_SET_CHILD_SUBREAPER = 36
"""Option of Linux's prctl: processes whose parent has ended become children of this process."""


class NoSemaphores(UserError):
    """The system has no semaphores for processes that share work."""


def end_with_parent() -> None:
    """Kill this process of `multiprocessing` as soon as its parent has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process of multiprocessing has a parent that it can wait for"

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Start processes in the block that never get Ctrl-C: it is for this process, which ends them with SIGTERM."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def process_pool(
    count: int, prepare: Callable[[], None] | None = None, context: BaseContext | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes that end with this one; after an error or a signal they get no further work.

    Args:
        count: number of processes.
        prepare: called first in each process.
        context: how processes are started, see `multiprocessing.get_context`.

    Raises:
        NoSemaphores: the system has none, which a pool of processes needs.
    """
    earlier = multiprocessing.active_children()
    try:
        executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(prepare,))
    except (OSError, ImportError, NotImplementedError) as error:
        raise NoSemaphores(
            f"this system gives no semaphores to processes that share work ({error}): is /dev/shm there, and may it be "
            "written?"
        ) from None
    with executor as pool:
        try:
            yield pool
        except BaseException as error:
            if not isinstance(error, Exception):  # a signal: the work in hand is done again by the next command
                for process in set(multiprocessing.active_children()) - set(earlier):
                    process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _begin(prepare: Callable[[], None] | None) -> None:
    """Begin a process of a pool."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare()


@contextmanager
def supervised(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes] | int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends or this process does; yield its supervisor, which has its exit status.

    The program is in a session by itself: Ctrl-C reaches only this process.

    Args:
        command: the program and its arguments.
        environment: its environment.
        log: receives its output, as `subprocess.Popen` takes it.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(Path(__file__).parents[1]), *command], env=environment,
        stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def supervise(command: Sequence[str]) -> int:
    """Run a program until it ends or the standard input is closed; end all its processes and return its status."""
    with suppress(OSError, AttributeError):  # not Linux: processes that have left the program's tree are not found
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_end_when_input_closes, daemon=True).start()
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL).wait()
    finally:
        end_descendants()


def _end_when_input_closes() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _exit(number: int, frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def end_descendants() -> None:
    """End every process that this one has started, and theirs."""
    import psutil

    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(processes, timeout=END_TIMEOUT)
    for process in {*processes, *psutil.Process().children(recursive=True)}:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=END_TIMEOUT)
