"""PSNR against what a method costs: parameters, multiply-adds, time and memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.scoring.cost import PARAMS
from bench.scoring.metrics.measure import Cost
from reports.figures.charts import COLOURS, Plot, Series, chart, save_chart
from reports.figures.naming import MAX_RUNS, FigureKey, dataset_title
from reports.published.printed import Published
from reports.scores import reading
from reports.scores.measures import MEASURES, PSNR, axis_name
from reports.scores.reading import ORIGINALS
from reports.tables.overviews import inputs_of
from reports.tables.runs import Group, name_among

GREY = 7
"""The position in COLOURS of the grey of runs without a name."""

Point = tuple[str, float, float]
"""Label, cost and PSNR in dB."""


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that no other beats: no point costs less and is as good, or is better and costs as little.

    Args:
        points: cost and quality of each.

    Returns:
        their positions, the cheapest first; equal points are all members.

    >>> pareto([(1.0, 25.0), (2.0, 24.0), (4.0, 27.0)])
    [0, 2]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front


def single(label: str, x: float, y: float, number: int, look: str, tip: str, ringed: bool = False) -> Series:
    """A series of one point."""
    return Series(label, np.array([x]), np.array([y]), number, look, tips=[tip], ringed=[0] if ringed else [])


def draw_costs(
    measured: Sequence[Point], printed: Sequence[Point], title: str, path: Path, cost: str = "parameters (M)"
) -> str:
    """Draw PSNR against a cost: measured points filled, published ones hollow, the measured Pareto front ringed.

    The points of the front and the MAX_RUNS best have names; the others share one colour and one name.

    Args:
        cost: its name and unit.
    """
    front = pareto([(x, y) for _, x, y in measured])
    best = sorted(range(len(measured)), key=lambda i: -measured[i][2])[:MAX_RUNS]
    named = sorted({*front, *best})
    others = [point for i, point in enumerate(measured) if i not in named]
    numbers = [number for number in range(2 * len(named)) if number % len(COLOURS) != GREY or not others]
    series = []
    if others:
        tips = [f"{label}: {x:.4g}, {y:.2f} dB" for label, x, y in others]
        x, y = (np.array([point[column] for point in others], float) for column in (1, 2))
        series.append(Series(f"{len(others)} further runs", x, y, GREY, "points", tips=tips))
    for number, i in zip(numbers, named, strict=False):
        label, across, up = measured[i]
        series.append(single(label, across, up, number, "points", f"{label}: {across:.4g}, {up:.2f} dB", i in front))
    x, y = (np.array([measured[i][column] for i in front], float) for column in (1, 2))
    series.append(Series("Pareto front of the measured (ringed)", x, y, look="front"))
    for number, (label, across, up) in enumerate(printed):
        name = f"{label}, published"
        series.append(single(name, across, up, number, "hollow", f"{name}: {up:g} dB"))
    return save_chart(chart(title, (cost, "PSNR (dB)"), series, log=(True, False), margin=0.1), path)


def printed_points(published: Published, key: FigureKey) -> list[Point]:
    """The published rows that print parameters and PSNR; none for a stand-in, which is another dataset."""
    points: dict[str, Point] = {}
    for table in published.tables.values() if key.origin == ORIGINALS else ():
        overall = [c for c in table.columns if c.scene in (None, "combined") and not c.mask_type]
        columns = {column.metric: column.id for column in overall if column.dataset == key.dataset}
        if table.task == key.task and {"params", "psnr"} <= set(columns):
            for row in table.rows:
                params, psnr = row.numbers[columns["params"]], row.numbers[columns["psnr"]]
                if params is not None and psnr is not None:
                    points[row.label] = (row.label, float(params), float(psnr))
    return list(points.values())


def efficiency_plots(runs: Sequence[Group], key: FigureKey, published: Published, folder: Path) -> list[Plot]:
    """Draw PSNR against each cost, one figure per input, one point per run; none with fewer than two points."""
    plots = []
    inputs = sorted({given for group in runs for given in inputs_of(group)})
    names = [name_among(group, runs) for group in runs]
    costs = [measure for measure in MEASURES.values() if isinstance(measure, Cost) and measure.plotted]
    for given, cost in itertools.product(inputs, costs):
        points = []
        for group, name in zip(runs, names, strict=True):
            first = group.evaluations[0]
            psnr, measured = reading.measure(first, PSNR, {"input": given}), reading.measure(first, cost.id, {})
            if psnr.value is not None and measured.value:
                points.append((name, reading.convert(measured.value, measured.unit, cost.unit), psnr.value))
        perfect = [name for name, _, value in points if math.isinf(value)]
        points = [point for point in points if point[0] not in perfect]
        if len(points) > 1:
            place = dataset_title(runs[0].evaluations[0])
            title = f"PSNR against {cost.title}, {key.task_of(given, inputs)} on {place}"
            title += f"; not drawn, with an infinite PSNR: {', '.join(perfect)}" if perfect else ""
            path = folder / (key.file_name(cost.title.replace(" ", "-")) + (f"-{given}" if len(inputs) > 1 else ""))
            printed = printed_points(published, key) if cost is PARAMS else []
            plots.append(Plot(title, draw_costs(points, printed, title, path, axis_name(cost.id))))
    return plots
