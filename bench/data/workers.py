"""Processes that make images in parallel, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from bench.child_processes import NoSemaphores, process_pool
from bench.processors import available

KILLED = "a process that made images was killed, perhaps because memory ran out"
"""The start of the message when a process of the pool has died."""


def one_thread() -> None:
    """Let OpenCV compute with one thread, in a worker because the processes share the cores.

    In a process that forks workers too: a fork would wait for ever for OpenCV's threads, which it does not have.
    """
    import cv2

    cv2.setNumThreads(1)


@contextmanager
def processes(workers: int | None = None, prepare: Callable[[], None] = one_thread) -> Iterator[Executor]:
    """Open a pool of processes that end with this one; after an error or a signal they get no further work.

    A single worker is a thread of this process: that needs neither a fork nor semaphores.

    Args:
        workers: number of processes; None for one per core that this process may use.
        prepare: called first in each process.

    Raises:
        UserError: the system has no semaphores, which several processes need.
    """
    count = workers or available()
    try:
        with ThreadPoolExecutor(1, initializer=prepare) if count == 1 else process_pool(count, prepare) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except NoSemaphores as error:
        raise NoSemaphores(f"{error} Make it so, or run the same command with --jobs 1") from None
