"""Check a rendered report: every number has a source, every link has a target, every file is there.

A report is checked against three independent sources: the scores, the published numbers and the tracking store. Each
measured cell is computed again from the scores of its evaluation; each text of a table is rendered again; each number
in a table is either measured, published, or in the records and files from which the texts are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.contracts import DataError
from reports.checks.cells import Entry, check_cells, read_entries
from reports.checks.files import check_figures, check_summary
from reports.checks.inspection import ExperimentOf, Inspection
from reports.checks.links import check_links
from reports.checks.tables import Sources, check_table
from reports.published import printed
from reports.scores import reading
from reports.tables import custom
from reports.tables.all_tables import all_tables

MAX_FAULTS = 10
"""The most faults that the error names; the others are counted."""


@dataclass(frozen=True)
class Checked:
    """How much of a report was checked and is right."""

    cells: int
    """Measured cells: one per evaluation and cell of a table."""
    published: int
    """Published cells."""
    links: int
    """Links of all pages: to their own parts, to files and to MLflow."""
    numbers: int
    """Numbers in the tables, of Markdown and of the pages."""
    files: int
    """Files of the report."""

    def __str__(self) -> str:
        return (
            f"{self.cells} measured and {self.published} published cells, {self.links} links, {self.numbers} numbers "
            f"in tables, {self.files} files: 100 % resolve"
        )


def need_report(report: Path) -> None:
    """Raise DataError for a folder that holds no report."""
    if not (report / "summary.json").is_file():
        raise DataError(f"{report}: is not a report (no summary.json); run: python -m bench report")


def check(report: Path, scores_root: Path, *, profile: str, experiment_of: ExperimentOf) -> Checked:
    """Check a rendered report.

    Args:
        report: its folder.
        scores_root: the evaluations that it was made from, one folder each.
        experiment_of: asks the tracking store for the experiment of an MLflow run.

    Raises:
        DataError: the report is missing, or a cell, a number, a link or a file is wrong; the first faults are named.
    """
    need_report(report)
    published = printed.load()
    evaluations = reading.read(scores_root, profile)
    by_name = {evaluation.name: evaluation for evaluation in evaluations}
    tables = all_tables(evaluations, published, custom.load(published))
    inspection, ask_once = Inspection(report), cache(experiment_of)
    summary, entries = inspection.read_json("summary.json", dict), read_entries(inspection)
    check_cells(inspection, entries, by_name, ask_once)
    by_table: dict[str, list[Entry]] = {}
    for entry in entries:
        by_table.setdefault(entry["table"], []).append(entry)
    for table in tables:
        check_table(inspection, table, by_table.get(table.id, []), Sources(by_name, published))
    check_links(inspection, ask_once)
    counts = {
        "cells": inspection.counts["cells"],
        "evaluations": len(evaluations),
        "figures": check_figures(inspection),
    }
    check_summary(inspection, summary, counts, [table.id for table in tables])
    refuse_faults(inspection)
    files = sum(path.is_file() for path in inspection.report.rglob("*"))
    count = inspection.counts
    return Checked(count["cells"], count["published"], count["links"], count["numbers"], files)


def refuse_faults(inspection: Inspection) -> None:
    """Raise DataError with the first faults of an inspection, if it found any."""
    if inspection.faults:
        more = len(inspection.faults) - MAX_FAULTS
        lines = inspection.faults[:MAX_FAULTS] + [f"and {more} more"] * (more > 0)
        raise DataError(
            f"{inspection.report}: {len(inspection.faults)} faults; render the report again (python -m bench report):"
            + "".join(f"\n  {line}" for line in lines)
        )
