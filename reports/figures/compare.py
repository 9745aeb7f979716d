"""A paired comparison of evaluated runs, as text for a terminal and as a plot: every metric that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import DataError, ParamsError, UserError
from bench.record import RECORD
from bench.registry import nearest
from reports.scores.measures import is_cost, overview_metrics
from reports.scores.reading import Evaluation, measure, read_evaluation_record, read_scores
from reports.scores.statistics import against, bootstrap, differences

MAX_BARS = 20
"""The most bars of a text plot; with more images each bar is the mean of neighbours."""
HALF_WIDTH = 24
"""Characters of the longest bar."""
LARGEST = 5
"""How many of the images with the largest differences are named."""
FORMATS = (".png", ".svg", ".pdf")
"""The endings of a plot's file."""


@dataclass(frozen=True)
class RunDifference:
    """One run against the first one, in one metric."""

    run: str
    """The evaluation's name."""
    mean: float
    """The mean over all images of the run; of a cost its value."""
    interval: tuple[float, float] | None
    """The 95 % bootstrap interval of the mean; None for a cost."""
    difference: float | None = None
    """The run minus the first one over their common images; None for the first one itself."""
    difference_interval: tuple[float, float] | None = None
    """The 95 % bootstrap interval of the difference; None for the first one and for a cost."""
    p: float | None = None
    """Of the paired signed-rank test, Holm-corrected over the runs; None for the first one and for a cost."""
    images: pd.Series | None = None
    """The difference of each common image, by name, the run's worst first; None for the first one and for a cost."""

    def counts(self, better: str) -> tuple[int, int, int]:
        """How many images the run restores better than, worse than and as well as the first one (both perfect, too).

        Args:
            better: "higher" or "lower".
        """
        gain = np.zeros(0) if self.images is None else self.images.to_numpy() * (1 if better == "higher" else -1)
        wins, losses = int((gain > 0).sum()), int((gain < 0).sum())
        return wins, losses, len(gain) - wins - losses


@dataclass(frozen=True)
class MetricComparison:
    """All runs in one metric."""

    id: str
    """The metric's id."""
    given: str
    """The input, where the metric has several: sharp or blurred; else ""."""
    unit: str
    """The unit of its values; "" for none."""
    better: str
    """"higher" or "lower"."""
    runs: tuple[RunDifference, ...]
    """The runs, the first one first."""

    @property
    def name(self) -> str:
        """The metric, with its input where it has several."""
        return f"{self.id}, {self.given}" if self.given else self.id


@dataclass(frozen=True)
class RunComparison:
    """A comparison of runs of one task and dataset."""

    title: str
    """Task, dataset, origin and profile, and how many images all runs have."""
    metrics: tuple[MetricComparison, ...]
    """The metrics, in the order of the report's tables."""
    notes: tuple[str, ...] = ()
    """What a reader must know about it."""


# Reading --------------------------------------------------------------------------------------------------------------


def find(root: Path, profile: str, names: Sequence[str], on: str = "") -> list[Evaluation]:
    """Read the evaluations of these names.

    Args:
        root: one folder per evaluation.
        on: a dataset; a name may then also be that of a run, and means its evaluation on this dataset.

    Raises:
        UserError: a name that no evaluation has, or that is given twice.
    """
    records = {path.parent.name: path for path in sorted(root.glob(f"[!.]*/{RECORD}"))}
    about = {name: read_evaluation_record(path, profile) for name, path in records.items()} if on else {}
    evaluations: dict[str, Evaluation] = {}
    for name in names:
        matches = [other for other, r in about.items() if r.dataset == on and name in (other, r.run)]
        chosen = matches[0] if matches else name
        if chosen not in records or (on and not matches):
            place = f" on {on}" if on else ""
            known = [other for other, r in about.items() if r.dataset == on] if on else records
            raise UserError(
                f"{root}: no evaluation {name!r}{place}; the nearest are: {nearest(name, known) or 'none'}; evaluate "
                f"it first: python -m bench evaluate {name}{' --on ' + on if on else ''}"
            )
        if chosen in evaluations:
            raise UserError(f"{chosen} is named twice; a comparison needs two different evaluations")
        folder = root / chosen
        record = read_evaluation_record(folder / RECORD, profile)
        evaluations[chosen] = Evaluation(folder, record, read_scores(folder, record, with_losses=False))
    return list(evaluations.values())


