"""File locks of a study: the system releases them when the process that holds them ends or is killed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.002
"""Seconds until a lock that another process holds is tried again; they are held for milliseconds."""


class JournalLock:
    """The lock of Optuna's journal. While it is held the journal ends with a whole line.

    Args:
        journal: the file; its lock is a file next to it.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self.lock = FileLock(f"{journal}.lock", poll_interval=POLL_SECONDS)

    def acquire(self) -> bool:
        """Wait for the lock, then remove a line that a killed process left unfinished."""
        self.lock.acquire()
        try:
            remove_unfinished_line(self.journal)
        except BaseException:
            self.lock.release()
            raise
        return True

    def release(self) -> None:
        """Release the lock."""
        self.lock.release()


def remove_unfinished_line(path: Path) -> None:
    """Cut a text file after its last newline; the file is made if it does not exist."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def hold(path: Path) -> AbstractContextManager[object]:
    """Wait for a lock; the context holds it."""
    return FileLock(path, poll_interval=POLL_SECONDS)


def try_to_hold(path: Path) -> AbstractContextManager[object] | None:
    """Take a lock, which the context that is returned releases at its end; None when another process holds it."""
    try:
        return FileLock(path).acquire(blocking=False)
    except Timeout:
        return None
