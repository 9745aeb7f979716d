"""The inspection of one report: its files and pages, each read once, the faults that were found, and counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.contracts.errors import brief
from reports.checks.pages import Page

Kind = TypeVar("Kind", dict[str, Any], list[Any])

ExperimentOf = Callable[[str], str | None]
"""The id of an MLflow run to the id of its experiment; None where the tracking store does not have the run."""


class Inspection:
    """Collects the faults of a report and counts what was checked.

    Args:
        report: its folder.
    """

    def __init__(self, report: Path):
        self.report = report.resolve()
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.pages: dict[Path, Page] = {}

    def fault(self, place: str, message: str) -> None:
        """Add a fault."""
        self.faults.append(f"{place}: {message}")

    def name(self, path: Path) -> str:
        """The name of a file within the report."""
        return str(path.relative_to(self.report))

    def read(self, name: str) -> str:
        """Read the text of a file of the report. A file that cannot be read is a fault, and its text is ""."""
        try:
            return (self.report / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fault(name, f"cannot be read ({error})")
            return ""

    def read_json(self, name: str, kind: type[Kind]) -> Kind:
        """Read a JSON file of the report. One that cannot be read, or holds something else, is a fault and empty."""
        try:
            value = json.loads(self.read(name) or "null")
        except (ValueError, RecursionError) as error:
            value = None
            self.fault(name, f"cannot be read as JSON ({error})")
        if isinstance(value, kind):
            return value
        self.fault(name, f"found {brief(value)}, expected a {kind.__name__}")
        return kind()

    def page(self, path: Path) -> Page:
        """Read a page of the report, once."""
        if path not in self.pages:
            self.pages[path] = Page(self.read(self.name(path)))
        return self.pages[path]
