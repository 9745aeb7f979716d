"""Curves of training losses: of all runs of a dataset together, and of each run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reports.figures.charts import COLOURS, Plot, Series, chart, save_chart
from reports.figures.naming import MAX_RUNS, FigureKey, best_of_text, dataset_title, mean_psnr, run_label
from reports.scores.reading import Evaluation
from reports.tables.runs import join_seeds

MAX_POINTS = 125
"""Points of a drawn curve; longer curves are averaged down to this."""


def thin(values: np.ndarray) -> np.ndarray:
    """Average a curve down to at most MAX_POINTS points, each the mean of neighbours.

    >>> len(thin(np.arange(1000.0))), thin(np.array([3.0, 2.0])).tolist()
    (125, [3.0, 2.0])
    """
    if len(values) <= MAX_POINTS:
        return values
    edges = np.linspace(0, len(values), MAX_POINTS + 1).astype(int)
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


def restoring_loss(losses: pd.DataFrame, watched: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What the restoring players minimise, by step: their totals, or else the sum of their losses.

    Critics are left out, unless all players are critics.

    Args:
        losses: rows of step, player, name and value.
        watched: names of losses that no player minimises.

    Returns:
        steps and values, both averaged down to MAX_POINTS.
    """
    losses = losses[~losses["name"].isin(watched)]
    critics = losses["player"].str.contains("critic|discriminator")
    restoring = losses if critics.all() else losses[~critics]
    totals = restoring["name"] == "total"
    rows = restoring[totals] if totals.any() else restoring
    sums = rows.groupby("step")["value"].sum()
    return thin(sums.index.to_numpy(float)), thin(sums.to_numpy(float))


def phase_changes(losses: pd.DataFrame) -> list[tuple[float, str]]:
    """The first step of each phase after the first, and the phase's name."""
    starts = losses.groupby("phase", sort=False)["step"].min().sort_values()
    return [(float(step), str(phase)) for phase, step in starts.items()][1:]


def draw_runs(curves: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, path: Path) -> str:
    """Draw the losses of several runs, each divided by its first value, because their scales differ.

    Args:
        curves: label, and the steps and values of `restoring_loss`.
    """
    series = []
    for i, (label, steps, values) in enumerate(curves):
        first = values[np.flatnonzero(values)[0]] if values.any() else 1.0
        series.append(Series(label, steps, values / first, i))
    return save_chart(chart(title, ("step", "loss / its first value"), series, whole=True), path)


def draw_run(losses: pd.DataFrame, title: str, path: Path, watched: Collection[str] = ()) -> str:
    """Draw every loss of one training by step; a dashed vertical line marks the begin of a phase.

    Args:
        losses: rows of step, phase, player, name and value.
        watched: names of losses that no player minimises; drawn dashed.
    """
    several = losses["player"].nunique() > 1
    series = []
    for i, ((player, name), rows) in enumerate(losses.groupby(["player", "name"], sort=False)):
        label = (f"{player}: {name}" if several else str(name)) + " (watched)" * (name in watched)
        steps, values = thin(rows["step"].to_numpy(float)), thin(rows["value"].to_numpy(float))
        series.append(Series(label, steps, values, i % len(COLOURS), dashed=name in watched))
    verticals = phase_changes(losses)
    svg = chart(title, ("step", "loss"), series, log=(False, True), whole=True, height=150, verticals=verticals)
    return save_chart(svg, path)


def loss_plots(members: Sequence[Evaluation], key: FigureKey, folder: Path) -> tuple[list[Plot], dict[str, Plot]]:
    """Draw the losses of trained runs.

    Returns:
        one figure of all runs, one seed of each, or none; and by evaluation the figure of all its losses.
    """
    ranked: list[tuple[float, tuple[str, np.ndarray, np.ndarray]]] = []
    plots = {}
    first_seeds = {group.evaluations[0].name for group in join_seeds(members)}
    for run in members:
        losses = run.losses()
        if losses is None or not len(losses):
            continue
        label, watched = run_label(run, members), run.record.watched
        title = f"{label}: losses on {dataset_title(run)}"
        plots[run.name] = Plot(title, draw_run(losses, title, folder / f"losses-run-{run.name}", watched))
        if run.name in first_seeds:
            ranked.append((-mean_psnr(run), (label, *restoring_loss(losses, watched))))
    if not ranked:
        return [], plots
    title = f"Training losses, {key.task} on {dataset_title(members[0])}{best_of_text(len(ranked))}"
    best = [curve for _, curve in sorted(ranked, key=lambda pair: pair[0])[:MAX_RUNS]]
    return [Plot(title, draw_runs(best, title, folder / key.file_name("losses")))], plots
