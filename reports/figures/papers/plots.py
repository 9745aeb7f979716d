"""Plots of the papers: training losses over the first epochs, the change of alpha, quality against parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench import registry
from reports.figures import line_plots
from reports.figures.charts import Series, chart, rasterise, save_chart
from reports.figures.papers.store import (
    Drawn,
    Entry,
    Store,
    best_dataset,
    datasets_in,
    lacking,
    rows_in,
    standing,
    title_of,
)
from reports.scores.measures import PSNR
from reports.scores.reading import ORIGINALS, Evaluation, convert, measure

EPOCHS = 2
"""How many the papers' figures show."""
TAIL = 0.1
"""The share of a shown curve, at its end, over which the value in the legend is a mean."""
RED = 6
"""The number of the series of a red circle."""


def save(svg: str, path: Path) -> str:
    """Write a chart as `path`.svg and `path`.png; the chart comes back for the page."""
    save_chart(svg, path)
    rasterise(path.with_name(f"{path.name}.svg"))
    return svg


def two_epochs(evaluation: Evaluation) -> float:
    """The steps of two passes over the official training set at the run's batch size."""
    counts = registry.dataset(evaluation.record["dataset"]).counts
    return EPOCHS * counts["train"] / evaluation.record["train"]["batch_size"]


