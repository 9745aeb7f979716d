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

BARS = 20
"""The most lines of a plot; with more images each line is the mean of neighbours."""
HALF = 24
"""Characters of the longest bar."""
LARGEST = 5
"""Images that are named for their large differences."""
FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Paired:
    """One run beside the first one, in one metric.

    Args:
        mean: over all images of the run, or a cost; `interval` its 95 % bootstrap interval, None for a cost.
        difference: the run minus the first over their common images; None for the first itself.
        apart: the 95 % bootstrap interval of the difference.
        p: of the paired signed-rank test, Holm-corrected over the runs; None for the first and for a cost.
        images: the difference of each common image, by name, a run's worst first; None for a cost.
    """

    run: str
    mean: float
    interval: tuple[float, float] | None
    difference: float | None = None
    apart: tuple[float, float] | None = None
    p: float | None = None
    images: pd.Series | None = None

    def counts(self, better: str) -> tuple[int, int, int]:
        """The images on which the run is better, worse and equal."""
        gain = np.zeros(0) if self.images is None else self.images.to_numpy() * (1 if better == "higher" else -1)
        return int((gain > 0).sum()), int((gain < 0).sum()), int((gain == 0).sum())


@dataclass(frozen=True)
class Metric:
    """One metric of all runs, the first one first."""

    id: str
    given: str
    unit: str
    better: str
    runs: tuple[Paired, ...]

    @property
    def name(self) -> str:
        """The metric, with its input where there are several."""
        return f"{self.id}, {self.given}" if self.given else self.id


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs of one task and dataset.

    Args:
        title: task, dataset, where its images come from, and how many of them are common.
        notes: what one must know of it.
    """

    title: str
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = ()


def find(root: Path, profile: str, names: Sequence[str], on: str = "") -> list[Evaluation]:
    """Read the evaluations of these names.

    Args:
        root: a folder an evaluation.
        on: a dataset: then a name may also be that of a run, whose evaluation on this dataset is meant.

    Raises:
        UserError: a name that is not among the evaluations, or stands there twice.
    """
    records = {path.parent.name: path for path in sorted(root.glob(f"[!.]*/{RECORD}"))}
    about = {name: read_evaluation_record(path, profile) for name, path in records.items()} if on else {}
    found: dict[str, Evaluation] = {}
    for name in names:
        fitting = [other for other, r in about.items() if r.dataset == on and name in (other, r.run)]
        wanted = fitting[0] if fitting else name
        if wanted not in records or (on and not fitting):
            place = f" on {on}" if on else ""
            known = [other for other, r in about.items() if r.dataset == on] if on else records
            raise UserError(
                f"{root}: no evaluation {name!r}{place}; the nearest are: {nearest(name, known) or 'none'}; evaluate "
                f"it first: python -m bench evaluate {name}{' --on ' + on if on else ''}"
            )
        if wanted in found:
            raise UserError(f"{wanted} is named twice; a comparison needs two different evaluations")
        folder = root / wanted
        record = read_evaluation_record(folder / RECORD, profile)
        found[wanted] = Evaluation(folder, record, read_scores(folder / "scores.parquet"))
    return list(found.values())


def pair(metric: str, given: str, runs: Sequence[Evaluation]) -> Metric | None:
    """Compare runs in one metric; None where one of them has no value of it, or no image is common."""
    stats = [measure(one, metric, {"input": given} if given else {}) for one in runs]
    first = stats[0]
    if any(stat.value is None for stat in stats):
        return None
    lines = [Paired(runs[0].name, float(first.value or 0.0), first.interval)]
    pairs = [(stat.images, first.images) for stat in stats[1:]]
    if first.images is not None and all(one is not None for one, _ in pairs):
        tested = against(first.images, [one for one, _ in pairs if one is not None])
        for one, stat, p in zip(runs[1:], stats[1:], tested, strict=True):
            assert stat.value is not None and stat.images is not None
            gaps = differences(stat.images, first.images)
            if not len(gaps):
                return None
            gaps = gaps.sort_values(kind="stable", ascending=first.better == "higher")
            mean = float(gaps.mean())
            lines.append(Paired(one.name, stat.value, stat.interval, mean, bootstrap(gaps), p, gaps))
    else:
        for one, stat in zip(runs[1:], stats[1:], strict=True):
            assert stat.value is not None and first.value is not None
            lines.append(Paired(one.name, stat.value, None, stat.value - first.value))
    return Metric(metric, given, first.unit, first.better, tuple(lines))


def compare(runs: Sequence[Evaluation], metric: str = "") -> Comparison:
    """Compare runs with the first of them, paired over their common images.

    Args:
        metric: one metric id alone; "" for all that every run has, in the order of the report's tables.

    Raises:
        UserError: fewer than two runs, or a metric that not all of them have.
        DataError: runs of different tasks, datasets or origins, or without a common image.
    """
    if len(runs) < 2:
        raise UserError(f"one run, {runs[0].name}; a comparison needs two or more")
    first = runs[0].record
    for one in runs[1:]:
        for field in ("task", "dataset", "origin"):
            value, expected = getattr(one.record, field), getattr(first, field)
            if value != expected:
                raise DataError(
                    f"{one.name}: {field} {value}, but {runs[0].name} has {expected}; only evaluations of one task on "
                    "the same images can be paired (--on DATASET chooses a run's evaluation there)"
                )
    common = [name for name in runs[0].scores if all(name in one.scores for one in runs)]
    order = overview_metrics()
    wanted = sorted(common, key=lambda name: order.index(name) if name in order else len(order))
    if metric and metric not in common:
        raise UserError(f"metric {metric!r}: not all runs have it; the nearest are: {nearest(metric, common)}")
    found = []
    for name in [metric] if metric else wanted:
        inputs = sorted(set.intersection(*(set(one.columns(name)["input"]) for one in runs)) - {""})
        for given in inputs if len(inputs) > 1 and not is_cost(name) else [""]:
            if pairing := pair(name, given, runs):
                found.append(pairing)
    counts = [len(line.images) for one in found for line in one.runs if line.images is not None]
    if not found or (not counts and not all(is_cost(one.id) for one in found)):
        names = ", ".join(one.name for one in runs)
        raise DataError(f"{names}: no metric has a value of a common image in all of them; evaluate them again")
    notes = []
    if len({one.record.provenance.manifest_sha256 for one in runs}) > 1:
        notes.append("they were evaluated on different builds of the dataset: images are paired by their names alone")
    if counts and min(counts) != max(counts):
        notes.append(f"{min(counts)} to {max(counts)} images are common, by metric")
    images = f"{max(counts)} common images" if counts else "no images"
    title = f"{first.task} on {first.dataset_title} ({first.origin}), {first.profile} profile: {images}"
    return Comparison(title, tuple(found), tuple(notes))


# As text --------------------------------------------------------------------------------------------------------------


def between(interval: tuple[float, float] | None, signs: str = "") -> str:
    """An interval as text, "" for none."""
    return "" if interval is None else f"[{interval[0]:{signs}.5g}, {interval[1]:{signs}.5g}]"


def rows(found: Comparison) -> list[list[str]]:
    """The comparison as rows of texts, the headings first."""
    out = [["metric", "run", "mean", "95 %", "difference", "95 %", "p (Holm)", "wins", "losses", "ties"]]
    for metric in found.metrics:
        arrow = {"higher": ", higher is better", "lower": ", lower is better"}.get(metric.better, "")
        for i, line in enumerate(metric.runs):
            head = (metric.name, f"({metric.unit or '1'}{arrow})")[i] if i < 2 else ""
            row = [head, line.run, f"{line.mean:.5g}", between(line.interval)]
            if line.difference is not None:
                row += [f"{line.difference:+.5g}", between(line.apart, "+"), "" if line.p is None else f"{line.p:.4f}"]
                row += [str(count) for count in line.counts(metric.better)] if line.images is not None else []
            out.append(row + [""] * (len(out[0]) - len(row)))
    return out


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


def largest(images: pd.Series) -> list[str]:
    """The images with the largest differences, a line each."""
    chosen = images.iloc[np.argsort(-images.abs().to_numpy(), kind="stable")[:LARGEST]]
    return [f"  {value:+.4f}  {name}" for name, value in chosen.items()]


def bars(images: pd.Series, plain: bool) -> list[str]:
    """The differences as bars to both sides of zero, in the order given.

    Args:
        images: by name, the difference of each.
        plain: ASCII alone.
    """
    values, names = images.to_numpy(float), [str(name) for name in images.index]
    groups = np.array_split(np.arange(len(values)), min(BARS, len(values)))
    means = [float(values[group].mean()) for group in groups]
    finite = [abs(mean) for mean in means if np.isfinite(mean)]
    longest, block, axis = max(finite, default=0.0) or 1.0, "#" if plain else "█", "|" if plain else "│"
    out = []
    for group, mean in zip(groups, means, strict=True):
        length = round(min(abs(mean) / longest, 1.0) * HALF) if not np.isnan(mean) else 0
        bar = block * length
        left, right = (bar, "") if mean < 0 else ("", bar)
        label = names[group[0]] if len(group) == 1 else f"{names[group[0]]} and {len(group) - 1} more"
        out.append(f"  {mean:+9.4f} {left.rjust(HALF)}{axis}{right.ljust(HALF)} {label}")
    return out


def text(found: Comparison, plain: bool = False) -> str:
    """The whole comparison for a terminal: the table, the largest differences and the plots of the first metric.

    Args:
        plain: ASCII alone.
    """
    out = [found.title, *(f"note: {note}" for note in found.notes), "", *align(rows(found))]
    main = found.metrics[0]
    first = main.runs[0].run
    for line in main.runs[1:]:
        if line.images is not None:
            out += ["", f"{main.name}: {line.run} minus {first}, the largest differences", *largest(line.images)]
            order = "the images on which it is worst first"
            out += ["", f"{main.name}: {line.run} minus {first}, {order}", *bars(line.images, plain)]
    whole = "\n".join(out) + "\n"
    return whole.encode("ascii", "replace").decode() if plain else whole


def check_output(path: Path) -> None:
    """Raise ParamsError for a plot's file of a kind that cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise ParamsError(f"--out {path}: found {path.suffix or 'no ending'}, expected one of {', '.join(FORMATS)}")


def save(found: Comparison, path: Path) -> None:
    """Draw every run's sorted differences in the first metric. Raises UserError for a file that cannot be written."""
    from matplotlib.figure import Figure

    from bench.files import replacing

    check_output(path)
    main = found.metrics[0]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.6", linewidth=1)
    for line in main.runs[1:]:
        if line.images is not None:
            share = (np.arange(len(line.images)) + 0.5) / len(line.images)
            axes.plot(share, line.images.to_numpy(), marker=".", label=line.run)
    axes.set(
        xlabel="share of the images, the worst first",
        ylabel=f"{main.name} ({main.unit or '1'}) minus {main.runs[0].run}",
    )
    axes.set_title(found.title, fontsize="medium")
    axes.legend()
    with replacing(path) as temporary:
        options: Mapping[str, Any] = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
        figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150, **options)
