"""The scores that a report is made of: one folder an evaluation, and the statistics over its images.

`<evaluation>/scores.parquet` holds tidy rows, `record.json` what was run, `losses.parquet` the losses of a training,
`images/` a few restored images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import TASKS, DataError, UserError

FIELDS = (
    "evaluation", "run", "method", "as", "title", "kind", "dataset", "dataset_title", "task", "profile", "origin",
    "partial", "network", "reduced", "train", "seed", "steps", "train_seconds", "missing_losses", "not_measured",
    "limits", "provenance", "images",
)  # fmt: skip
KINDS = ("trained", "no training", "chain", "authors' weights", "predictions")
WITH_WEIGHTS = ("trained", "authors' weights")
ORIGINALS = "originals"
CONDITION = ("input", "scene", "mask_kind", "mask_band")
COLUMNS = ("image", *CONDITION, "metric", "value", "unit", "better", "reason", "version")
COSTS = ("params", "params-total", "macs", "macs-attention", "seconds", "memory", "file-size")
"""Metrics of the network, not of images: they have a size, but no condition."""
LINKS = ("git_commit", "git_dirty", "manifest_sha256", "python", "packages")
DRAWS = 1000
"""Resamplings of the bootstrap."""
SCALES = {
    ("1", "percent"): 100.0, ("percent", "1"): 0.01, ("1", "M"): 1e-6, ("1", "G"): 1e-9, ("M", "G"): 1e-3,
    ("G", "M"): 1e3, ("B", "MB"): 1e-6, ("KB", "MB"): 1e-3, ("GB", "MB"): 1e3, ("KiB", "MB"): 1.024e-3,
    ("MiB", "MB"): 1.048576, ("GiB", "MB"): 1073.741824, ("ms", "s"): 1e-3,
}  # fmt: skip
"""Factors from a score's unit to a printed one."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run.

    Args:
        folder: where its files lie.
        record: what was run; the fields of FIELDS.
        scores: rows of one metric, by metric id; missing values of the condition are "".
    """

    folder: Path
    record: Mapping[str, Any]
    scores: Mapping[str, pd.DataFrame]

    @property
    def name(self) -> str:
        """The evaluation's id: its folder's name, and the anchor of its part of the page."""
        return str(self.record["evaluation"])

    def losses(self) -> pd.DataFrame | None:
        """The losses by step (step, phase, player, name, value), or None where nothing was trained."""
        path = self.folder / "losses.parquet"
        return pd.read_parquet(path) if path.is_file() else None


@dataclass(frozen=True)
class Stat:
    """One number over the images of one evaluation.

    Args:
        value: the mean over images, or the one value of a cost or a set's metric; None where it was not measured.
        unit: the unit of `value`.
        images: a row an image x condition, indexed by both; empty for costs and for metrics of a set.
        reason: why it was not measured.
        size: "256x256" for costs, else "".
        version: the metric's version.
    """

    value: float | None
    unit: str = ""
    better: str = ""
    images: pd.Series | None = None
    reason: str = ""
    size: str = ""
    version: str = ""


def read_record(path: Path, profile: str) -> dict[str, Any]:
    """Read what was run. Raises DataError when it is damaged, short of a field or of another profile."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); evaluate the run again") from error
    if missing := [name for name in FIELDS if name not in record]:
        raise DataError(f"{path}: lacks {', '.join(missing)}; evaluate the run again")
    if record["kind"] not in KINDS:
        raise DataError(f"{path}: kind {record['kind']!r}, expected one of {', '.join(KINDS)}")
    if record["task"] not in TASKS:
        raise DataError(f"{path}: task {record['task']!r}, expected one of {', '.join(TASKS)}")
    if record["profile"] != profile:
        raise DataError(
            f"{path}: profile {record['profile']!r} among scores of {profile!r}; a report never mixes profiles"
        )
    return record


