"""Processes that make images in parallel, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

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

    Where the system has no semaphores for processes that share work, a single worker is a thread of this process.

    Args:
        workers: number of processes; None for one per core that this process may use.
        prepare: called first in each process.

    Raises:
        UserError: the system has no semaphores, which several processes need.
    """
    count = workers or available()
    with ExitStack() as block:
        try:
            pool: Executor = block.enter_context(process_pool(count, prepare))
        except NoSemaphores as error:
            if count > 1:
                raise NoSemaphores(f"{error} Make it so, or run the same command with --jobs 1") from None
            pool = block.enter_context(ThreadPoolExecutor(1, initializer=prepare))
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