def check_comparable(runs: Sequence[Evaluation]) -> None:
    """Raise UserError for fewer than two runs, DataError for runs of different tasks, datasets or origins."""
    if len(runs) < 2:
        raise UserError(f"one run, {runs[0].name}; a comparison needs two or more")
    first = runs[0].record
    for run in runs[1:]:
        for field in ("task", "dataset", "origin"):
            value, expected = getattr(run.record, field), getattr(first, field)
            if value != expected:
                raise DataError(
                    f"{run.name}: {field} {value}, but {runs[0].name} has {expected}; only evaluations of one task on "
                    "the same images can be paired (--on DATASET chooses a run's evaluation there)"
                )


# Comparing ------------------------------------------------------------------------------------------------------------


def compare_metric(metric: str, given: str, runs: Sequence[Evaluation]) -> MetricComparison | None:
    """Compare runs in one metric; None where a run has no value of it, or no image is common.

    Args:
        given: the input, sharp or blurred; "" for all.
    """
    stats = [measure(run, metric, {"input": given} if given else {}) for run in runs]
    values = [stat.value for stat in stats if stat.value is not None]
    if len(values) < len(stats):
        return None
    first = stats[0]
    lines = [RunDifference(runs[0].name, values[0], first.interval)]
    images = [stat.images for stat in stats if stat.images is not None]
    if len(images) < len(stats):  # a cost, or a metric of a set of images
        for run, value in zip(runs[1:], values[1:], strict=True):
            lines.append(RunDifference(run.name, value, None, value - values[0]))
        return MetricComparison(metric, given, first.unit, first.better, tuple(lines))
    tested = against(images[0], images[1:])
    for i, (run, p) in enumerate(zip(runs[1:], tested, strict=True), 1):
        gaps = differences(images[i], images[0])
        if not len(gaps):
            return None
        gaps = gaps.sort_values(kind="stable", ascending=first.better == "higher")
        with np.errstate(invalid="ignore"):  # inf and -inf have no mean
            mean = float(gaps.mean())
        lines.append(RunDifference(run.name, values[i], stats[i].interval, mean, bootstrap(gaps), p, gaps))
    return MetricComparison(metric, given, first.unit, first.better, tuple(lines))


def inputs_of(metric: str, runs: Sequence[Evaluation]) -> list[str]:
    """The inputs that all runs have in a metric, if these are several; else "" for all."""
    inputs = sorted(set.intersection(*(set(run.columns(metric)["input"]) for run in runs)) - {""})
    return inputs if len(inputs) > 1 and not is_cost(metric) else [""]


def compare(runs: Sequence[Evaluation], metric: str = "") -> RunComparison:
    """Compare runs with the first of them, paired over their common images.

    Args:
        metric: the id of one metric; "" for all that every run has, in the order of the report's tables.

    Raises:
        UserError: fewer than two runs, or a metric that not all of them have.
        DataError: runs of different tasks, datasets or origins, or without a common image.
    """
    check_comparable(runs)
    common = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    if metric and metric not in common:
        raise UserError(f"metric {metric!r}: not all runs have it; the nearest are: {nearest(metric, common)}")
    order = overview_metrics()
    ordered = sorted(common, key=lambda name: order.index(name) if name in order else len(order))
    pairs = [(name, given) for name in ([metric] if metric else ordered) for given in inputs_of(name, runs)]
    metrics = [compared for name, given in pairs if (compared := compare_metric(name, given, runs))]
    counts = [len(run.images) for compared in metrics for run in compared.runs if run.images is not None]
    if not metrics or (not counts and not all(is_cost(compared.id) for compared in metrics)):
        names = ", ".join(run.name for run in runs)
        raise DataError(f"{names}: no metric has a value of a common image in all of them; evaluate them again")
    notes = []
    if len({run.record.provenance.manifest_sha256 for run in runs}) > 1:
        notes.append("they were evaluated on different builds of the dataset: images are paired by their names alone")
    if counts and min(counts) != max(counts):
        notes.append(f"{min(counts)} to {max(counts)} images are common, depending on the metric")
    images = f"{max(counts)} common images" if counts else "no images"
    first = runs[0].record
    title = f"{first.task} on {first.dataset_title} ({first.origin}), {first.profile} profile: {images}"
    return RunComparison(title, tuple(metrics), tuple(notes))


# Text -----------------------------------------------------------------------------------------------------------------


def interval_text(interval: tuple[float, float] | None, sign: str = "") -> str:
    """An interval as text; "" for none.

    >>> interval_text((0.5, 1.25)), interval_text((-0.5, 1.25), "+")
    ('[0.5, 1.25]', '[-0.5, +1.25]')
    """
    return "" if interval is None else f"[{interval[0]:{sign}.5g}, {interval[1]:{sign}.5g}]"