def read_scores(path: Path) -> dict[str, pd.DataFrame]:
    """Read one evaluation's rows, by metric id. Raises DataError when the file is damaged or short of a column."""
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{path}: cannot be read as Parquet ({error}); evaluate the run again") from error
    if missing := [name for name in COLUMNS if name not in rows]:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; evaluate the run again")
    for name in ("image", *CONDITION, "size", "unit", "better", "reason", "version"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str) if name in rows else ""
    if "split" in rows and len(splits := set(rows["split"][rows["image"] != ""])) > 1:
        raise DataError(f"{path}: images of several splits ({', '.join(sorted(map(str, splits)))}), expected one")
    return {str(metric): group for metric, group in rows.groupby("metric", sort=False)}


def read(root: Path, profile: str) -> list[Evaluation]:
    """Read every evaluation under `root`, in the order of their folders' names.

    Raises:
        UserError: no evaluation there, or one that cannot be read.
    """
    folders = sorted(path.parent for path in root.glob("[!.]*/record.json"))
    if not folders:
        raise UserError(f"{root}: no evaluation (a folder with record.json) to report; evaluate a run first")
    found: dict[str, Evaluation] = {}
    for folder in folders:
        record = read_record(folder / "record.json", profile)
        one = Evaluation(folder, record, read_scores(folder / "scores.parquet"))
        if other := found.get(one.name):
            raise DataError(f"{folder}: evaluation {one.name!r} is in {other.folder} too; delete the older folder")
        found[one.name] = one
    return list(found.values())


def convert(value: float, unit: str, wanted: str) -> float:
    """Turn a value into the wanted unit. Raises UserError for two units that have no factor between them."""
    unit = {"": "1", "%": "percent"}.get(unit, unit)
    if unit == wanted:
        return value
    if (unit, wanted) not in SCALES:
        raise UserError(f"a score in {unit!r} was found where {wanted!r} is printed; no factor is known between them")
    return value * SCALES[unit, wanted]


def area(size: str) -> int:
    """The pixels of "256x256"; 0 for no size."""
    return int(np.prod([int(side) for side in size.replace("×", "x").split("x")])) if size else 0


def same_size(one: str, other: str) -> bool:
    """Whether two sizes have the same sides, in either order: "1280×768" and "768x1280"."""
    return sorted(one.replace("×", "x").split("x")) == sorted(other.replace("×", "x").split("x"))


@lru_cache(maxsize=256)
def index_of(*columns: tuple[str, ...]) -> pd.MultiIndex:
    """The index of images and conditions; runs of the same images share one, which makes comparing them fast."""
    return pd.MultiIndex.from_arrays(columns, names=["image", *CONDITION])


def measure(evaluation: Evaluation, metric: str, condition: Mapping[str, str], size: str | None = None) -> Stat:
    """Take one metric of one evaluation under a condition.

    Args:
        metric: our metric id.
        condition: column of the scores to its value ("mask_kind" to "square"); absent ones are pooled.
        size: the printed size of a cost; where it was not measured, the nearest in pixels is taken. Without a printed
            size the smallest is, at which every method is timed.
    """
    reasons = evaluation.record["not_measured"]
    rows = evaluation.scores.get(metric)
    if rows is None:
        return Stat(None, reason=reasons.get(metric, f"{metric} was not part of this evaluation"))
    first = rows.iloc[0]
    unit, better, version = str(first["unit"]), str(first["better"]), str(first["version"])
    wanted = np.ones(len(rows), bool)
    for name, value in condition.items() if metric not in COSTS else ():
        wanted &= rows[name].to_numpy() == value
    missing = "; ".join(dict.fromkeys(reason for reason in rows["reason"].to_numpy()[wanted] if reason))
    known = wanted & rows["value"].notna().to_numpy()
    if not known.any():
        absent = f"no image with {', '.join(f'{k} {v}' for k, v in condition.items())}" if condition else "no value"
        return Stat(None, unit, better, reason=missing or reasons.get(metric, absent), version=version)
    values = rows["value"].to_numpy(float)[known]
    keys = {name: tuple(rows[name].to_numpy()[known]) for name in ("image", *CONDITION)}
    if metric not in COSTS and all(keys["image"]):
        series = pd.Series(values, index=index_of(*keys.values()))
        return Stat(float(values.mean()), unit, better, series, version=version)
    if metric in COSTS:
        sizes = list(rows["size"].to_numpy()[known])
        pixels = area(size or "")
        best = min(range(len(sizes)), key=lambda i: (not same_size(sizes[i], size or ""), abs(area(sizes[i]) - pixels)))
        return Stat(float(values[best]), unit, better, size=sizes[best], version=version)
    whole = np.array([not any(row) for row in zip(*(keys[name] for name in CONDITION), strict=True)])
    if len(values) > 1 and whole.sum() != 1:  # a set's metric of several conditions has no mean
        return Stat(
            None, unit, better, reason=f"{metric} was measured by condition, not over all images", version=version
        )
    return Stat(float(values[whole][0] if whole.sum() == 1 else values[0]), unit, better, version=version)


