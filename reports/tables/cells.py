"""The cells of tables: what was measured over the seeds of a run, which values are best or tied, their provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bench.contracts import UserError
from bench.scoring.metrics.measure import Cost
from reports.scores.measures import MEASURES, is_cost
from reports.scores.reading import CONDITION, Evaluation, Stat, convert, device, measure, missing_link
from reports.scores.statistics import LEVEL, against, bootstrap
from reports.tables.model import Head, Line, Measured, Notes, Table
from reports.tables.runs import Group


def check_provenance(table: str, row: str, column: str, evaluation: Evaluation, stat: Stat) -> None:
    """Raise UserError when a measured cell does not lead back to what made it."""
    if link := missing_link(evaluation, stat):
        raise UserError(
            f"table {table}, row {row}, column {column}: the measured cell of evaluation {evaluation.name} lacks its "
            f"{link}; evaluate that run again from a clean checkout"
        )


def measure_cell(table: str, row: str, group: Group, head: Head, notes: Notes) -> Measured:
    """Measure one cell over the seeds of a run.

    Raises:
        UserError: a cell that does not lead back to its run, or a unit that cannot be turned into the printed one.
    """
    stats = [(member, measure(member, head.metric, head.condition, head.size)) for member in group.evaluations]
    parts = tuple(
        (member, stat, convert(stat.value, stat.unit, head.unit)) for member, stat in stats if stat.value is not None
    )
    if not parts:
        return Measured(None, note=notes.letter(f"{head.name}: {stats[0][1].reason}"))
    for member, stat, _ in parts:
        check_provenance(table, row, head.id, member, stat)
    values = np.array([value for _, _, value in parts])
    varies = len(set(values.tolist())) > 1 and np.isfinite(values).all()
    spread = float(values.std(ddof=1)) if varies else None
    measured = Measured(float(values.mean()), spread=spread, parts=parts, detail=detail_of(head, *parts[0][:2]))
    fill_interval(measured, [stat for _, stat, _ in parts], convert(1.0, parts[0][1].unit, head.unit))
    return measured


def fill_interval(measured: Measured, stats: Sequence[Stat], scale: float) -> None:
    """Set a cell's values by image, their mean over the seeds, and the interval; nothing for counts and set metrics."""
    series = [stat.images for stat in stats if stat.images is not None]
    if len(series) == 1 and (interval := stats[0].interval):
        measured.images = series[0] if scale == 1 else series[0] * scale
        measured.low, measured.high = interval[0] * scale, interval[1] * scale
    elif series:
        if all(images.index is series[0].index for images in series):
            measured.images = sum(series[1:], series[0]) * (scale / len(series))
        else:
            measured.images = pd.concat(series).groupby(level=list(range(1 + len(CONDITION)))).mean() * scale
        measured.low, measured.high = bootstrap(measured.images)


def detail_of(head: Head, evaluation: Evaluation, stat: Stat) -> str:
    """Return the image size of a cost, with the device where the cost depends on it; "" for other metrics."""
    declared = MEASURES.get(head.metric)
    if not stat.size or not isinstance(declared, Cost):
        return ""
    return f"{stat.size}, {device(evaluation.record).partition(' (')[0]}" if declared.on_device else stat.size


Rank = tuple[float, float, float]
"""A mean, the share of infinite images where it is infinite, and the mean of the other images then."""
Value = TypeVar("Value", float, Rank)


def rank_of(cell: Measured) -> Rank:
    """Return what the measured cells of a column are ordered by.

    One perfect image makes the mean PSNR of a run infinite. Of two infinite means the one with the larger share of
    perfect images is higher, then the one with the higher mean over its other images.
    """
    assert cell.value is not None, "only measured cells have a rank"
    if cell.images is None or not math.isinf(cell.value):
        return cell.value, 0.0, 0.0
    values = cell.images.to_numpy(float)
    infinite = np.isinf(values)
    share = math.copysign(float(infinite.mean()), cell.value)
    return cell.value, share, float(values[~infinite].mean()) if not infinite.all() else 0.0


def best_value(values: Iterable[Value], better: str) -> Value:
    """Return the best of some values or ranks.

    >>> best_value([0.2, 0.1, 0.3], "lower")
    0.1
    """
    return max(values) if better == "higher" else min(values)


def mark_measured(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best measured cells of a column, and those that a paired test cannot tell from the first of them.

    Where all are equal, none is the best, and runs with equal images still tie. A method without training costs
    nothing, so it takes no part where a cost is compared.
    """
    cells = [cell for line in lines if (cell := line.measured.get(head.id)) and cell.value is not None]
    if is_cost(head.metric):
        cells = [cell for cell in cells if all(member.record.kind != "no training" for member, *_ in cell.parts)]
    if head.better is None or len(cells) < 2:
        return
    top = best_value((rank_of(cell) for cell in cells), head.better)
    winners = [cell for cell in cells if rank_of(cell) == top]
    for cell in winners:
        cell.best = len(winners) < len(cells)
    first = winners[0]
    if first.images is None:
        return
    others = [(cell, cell.images) for cell in cells if cell is not first and cell.images is not None]
    for (cell, _), p in zip(others, against(first.images, [images for _, images in others]), strict=True):
        cell.p, cell.tie = p, p is not None and p >= LEVEL
    first.tie = any(cell.tie for cell in winners[1:])


def mark_printed(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best published cells of a column, none where all are equal."""
    cells = [cell for line in lines if (cell := line.printed.get(head.id)) and cell.number is not None]
    if head.better is None or len(cells) < 2:
        return
    top = best_value((cell.number for cell in cells if cell.number is not None), head.better)
    if any(cell.number != top for cell in cells):
        for cell in cells:
            cell.best = cell.number == top


def json_number(value: float | None) -> float | str | None:
    """Return a number for JSON, which has no infinity: that becomes the text "inf".

    >>> json_number(30.5), json_number(math.inf), json_number(None)
    (30.5, 'inf', None)
    """
    return value if value is None or math.isfinite(value) else str(value)


def cell_records(table: Table) -> list[dict[str, Any]]:
    """Return the measured cells of a table with their provenance, one entry per evaluation, for `cells.json`."""
    entries = []
    for line in table.lines:
        for head in table.heads:
            measured = line.measured.get(head.id)
            for member, stat, value in measured.parts if measured else ():
                provenance = member.record.provenance
                entries.append(
                    {
                        "table": table.id, "row": line.row, "column": head.id, "value": json_number(value),
                        "cell": json_number(measured.value) if measured else None, "unit": head.unit,
                        "evaluation": member.name, "seed": member.record.seed,
                        "git_commit": provenance.git_commit, "git_dirty": provenance.git_dirty,
                        "manifest_sha256": provenance.manifest_sha256,
                        "weights_sha256": provenance.weights_sha256 or None, "metric": head.metric,
                        "metric_version": stat.version, "origin": member.record.origin,
                        "condition": dict(head.condition), "size": stat.size,
                    }
                )  # fmt: skip
    return entries
