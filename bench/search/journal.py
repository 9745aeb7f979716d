"""The journal of a study: Optuna's, with a chain of digests, so that a line that has changed is noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from bench.contracts import DataError
from bench.hashes import SEAL, seal_of
from bench.search.locks import JournalLock

PREVIOUS = "previous"
"""The key of the seal of the line before; in the first line that of the study's folder."""
TAIL = 2**20
"""No line is longer, in bytes; Optuna's have hundreds."""


class SealedJournal(JournalFileBackend):
    """Optuna's journal on disk. Each line has the seal of the line before it, and its own.

    Args:
        path: of the file; its folder names the study, so that the journal of another study is noticed too.
    """

    def __init__(self, path: Path):
        self.path, self.lock = path, JournalLock(path)
        super().__init__(str(path), self.lock)  # type: ignore[arg-type]
        self.seals = [path.parent.name]

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the lines from a number on, without their seals.

        Raises:
            DataError: a line is damaged, has changed, or is missing before one that is there.
        """
        known = min(log_number_from, len(self.seals) - 1)
        del self.seals[known + 1 :]
        try:
            for number, log in enumerate(super().read_logs(known), known):
                if not isinstance(log, dict) or log.get(PREVIOUS) != self.seals[-1] or log.get(SEAL) != seal_of(log):
                    raise ValueError(f"line {number + 1} is not the one that was written")
                self.seals.append(log[SEAL])
                if number >= log_number_from:
                    yield {name: value for name, value in log.items() if name not in (PREVIOUS, SEAL)}
        except ValueError as error:
            raise DataError(
                f"{self.path}: has changed since it was written ({error}); delete {self.path.parent} to search this "
                "run from the beginning"
            ) from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines with their seals; other processes append to the same file."""
        self.lock.acquire()
        try:
            seal, lines = self._last_seal(), []
            for log in logs:
                chained = log | {PREVIOUS: seal}
                seal = seal_of(chained)
                lines.append(json.dumps(chained | {SEAL: seal}, separators=(",", ":")) + "\n")
            with self.path.open("ab") as file:
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        finally:
            self.lock.release()

    def _last_seal(self) -> str:
        """Return the seal of the last line; a damaged one has none, and whoever reads the next line notices it."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().splitlines()
        if not lines:
            return self.path.parent.name
        try:
            return str(json.loads(lines[-1])[SEAL])
        except (ValueError, LookupError, TypeError):
            return ""