@lru_cache(maxsize=4)
def draws(count: int) -> np.ndarray:
    """The seeded resamplings of `count` images: (DRAWS, count) float32, how often each image is drawn."""
    rng = np.random.default_rng(0)
    return np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)]).astype("f4")


def bootstrap(images: pd.Series) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, images drawn with replacement.

    An image that occurs under several conditions is drawn with all its rows, as they are not independent.

    Args:
        images: values indexed by image and condition.

    Returns:
        low and high; both the value itself where there is one image, both infinite where a value is.
    """
    names, position = np.unique(images.index.get_level_values("image"), return_inverse=True)
    values = images.to_numpy(float)
    if not np.isfinite(values).all():
        return float(values.mean()), float(values.mean())
    weights = draws(len(names))
    centre = values.mean()  # float32 weights: only the small deviations from the mean pass through them
    sums = weights @ np.bincount(position, values - centre)
    means = sums / (weights @ np.bincount(position).astype(float)) + centre
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def tied(one: pd.Series, other: pd.Series) -> bool:
    """Whether a paired two-sided Wilcoxon signed-rank test over the common images finds no difference at 5 %."""
    from scipy.stats import wilcoxon

    a, b = (one, other) if one.index is other.index else one.align(other, join="inner")
    difference = a.to_numpy(float) - b.to_numpy(float)
    difference = difference[np.isfinite(difference)]
    if len(difference) == 0 or not difference.any():
        return bool(len(a))
    difference = difference[difference != 0]
    method = "exact" if len(difference) <= 50 else "approx"  # "auto" permutes for seconds where a few values are equal
    return bool(wilcoxon(difference, method=method).pvalue >= 0.05)


def kendall(measured: Sequence[float], printed: Sequence[float]) -> float:
    """Kendall's tau-b between two orders of the same rows; nan where one of them is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(measured, printed).statistic)


def rows_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The rows of the published tables in which a run stands."""
    return (record["as"], *record.get("also_as", ()))


def device(record: Mapping[str, Any]) -> str:
    """Where a run was evaluated: the device and the machine's kind."""
    made = record["provenance"]
    where, machine = made.get("evaluated_on") or made.get("device"), made.get("machine")
    return f"{where} ({machine})" if where and machine else str(where or machine or "a device that is not recorded")


def missing_link(evaluation: Evaluation, stat: Stat) -> str | None:
    """The first link that a measured value lacks to what made it, or None; its MLflow run is looked up apart."""
    provenance = evaluation.record["provenance"]
    wanted = [*LINKS, "weights_sha256"] if evaluation.record["kind"] in WITH_WEIGHTS else list(LINKS)
    for name in wanted:
        if provenance.get(name) in (None, "", {}):
            return name
    return None if stat.version else "metric version"
