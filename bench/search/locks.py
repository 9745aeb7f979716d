"""File locks of a study: the system releases them when the process that holds them ends or is killed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench.files import take_lock

SETTING = "paths.resume"
"""The setting of `params.yaml` with the folder of studies."""
POLL_SECONDS = 0.002
"""Seconds until a lock that another process holds is tried again; they are held for milliseconds."""


class JournalLock:
    """The lock of Optuna's journal. While it is held the journal ends with a whole line.

    Args:
        journal: the file; its lock is a file next to it.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self.held = ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock, then remove a line that a killed process left unfinished."""
        with ExitStack() as held:
            held.enter_context(hold(Path(f"{self.journal}.lock")))
            remove_unfinished_line(self.journal)
            self.held = held.pop_all()
        return True

    def release(self) -> None:
        """Release the lock."""
        self.held.close()


def remove_unfinished_line(path: Path) -> None:
    """Cut a text file after its last newline; the file is made if it does not exist."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def hold(path: Path) -> AbstractContextManager[object]:
    """Wait for a lock; the context holds it. Raises UserError where the file system has no locks."""
    lock = take_lock(path, SETTING, wait=None, poll=POLL_SECONDS)
    assert lock is not None, "it was waited for"
    return lock


def try_to_hold(path: Path) -> AbstractContextManager[object] | None:
    """Take a lock, which the context that is returned releases at its end; None when another process holds it."""
    return take_lock(path, SETTING)
