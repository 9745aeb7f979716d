"""Processes that make images in parallel, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

KILLED = "a process that made images was killed, perhaps because memory ran out"
"""The start of the message when a process of the pool has died."""


def prepare_to_fork() -> None:
    """Stop the threads of OpenCV in this process: a forked process would wait for them for ever."""
    import cv2

    cv2.setNumThreads(1)


def one_thread() -> None:
    """Prepare a new process: it computes with one thread, because the processes share the cores."""
    import signal

    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which stops the others


@contextmanager
def processes(workers: int | None = None, prepare: Callable[[], None] = one_thread) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes; after an error or Ctrl-C they get no further work.

    Args:
        workers: number of processes; None for one per core.
        prepare: called first in each process.
    """
    with ProcessPoolExecutor(workers or os.cpu_count(), initializer=prepare) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
