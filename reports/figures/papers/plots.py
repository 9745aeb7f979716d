"""Plots of the papers: training losses over the first epochs, the change of alpha, quality against parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench import registry
from reports.figures.charts import Series, chart, save_chart
from reports.figures.losses import restoring_loss, thin
from reports.figures.naming import dataset_title
from reports.figures.papers.sources import (
    Drawn,
    Entry,
    Sources,
    best_dataset,
    datasets_in,
    missing_rows,
    rows_in,
    runs_of_rows,
)
from reports.figures.rasterising import rasterise
from reports.scores.measures import PSNR
from reports.scores.reading import ORIGINALS, Evaluation, convert, measure

EPOCHS = 2
"""How many epochs the papers' figures show."""
TAIL = 0.1
"""The last part of a shown curve, as a share of it, whose mean is the value in the legend."""
RED = 6
"""The position of red in the charts' colours."""


def save(svg: str, path: Path) -> str:
    """Write a chart as `path`.svg and `path`.png. Returns the chart, for the page."""
    save_chart(svg, path)
    rasterise(path.with_name(f"{path.name}.svg"))
    return svg


# Training losses ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FirstEpochs:
    """A run's training loss over its first epochs, or over as much of them as was trained."""

    run: Evaluation
    """The run."""
    label: str
    """The run's title, with the phase where it has several."""
    steps: np.ndarray
    """(N,) training steps from 0."""
    values: np.ndarray
    """(N,) the loss in percent of its first value."""
    share: float
    """The share of the first EPOCHS epochs that is shown, 0 to 1."""


def steps_of_epochs(evaluation: Evaluation) -> float:
    """The steps of EPOCHS passes over the official training set at the run's batch size."""
    counts = registry.dataset(evaluation.record.dataset).counts
    return EPOCHS * counts["train"] / evaluation.record.train["batch_size"]


