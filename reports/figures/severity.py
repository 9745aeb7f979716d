"""Quality by how severe the degradation of an image is."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from reports.figures.charts import Plot, Series, chart, save_chart
from reports.figures.naming import MAX_RUNS, FigureKey, best_of_text, dataset_title, mean_psnr
from reports.scores.measures import MEASURES, PSNR, SSIM, axis_name
from reports.scores.reading import Evaluation
from reports.tables.overviews import inputs_of
from reports.tables.runs import Group, name_among

QUALITY = (PSNR, SSIM)
"""The ids of the metrics that are drawn."""
SEVERITIES = {
    "length": "blur length (pixels)",
    "sigma": "sigma of the Gaussian blur (pixels)",
    "mask_ratio": "hole ratio",
}
"""Measures of severity: fields of a degradation's record, and the share of the image that the hole takes."""
MAX_GROUPS = 6
"""The most groups of a severity: more groups would hold few images each."""

Points = tuple[np.ndarray, np.ndarray]
"""The severities (N,) and the values (N,) of a run's images."""


def group_of_each(values: np.ndarray, most: int = MAX_GROUPS) -> np.ndarray:
    """Assign severities to at most `most` groups: one per value, or else groups of about as many images each.

    Args:
        values: (N,), one per image and condition; equal values stay together.

    Returns:
        (N,) the group of each, from 0 upwards.

    >>> group_of_each(np.array([10.0, 30.0, 10.0, 20.0])).tolist()
    [0, 2, 0, 1]
    """
    distinct, position = np.unique(values, return_inverse=True)
    if len(distinct) <= most:
        return position
    milder = np.cumsum(np.bincount(position)) - np.bincount(position)  # images below each value
    groups = milder * most // len(values)
    return np.unique(groups[position], return_inverse=True)[1]


def draw_severities(runs: Mapping[str, Points], names: tuple[str, str], title: str, path: Path) -> str:
    """Draw quality by severity: a curve per run, a point per group of images, which is their mean.

    The text above each group is the number of images that one run has in it. The mean of a group with a perfect image
    is infinite and not drawn.

    Args:
        runs: label to the images of a run.
        names: of the severity and of the metric, with their units.
    """
    every = np.concatenate([severities for severities, _ in runs.values()])
    groups = group_of_each(every)
    edges = [every[groups == k].min() for k in range(groups.max() + 1)]
    series: list[Series] = []
    counts: dict[int, tuple[float, int]] = {}
    for i, (label, (severities, values)) in enumerate(runs.items()):
        group = np.searchsorted(edges, severities, side="right") - 1
        present = [k for k in range(len(edges)) if (group == k).any()]
        x = np.array([severities[group == k].mean() for k in present])
        y = np.array([values[group == k].mean() for k in present])
        sizes = [int((group == k).sum()) for k in present]
        tips = [f"{label}: {b:.4g} at {a:.4g}, {n} images" for a, b, n in zip(x, y, sizes, strict=True)]
        series.append(Series(label, x, y, i, "both", tips=tips))
        for k, place, size in zip(present, x, sizes, strict=True):
            counts.setdefault(k, (float(place), size))
    texts = [(place, f"n={size}") for place, size in counts.values()]
    return save_chart(chart(title, names, series, counts=texts, margin=0.05), path)


@lru_cache(maxsize=100_000)
def recorded(severity: str, name: str) -> float:
    """A number of a degradation's record; NaN where it has none of this name.

    >>> recorded('{"length": 15}', "length")
    15.0
    """
    value = json.loads(severity).get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan


def severities_of(evaluation: Evaluation, metric: str, name: str, given: str) -> Points | None:
    """How severe the degradation of each image is, and its value; None where this is not recorded.

    Args:
        name: a key of SEVERITIES.
        given: the input: sharp, blurred or dual-pixel. A sharp input has no blur, although its photograph has one.
    """
    rows = evaluation.scores.get(metric)
    column = name if name == "mask_ratio" else "severity"
    if rows is None or column not in rows or (column == "severity" and given == "sharp"):
        return None
    chosen = (rows["input"].to_numpy() == given) & (rows["image"].to_numpy() != "")
    cells = rows[column].to_numpy()[chosen]
    severity = np.array([recorded(text, name) for text in cells] if column == "severity" else cells, float)
    values = rows["value"].to_numpy(float)[chosen]
    known = np.isfinite(severity) & ~np.isnan(values)
    return (severity[known], values[known]) if known.any() else None


def severity_plots(runs: Sequence[Group], key: FigureKey, folder: Path) -> list[Plot]:
    """Draw quality by severity: one figure per metric, input and measure, where this varies over the images."""
    plots = []
    inputs = sorted({given for group in runs for given in inputs_of(group)})
    names = [name_among(group, runs) for group in runs]
    ranked = sorted(zip(runs, names, strict=True), key=lambda pair: -mean_psnr(pair[0].evaluations[0]))
    for given, name, metric in itertools.product(inputs, SEVERITIES, QUALITY):
        curves = {
            label: points
            for group, label in ranked[:MAX_RUNS]
            if (points := severities_of(group.evaluations[0], metric, name, given)) is not None
        }
        if not curves or len(np.unique(np.concatenate([severity for severity, _ in curves.values()]))) < 2:
            continue
        measure, quality = SEVERITIES[name].partition(" (")[0], MEASURES[metric].title
        place = dataset_title(runs[0].evaluations[0])
        title = f"{quality} by {measure}, {key.task_of(given, inputs)} on {place}{best_of_text(len(runs))}"
        path = folder / f"{key.file_name(f'{quality.lower()}-by-{name}'.replace('_', '-'))}-{given}"
        plots.append(Plot(title, draw_severities(curves, (SEVERITIES[name], axis_name(metric)), title, path)))
    return plots