def longest_phase(losses: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The phase of most steps and its losses, its first step 0; phases of different losses have no common curve."""
    steps = losses.groupby("phase", sort=False)["step"].nunique()
    name = str(steps.idxmax())
    rows = losses[losses["phase"] == name]
    return name, rows.assign(step=rows["step"] - rows["step"].min())


def first_epochs(evaluation: Evaluation) -> tuple[str, np.ndarray, np.ndarray, float] | None:
    """A run's training loss over its first two epochs, or as much of them as was trained.

    Returns:
        its label, the steps, the loss in percent of its first value, and the share of the two epochs that is shown;
        None where the run has no losses.
    """
    losses = evaluation.losses()
    if losses is None or losses.empty:
        return None
    phase, rows = longest_phase(losses)
    limit = two_epochs(evaluation)
    rows = rows[rows["step"] < limit]
    watched = evaluation.record.get("watched", ())
    sums = rows[~rows["name"].isin(watched)]
    steps, values = line_plots.curve(sums)
    totals = sums[sums["step"] == sums["step"].min()]
    first = line_plots.curve(totals)[1][0]  # a long curve's first point is a mean already
    label = str(evaluation.record["title"]) + (f", phase {phase}" if losses["phase"].nunique() > 1 else "")
    return label, steps, 100 * values / (first or 1.0), min(1.0, (rows["step"].max() + 1) / limit)


def share_text(drawn: dict[str, tuple[Evaluation, tuple[str, np.ndarray, np.ndarray, float]]]) -> str:
    """How much of the first two epochs is shown of which run; an epoch is one pass over the official training set."""
    if all(share == 1 for _, (_, _, _, share) in drawn.values()):
        return "the first two epochs"
    parts = ", ".join(f"{one.record['title']} {EPOCHS * share:.2g}" for one, (_, _, _, share) in drawn.values())
    return f"the whole training where it is shorter than two epochs of the official training set (epochs: {parts})"


def loss_figure(entry: Entry, store: Store, title: str, path: Path, *, task: str, tables: Sequence[str]) -> Drawn | str:
    """The training losses of all methods of a task in one plot, over the first two epochs.

    Args:
        tables: the published tables whose rows are the methods.

    Returns:
        the figure, or why it cannot be drawn.
    """
    rows = rows_in(store.known, tables)
    dataset = best_dataset(store, task, rows, datasets_in(store.known, tables))
    runs = standing(store, task, rows, dataset)
    drawn = {one.name: (one, found) for one in runs.values() if (found := first_epochs(one))}
    if not drawn:
        return f"No trained run of its rows is there ({task} on {dataset}: {', '.join(rows)})."
    members = [one for one, _ in drawn.values()]
    shown = [
        Series(f"{label}: {values[-max(1, round(TAIL * len(values))) :].mean():.3g} % at the end", steps, values, i)
        for i, (_, (label, steps, values, _)) in enumerate(drawn.values())
    ]
    names = ("training step", "training loss (% of its first value)")
    svg = save(chart(f"{title}, {title_of(members[0])}", names, shown, whole=True), path)
    text = (
        "The sum of what each method's restoring networks lower, in percent of its value at the first step, as losses "
        f"of different kinds share no scale; the end is the mean of the last tenth. Shown: {share_text(drawn)}."
    )
    absent = [row for row in rows if row not in runs or runs[row].name not in drawn]
    return Drawn(svg, text, tuple(members), lacking(task, dataset, absent))


def scale_losses(evaluation: Evaluation) -> pd.DataFrame | None:
    """DFFNet's scale loss in the phases that fuse, by step from the first of them; None where there is none."""
    losses = evaluation.losses()
    if losses is None:
        return None
    rows = losses[(losses["name"] == "scale") & losses["phase"].isin(["fuse", "together"])]
    return None if rows.empty else rows.assign(step=rows["step"] - rows["step"].min()).sort_values("step")


def middle_of_fusion(rows: pd.DataFrame) -> float:
    """The step, counted from the first of "fuse", from which alpha is 1; of a long training not every step is kept."""
    steps = rows.groupby("phase")["step"]
    end = steps.min().get("together", steps.max()["fuse"] + 1)
    return float(end) / 2


def alpha_figure(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """Training with and without the change of alpha, the switch marked by a red circle (figure 13).

    Returns:
        the figure, or which run is missing.
    """
    names = {"dffnet-433-v5": "2-phase", "dffnet-433-v3": "1-phase"}
    datasets = datasets_in(store.known, ("dffnet-4.3.3-4",))
    dataset = best_dataset(store, "sharp-inpaint", tuple(names), datasets)
    runs = standing(store, "sharp-inpaint", tuple(names), dataset)
    found = {row: (one, rows) for row, one in runs.items() if (rows := scale_losses(one)) is not None}
    if absent := [row for row in names if row not in found]:
        return f"It compares two runs; missing: {lacking('sharp-inpaint', dataset, absent)[0]}."
    shown, verticals = [], []
    for i, (row, (one, rows)) in enumerate(found.items()):
        steps, values = (line_plots.thin(rows[name].to_numpy(float)) for name in ("step", "value"))
        shown.append(Series(f"{names[row]}: {one.record['title']}", steps, values, i))
        together = rows["step"][rows["phase"] == "together"]
        if row == "dffnet-433-v5":
            switch = np.array([middle_of_fusion(rows)])
            value = np.interp(switch, steps, values)
            circle = Series("switch: alpha has reached 1", switch, value, RED, "hollow", ringed=[0])
            verticals = [(float(together.min()), "together")] * bool(len(together))
    place = title_of(next(iter(runs.values())))
    names_of_axes = ("step since the fusion began", "scale loss")
    drawn = chart(f"{title}, {place}", names_of_axes, [*shown, circle], whole=True, verticals=verticals)
    svg = save(drawn, path)
    text = (
        "The loss that both runs' last stages lower with the same weight, against the step since the fusion began. In "
        "2-phase training the share alpha of the refined image grows from 0 to 1 until the circle and stays there; in "
        "1-phase training it is 1 throughout. From the dashed line on all stages are trained together."
    )
    return Drawn(svg, text, tuple(one for one, _ in found.values()))


def measured_points(runs: dict[str, Evaluation]) -> dict[str, tuple[float, float]]:
    """By row: parameters in millions and PSNR in dB, of those that have both."""
    found = {}
    for row, one in runs.items():
        psnr, params = measure(one, PSNR, {}), measure(one, "params", {})
        if psnr.value is not None and params.value:
            found[row] = (convert(params.value, params.unit, "M"), psnr.value)
    return found


def joined(points: dict[str, tuple[float, float]], family: Sequence[str]) -> Series:
    """The line through the sizes of one network, without a name of its own."""
    x, y = zip(*sorted(points[row] for row in family if row in points), strict=True) if points else ((), ())
    return Series("", np.array(x, float), np.array(y, float), look="front")


def parameters_figure(entry: Entry, store: Store, title: str, path: Path, *, table: str, task: str) -> Drawn | str:
    """Quality against parameters: measured points filled, published ones hollow (DMTNet, figure 1).

    A method has one colour in both; the sizes of the paper's own network are joined.

    Returns:
        the figure, or why it cannot be drawn.
    """
    printed = {
        row.method: (row.label, float(row.numbers["params"]), float(row.numbers["combined-psnr"]))
        for row in store.known.tables[table].rows
        if row.numbers["params"] is not None and row.numbers["combined-psnr"] is not None
    }
    runs = standing(store, task, tuple(printed), entry.datasets[0])
    measured = measured_points(runs)
    if not measured:
        return f"No run of its rows has quality and parameters ({task} on {entry.datasets[0]}: {', '.join(printed)})."
    published = {row: (params, psnr) for row, (_, params, psnr) in printed.items()}
    origin = str(next(iter(runs.values())).record["origin"])
    shown = [joined(points, entry.methods) for points in (measured, published)]
    for i, row in enumerate(printed):
        for points, look, name in (
            (measured, "points", f"{runs[row].record['title']}, measured" if row in runs else ""),
            (published, "hollow", f"{printed[row][0]}, published"),
        ):
            if row in points:
                x, y = points[row]
                tip = f"{name}: {x:.4g} M, {y:.2f} dB"
                shown.append(Series(name, np.array([x]), np.array([y]), i, look, tips=[tip]))
    place = title_of(next(iter(runs.values())))
    names = ("parameters (M)", "PSNR (dB), all scenes")
    drawn = chart(f"{title}, measured on {place}", names, shown, log=(True, False), height=300, margin=0.08)
    svg = save(drawn, path)
    text = (
        "Mean PSNR over all test scenes against the number of parameters: filled as measured, hollow as printed; the "
        "sizes of DMTNet are joined."
    )
    if origin != ORIGINALS or any(runs[row].record["reduced"] for row in measured):
        text += " Filled and hollow points differ in data or in size: compare their order, not their numbers."
    used = {runs[row].name: runs[row] for row in measured}
    absent = [row for row in printed if row not in measured]
    return Drawn(svg, text, tuple(used.values()), lacking(task, entry.datasets[0], absent))