def longest_phase(losses: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The phase of most steps and its losses, its first step 0. Phases have different losses, so no common curve."""
    steps = losses.groupby("phase", sort=False)["step"].nunique()
    name = str(steps.idxmax())
    rows = losses[losses["phase"] == name]
    return name, rows.assign(step=rows["step"] - rows["step"].min())


def first_epochs(evaluation: Evaluation) -> FirstEpochs | None:
    """Read a run's training loss over its first epochs; None where the run has no losses."""
    losses = evaluation.losses()
    if losses is None or losses.empty:
        return None
    phase, rows = longest_phase(losses)
    limit = steps_of_epochs(evaluation)
    rows = rows[rows["step"] < limit]
    minimised = rows[~rows["name"].isin(evaluation.record.watched)]
    steps, values = restoring_loss(minimised)
    first_step = minimised[minimised["step"] == minimised["step"].min()]
    first = restoring_loss(first_step)[1][0]  # the first point of a long curve is a mean already
    label = evaluation.record.title + (f", phase {phase}" if losses["phase"].nunique() > 1 else "")
    share = min(1.0, (rows["step"].max() + 1) / limit)
    return FirstEpochs(evaluation, label, steps, 100 * values / (first or 1.0), share)


def share_text(curves: Sequence[FirstEpochs]) -> str:
    """How much of the first epochs is shown of which run. An epoch is one pass over the official training set."""
    if all(curve.share == 1 for curve in curves):
        return "the first two epochs"
    parts = ", ".join(f"{curve.run.record.title} {EPOCHS * curve.share:.2g}" for curve in curves)
    return f"the whole training where it is shorter than two epochs of the official training set (epochs: {parts})"


def loss_figure(
    entry: Entry, sources: Sources, title: str, path: Path, *, task: str, tables: Sequence[str]
) -> Drawn | str:
    """Draw the training losses of all methods of a task in one plot, over the first two epochs.

    Args:
        tables: the published tables whose rows are the methods.

    Returns:
        the figure, or why it cannot be drawn.
    """
    rows = rows_in(sources.published, tables)
    dataset = best_dataset(sources, task, rows, datasets_in(sources.published, tables))
    runs = runs_of_rows(sources, task, rows, dataset)
    each_once = {run.name: run for run in runs.values()}
    curves = [curve for run in each_once.values() if (curve := first_epochs(run))]
    if not curves:
        return f"None of its rows has a trained run ({task} on {dataset}: {', '.join(rows)})."
    series = []
    for i, curve in enumerate(curves):
        end = curve.values[-max(1, round(TAIL * len(curve.values))) :].mean()
        series.append(Series(f"{curve.label}: {end:.3g} % at the end", curve.steps, curve.values, i))
    names = ("training step", "training loss (% of its first value)")
    svg = save(chart(f"{title}, {dataset_title(curves[0].run)}", names, series, whole=True), path)
    text = (
        "The sum of the losses that each method's restoring networks minimise, in percent of its value at the first "
        "step, because different losses have no common scale; the end is the mean of the last tenth. "
        f"Shown: {share_text(curves)}."
    )
    drawn = {curve.run.name for curve in curves}
    absent = [row for row in rows if row not in runs or runs[row].name not in drawn]
    return Drawn(svg, text, tuple(curve.run for curve in curves), missing_rows(task, dataset, absent))


# The change of alpha --------------------------------------------------------------------------------------------------

ALPHA_RUNS = {"dffnet-433-v5": "2-phase", "dffnet-433-v3": "1-phase"}
"""The runs with and without the change of alpha: published row, and the paper's name of the training."""


def scale_losses(evaluation: Evaluation) -> pd.DataFrame | None:
    """DFFNet's scale loss in the phases that fuse, by step from the first of them; None where there is none."""
    losses = evaluation.losses()
    if losses is None:
        return None
    rows = losses[(losses["name"] == "scale") & losses["phase"].isin(["fuse", "together"])]
    return None if rows.empty else rows.assign(step=rows["step"] - rows["step"].min()).sort_values("step")


def middle_of_fusion(rows: pd.DataFrame) -> float:
    """The step from which alpha is 1, counted from the first step of "fuse". Not every step of a long run is kept."""
    steps = rows.groupby("phase")["step"]
    end = steps.min().get("together", steps.max()["fuse"] + 1)
    return float(end) / 2


def alpha_figure(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw training with and without the change of alpha, with a red circle at the switch (figure 13).

    Returns:
        the figure, or which run is missing.
    """
    datasets = datasets_in(sources.published, ("dffnet-4.3.3-4",))
    dataset = best_dataset(sources, "sharp-inpaint", tuple(ALPHA_RUNS), datasets)
    runs = runs_of_rows(sources, "sharp-inpaint", tuple(ALPHA_RUNS), dataset)
    losses = {row: (run, rows) for row, run in runs.items() if (rows := scale_losses(run)) is not None}
    if absent := [row for row in ALPHA_RUNS if row not in losses]:
        return f"It compares two runs; missing: {missing_rows('sharp-inpaint', dataset, absent)[0]}."
    series, circles, verticals = [], [], []
    for i, (row, (run, rows)) in enumerate(losses.items()):
        steps, values = (thin(rows[name].to_numpy(float)) for name in ("step", "value"))
        series.append(Series(f"{ALPHA_RUNS[row]}: {run.record.title}", steps, values, i))
        if row == "dffnet-433-v5":
            switch = np.array([middle_of_fusion(rows)])
            value = np.interp(switch, steps, values)
            circles.append(Series("switch: alpha has reached 1", switch, value, RED, "hollow", ringed=[0]))
            together = rows["step"][rows["phase"] == "together"]
            verticals = [(float(together.min()), "together")] if len(together) else []
    place = dataset_title(next(iter(runs.values())))
    names = ("step since the fusion began", "scale loss")
    svg = chart(f"{title}, {place}", names, [*series, *circles], whole=True, verticals=verticals)
    text = (
        "The loss that the last stages of both runs minimise with the same weight, against the step since the fusion "
        "began. In 2-phase training the share alpha of the refined image grows from 0 to 1 until the circle and then "
        "stays 1; in 1-phase training it is 1 throughout. From the dashed line on all stages are trained together."
    )
    return Drawn(save(svg, path), text, tuple(run for run, _ in losses.values()))


# Quality against parameters -------------------------------------------------------------------------------------------


def measured_points(runs: Mapping[str, Evaluation]) -> dict[str, tuple[float, float]]:
    """By row: parameters in millions and PSNR in dB, where both were measured."""
    points = {}
    for row, run in runs.items():
        psnr, params = measure(run, PSNR, {}), measure(run, "params", {})
        if psnr.value is not None and params.value:
            points[row] = (convert(params.value, params.unit, "M"), psnr.value)
    return points


def joined(points: Mapping[str, tuple[float, float]], family: Sequence[str]) -> Series:
    """A line through the sizes of one network, without an entry in the legend."""
    x, y = zip(*sorted(points[row] for row in family if row in points), strict=True) if points else ((), ())
    return Series("", np.array(x, float), np.array(y, float), look="front")


def parameters_figure(entry: Entry, sources: Sources, title: str, path: Path, *, table: str, task: str) -> Drawn | str:
    """Draw quality against parameters: measured points filled, published ones hollow (DMTNet, figure 1).

    A method has the same colour in both; the sizes of the paper's own network are joined by a line.

    Returns:
        the figure, or why it cannot be drawn.
    """
    printed = {
        row.method: (row.label, float(row.numbers["params"]), float(row.numbers["combined-psnr"]))
        for row in sources.published.tables[table].rows
        if row.numbers["params"] is not None and row.numbers["combined-psnr"] is not None
    }
    runs = runs_of_rows(sources, task, tuple(printed), entry.datasets[0])
    measured = measured_points(runs)
    if not measured:
        return f"None of its rows has quality and parameters ({task} on {entry.datasets[0]}: {', '.join(printed)})."
    published = {row: (params, psnr) for row, (_, params, psnr) in printed.items()}
    series = [joined(points, entry.methods) for points in (measured, published)]
    for i, row in enumerate(printed):
        for points, look, name in (
            (measured, "points", f"{runs[row].record.title}, measured" if row in runs else ""),
            (published, "hollow", f"{printed[row][0]}, published"),
        ):
            if row in points:
                x, y = points[row]
                tip = f"{name}: {x:.4g} M, {y:.2f} dB"
                series.append(Series(name, np.array([x]), np.array([y]), i, look, tips=[tip]))
    first = next(iter(runs.values()))
    names = ("parameters (M)", "PSNR (dB), all scenes")
    heading = f"{title}, measured on {dataset_title(first)}"
    svg = save(chart(heading, names, series, log=(True, False), height=300, margin=0.08), path)
    text = (
        "Mean PSNR over all test scenes against the number of parameters: filled as measured, hollow as printed; the "
        "sizes of DMTNet are joined."
    )
    if first.record.origin != ORIGINALS or any(runs[row].record.reduced for row in measured):
        text += " Filled and hollow points differ in data or in size: compare their order, not their numbers."
    used = {runs[row].name: runs[row] for row in measured}
    absent = [row for row in printed if row not in measured]
    return Drawn(svg, text, tuple(used.values()), missing_rows(task, entry.datasets[0], absent))