def rows_of(comparison: RunComparison) -> list[list[str]]:
    """The comparison as rows of texts, the headings first."""
    rows = [["metric", "run", "mean", "95 %", "difference", "95 %", "p (Holm)", "wins", "losses", "ties"]]
    for metric in comparison.metrics:
        arrow = {"higher": ", higher is better", "lower": ", lower is better"}.get(metric.better, "")
        for i, run in enumerate(metric.runs):
            head = (metric.name, f"({metric.unit or '1'}{arrow})")[i] if i < 2 else ""
            row = [head, run.run, f"{run.mean:.5g}", interval_text(run.interval)]
            if run.difference is not None:
                p = "" if run.p is None else f"{run.p:.4f}"
                row += [f"{run.difference:+.5g}", interval_text(run.difference_interval, "+"), p]
                row += [str(count) for count in run.counts(metric.better)] if run.images is not None else []
            rows.append(row + [""] * (len(rows[0]) - len(row)))
    return rows


def align(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines: the first two columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def largest_differences(images: pd.Series) -> list[str]:
    """The images with the largest differences, one line each."""
    chosen = images.iloc[np.argsort(-images.abs().to_numpy(), kind="stable")[:LARGEST]]
    return [f"  {value:+.4f}  {name}" for name, value in chosen.items()]


def bars(images: pd.Series, plain: bool) -> list[str]:
    """The differences as bars to both sides of zero, in the given order, one line each.

    Args:
        images: the difference of each image, by name.
        plain: use ASCII only.
    """
    values, names = images.to_numpy(float), [str(name) for name in images.index]
    groups = np.array_split(np.arange(len(values)), min(MAX_BARS, len(values)))
    with np.errstate(invalid="ignore"):  # inf and -inf have no mean
        means = [float(values[group].mean()) for group in groups]
    finite = [abs(mean) for mean in means if np.isfinite(mean)]
    longest, block, axis = max(finite, default=0.0) or 1.0, "#" if plain else "█", "|" if plain else "│"
    lines = []
    for group, mean in zip(groups, means, strict=True):
        length = round(min(abs(mean) / longest, 1.0) * HALF_WIDTH) if not np.isnan(mean) else 0
        bar = block * length
        left, right = (bar, "") if mean < 0 else ("", bar)
        label = names[group[0]] if len(group) == 1 else f"{names[group[0]]} and {len(group) - 1} more"
        lines.append(f"  {mean:+9.4f} {left.rjust(HALF_WIDTH)}{axis}{right.ljust(HALF_WIDTH)} {label}")
    return lines


def text(comparison: RunComparison, plain: bool = False) -> str:
    """The comparison for a terminal: the table, and of the first metric the largest differences and the bars.

    Args:
        plain: use ASCII only.
    """
    lines = [comparison.title, *(f"note: {note}" for note in comparison.notes), "", *align(rows_of(comparison))]
    metric = comparison.metrics[0]
    first = metric.runs[0].run
    for run in metric.runs[1:]:
        if run.images is not None:
            heading = f"{metric.name}: {run.run} minus {first}"
            lines += ["", f"{heading}, the largest differences", *largest_differences(run.images)]
            lines += ["", f"{heading}, the images on which it is worst first", *bars(run.images, plain)]
    joined = "\n".join(lines) + "\n"
    return joined.encode("ascii", "replace").decode() if plain else joined


# Plot -----------------------------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Raise ParamsError for a plot's file whose kind cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise ParamsError(f"--out {path}: found {path.suffix or 'no ending'}, expected one of {', '.join(FORMATS)}")


def save(comparison: RunComparison, path: Path) -> None:
    """Draw the sorted differences of every run in the first metric.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    from bench.files import replacing

    check_output(path)
    metric = comparison.metrics[0]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.6", linewidth=1)
    for run in metric.runs[1:]:
        if run.images is not None:
            share = (np.arange(len(run.images)) + 0.5) / len(run.images)
            axes.plot(share, run.images.to_numpy(), marker=".", label=run.run)
    axes.set(
        xlabel="share of the images, the worst first",
        ylabel=f"{metric.name} ({metric.unit or '1'}) minus {metric.runs[0].run}",
    )
    axes.set_title(comparison.title, fontsize="medium")
    axes.legend()
    with replacing(path) as temporary:
        options: Mapping[str, Any] = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
        figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150, **options)
