"""Loss curves, quality against cost, and quality by severity."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from reports.figures.charts import COLOURS, Series, chart, save_chart

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
"""What matplotlib calls its markers."""
POINTS = 125
"""Points of a drawn curve; longer ones are averaged down to this."""
NAMED = 24
"""The most runs that a chart names beside the Pareto front: more can be neither told apart nor read."""
GREY = 7
"""The number of the colour of what is not named."""
BINS = 6
"""The most groups of a severity: with more, each would hold few images."""


# Plots ----------------------------------------------------------------------------------------------------------------


def canvas(height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot of `height` inches with title, axis names and a quiet grid; it needs no display.

    The margins are set by hand, with room for a legend on the right: laying them out costs more than all the drawing.
    """
    figure = Figure(figsize=(7.0, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.48 / height, 0.6, 1 - 0.8 / height))
    axes.set_title(title, fontsize=10, loc="left", x=-0.13, y=1.02)  # a set y spares matplotlib the search for one
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, left=False, bottom=False)  # the grid shows them
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plain(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: powers of ten would pass through the formula parser.

    Each decade has one tick, or where they are few three or nine; minor ticks cost more than the curves.
    """
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=range(1, 10) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def legend(axes: Axes) -> None:
    """The names of the lines, right of the plot."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=7, frameon=False)


def save(figure: Figure, path: Path) -> bytes:
    """Write `path`.png and `path`.svg; the PNG's bytes come back for the page."""
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):  # the same scores, the same file
        figure.savefig(out, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    path.with_name(f"{path.name}.png").write_bytes(out.getvalue())
    return out.getvalue()


def thin(values: np.ndarray) -> np.ndarray:
    """Average a curve down to at most POINTS points; the first point is the first value."""
    if len(values) <= POINTS:
        return values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


def curve(losses: pd.DataFrame, watched: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What the restoring players lower, by step: their totals, or the sums of their losses; critics are left out.

    Args:
        watched: names of losses that no player lowers.
    """
    losses = losses[~losses["name"].isin(watched)]
    critics = losses["player"].str.contains("critic|discriminator")
    mine = losses if critics.all() else losses[~critics]
    rows = mine[mine["name"] == "total"] if (mine["name"] == "total").any() else mine
    sums = rows.groupby("step")["value"].sum()
    return thin(sums.index.to_numpy(float)), thin(sums.to_numpy(float))


def switches(losses: pd.DataFrame) -> list[tuple[float, str]]:
    """The first step of each phase after the first, and its name."""
    starts = losses.groupby("phase", sort=False)["step"].min().sort_values()
    return [(float(step), str(phase)) for phase, step in starts.items()][1:]


def loss_curves(runs: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, path: Path) -> str:
    """All trained runs of one dataset and task, each loss over its own first value, as their scales differ.

    Args:
        runs: label, and the steps and values of `curve`.
    """
    shown = []
    for i, (label, steps, values) in enumerate(runs):
        first = values[np.flatnonzero(values)[0]] if values.any() else 1.0
        shown.append(Series(label, steps, values / first, i))
    return save_chart(chart(title, ("step", "loss / its first value"), shown, whole=True), path)


def run_losses(losses: pd.DataFrame, title: str, path: Path, watched: Collection[str] = ()) -> str:
    """Every loss of one training by step; a change of phase is a dashed line with the phase's name.

    Args:
        watched: names of losses that no player lowers, drawn dashed.
    """
    several = losses["player"].nunique() > 1
    shown = []
    for i, ((player, name), rows) in enumerate(losses.groupby(["player", "name"], sort=False)):
        label = (f"{player}: {name}" if several else str(name)) + " (watched)" * (name in watched)
        steps, values = thin(rows["step"].to_numpy(float)), thin(rows["value"].to_numpy(float))
        shown.append(Series(label, steps, values, i % len(COLOURS), dashed=name in watched))
    drawn = chart(
        title, ("step", "loss"), shown, log=(False, True), whole=True, height=150, verticals=switches(losses)
    )  # fmt: skip
    return save_chart(drawn, path)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points no other beats: none is cheaper (the first number) and as good, or better and as cheap.

    Returns:
        their positions, the cheapest first; equal points are all members.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    found: list[int] = []
    for i in order:
        if not found or points[i][1] > points[found[-1]][1] or points[i] == points[found[-1]]:
            found.append(i)
    return found


def scatter(
    measured: Sequence[tuple[str, float, float]],
    printed: Sequence[tuple[str, float, float]],
    title: str,
    path: Path,
    cost: str = "parameters (M)",
) -> str:
    """PSNR against a cost: measured points filled, published ones hollow, those of the measured Pareto front ringed.

    Beyond the front and the NAMED best, points share one colour and one name.

    Args:
        measured: label, cost and PSNR in dB.
        printed: the same.
        cost: its name and unit.
    """
    front = pareto([(x, y) for _, x, y in measured])
    best = sorted(range(len(measured)), key=lambda i: -measured[i][2])[:NAMED]
    named = sorted({*front, *best})
    others = [one for i, one in enumerate(measured) if i not in named]
    numbers = [number for number in range(2 * len(named)) if number % len(COLOURS) != GREY or not others]
    shown = [
        Series(
            label, np.array([x]), np.array([y]), number, "points", tips=[f"{label}: {x:.4g}, {y:.2f} dB"],
            ringed=[0] if i in front else [],
        )
        for number, i in zip(numbers, named, strict=False)
        for label, x, y in [measured[i]]
    ]  # fmt: skip
    if others:
        tips = [f"{label}: {x:.4g}, {y:.2f} dB" for label, x, y in others]
        x, y = (np.array([one[column] for one in others], float) for column in (1, 2))
        shown.insert(0, Series(f"{len(others)} further runs", x, y, GREY, "points", tips=tips))
    x, y = (np.array([measured[i][column] for i in front], float) for column in (1, 2))
    shown += [Series("Pareto front of the measured (ringed)", x, y, look="front")]
    shown += [
        Series(f"{label}, published", np.array([x]), np.array([y]), i, "hollow", tips=[f"{label}, published: {y:g} dB"])
        for i, (label, x, y) in enumerate(printed)
    ]
    return save_chart(chart(title, (cost, "PSNR (dB)"), shown, log=(True, False), margin=0.1), path)


def groups_of(values: np.ndarray, most: int = BINS) -> np.ndarray:
    """Deal severities into at most `most` groups: one a value, or else groups of about as many images each.

    Args:
        values: (N,), one an image and condition; equal values stay together.

    Returns:
        (N,) the group of each, from 0 up.
    """
    distinct, position = np.unique(values, return_inverse=True)
    if len(distinct) <= most:
        return position
    before = np.cumsum(np.bincount(position)) - np.bincount(position)  # images that are milder
    found = before * most // len(values)
    return np.unique(found[position], return_inverse=True)[1]


def by_severity(
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: tuple[str, str],
    title: str,
    path: Path,
) -> str:
    """Quality by the severity of the degradation: a curve a run, a point the mean of a group of images.

    Above each group stands how many images one run has in it.

    Args:
        runs: label to the severities (N,) and the values (N,) of its images.
        names: of the severity and of the metric, with their units.
    """
    every = np.concatenate([severities for severities, _ in runs.values()])
    dealt = groups_of(every)
    edges = [every[dealt == k].min() for k in range(dealt.max() + 1)]
    shown: list[Series] = []
    counts: dict[int, tuple[float, int]] = {}
    for i, (label, (severities, values)) in enumerate(runs.items()):
        mine = np.searchsorted(edges, severities, side="right") - 1
        bins = [k for k in range(len(edges)) if (mine == k).any()]
        x = np.array([severities[mine == k].mean() for k in bins])
        y = np.array([values[mine == k].mean() for k in bins])
        sizes = [int((mine == k).sum()) for k in bins]
        tips = [f"{label}: {b:.4g} at {a:.4g}, {n} images" for a, b, n in zip(x, y, sizes, strict=True)]
        shown.append(Series(label, x, y, i, "both", tips=tips))
        for k, place, size in zip(bins, x, sizes, strict=True):
            counts.setdefault(k, (float(place), size))
    texts = [(place, f"n={size}") for place, size in counts.values()]
    return save_chart(chart(title, names, shown, counts=texts, margin=0.05), path)
