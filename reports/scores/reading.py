"""The scores that a report is made of: one folder an evaluation.

`<evaluation>/scores.parquet` holds tidy rows, `record.json` what was run, `losses.parquet` the losses of a training,
`images/` a few restored images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import DataError, UserError
from bench.tasks import TASKS
from reports.scores.measures import is_cost
from reports.scores.statistics import bootstrap
from reports.scores.training_mse import MSE_TRAINING, training_mse

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
TEXTS = ("image", *CONDITION, "metric", "size", "unit", "better", "reason", "version")
"""Columns of text; a missing one of them is ""."""
LINKS = ("git_commit", "git_dirty", "manifest_sha256", "python", "packages")
SCALES = {
    ("1", "percent"): 100.0, ("percent", "1"): 0.01, ("1", "M"): 1e-6, ("1", "G"): 1e-9, ("M", "G"): 1e-3,
    ("G", "M"): 1e3, ("B", "MB"): 1e-6, ("KB", "MB"): 1e-3, ("GB", "MB"): 1e3, ("KiB", "MB"): 1.024e-3,
    ("MiB", "MB"): 1.048576, ("GiB", "MB"): 1073.741824, ("ms", "s"): 1e-3,
}  # fmt: skip
"""Factors from a score's unit to a printed one."""
SPELLINGS = {"": "1", "%": "percent"}
"""Units as metrics declare them, and as the published tables spell them."""


class Rows(Mapping[str, pd.DataFrame]):
    """Tidy rows by metric id, in the order of their first row: as arrays, and as tables for who asks for one.

    Args:
        columns: arrays of one length by column, "metric" among them.
    """

    def __init__(self, columns: Mapping[str, np.ndarray]):
        names, first, codes = np.unique(columns["metric"], return_index=True, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        self.sorted = {name: column[order] for name, column in columns.items()}
        ends = np.cumsum(np.bincount(codes, minlength=len(names))).tolist()
        self.places = {str(names[i]): slice(ends[i - 1] if i else 0, ends[i]) for i in np.argsort(first)}
        self.frames: dict[str, pd.DataFrame] = {}

    def __getitem__(self, metric: str) -> pd.DataFrame:
        if metric not in self.frames:
            self.frames[metric] = pd.DataFrame(dict(self.columns(metric)))
        return self.frames[metric]

    def __contains__(self, metric: object) -> bool:
        return metric in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def columns(self, metric: str) -> dict[str, np.ndarray]:
        """One metric's rows as arrays by column. Raises KeyError where there are none."""
        place = self.places[metric]
        return {name: column[place] for name, column in self.sorted.items()}


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run.

    Args:
        folder: where its files lie.
        record: what was run; the fields of FIELDS.
        scores: rows of one metric, by metric id; missing values of the condition are "".
        kept: what `measure` found in it.
    """

    folder: Path
    record: Mapping[str, Any]
    scores: Mapping[str, pd.DataFrame]
    kept: dict[Any, Stat] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def name(self) -> str:
        """The evaluation's id: its folder's name, and the anchor of its part of the page."""
        return str(self.record["evaluation"])

    def columns(self, metric: str) -> Mapping[str, np.ndarray]:
        """The rows of a metric as arrays by column. Raises KeyError where it was not measured."""
        if isinstance(self.scores, Rows):
            return self.scores.columns(metric)
        return {name: self.scores[metric][name].to_numpy() for name in (*TEXTS, "value")}

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

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of the mean over images; None without images."""
        return None if self.images is None else bootstrap(self.images)


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


def read_scores(path: Path, losses: Path | None = None) -> Rows:
    """Read one evaluation's rows, by metric id; with its `losses` also MSE_TRAINING, where the training watched it.

    Raises:
        DataError: a file is damaged or short of a column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = file.read(use_threads=False)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{path}: cannot be read as Parquet ({error}); evaluate the run again") from error
    if missing := [name for name in COLUMNS if name not in rows.column_names]:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; evaluate the run again")
    columns: dict[str, np.ndarray] = {name: np.full(len(rows), "", object) for name in TEXTS}
    for name in rows.column_names:
        column = rows.column(name)
        if name in TEXTS:
            if pa.types.is_floating(column.type):
                column = pc.if_else(pc.is_nan(column), None, column)
            column = pc.fill_null(pc.cast(column, pa.string()), "")
        columns[name] = column.to_numpy()
    images = columns["image"] != ""
    if "split" in columns and len(splits := set(columns["split"][images])) > 1:
        raise DataError(f"{path}: images of several splits ({', '.join(sorted(map(str, splits)))}), expected one")
    if losses is not None and (final := training_mse(losses)) is not None:
        row = {"metric": MSE_TRAINING.id, "value": final, "unit": MSE_TRAINING.unit, "better": MSE_TRAINING.better}
        row |= {"version": str(MSE_TRAINING.version)}
        columns = {
            name: np.append(column, np.array(row.get(name, "" if column.dtype == object else 0), column.dtype))
            for name, column in columns.items()
        }
    return Rows(columns)


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
        one = Evaluation(folder, record, read_scores(folder / "scores.parquet", folder / "losses.parquet"))
        if other := found.get(one.name):
            raise DataError(f"{folder}: evaluation {one.name!r} is in {other.folder} too; delete the older folder")
        found[one.name] = one
    return list(found.values())


def convert(value: float, unit: str, wanted: str) -> float:
    """Turn a value into the wanted unit. Raises UserError for two units that have no factor between them."""
    unit, wanted = (SPELLINGS.get(name, name) for name in (unit, wanted))
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
    key = (metric, *sorted(condition.items()), size)
    if key not in evaluation.kept:
        evaluation.kept[key] = _measure(evaluation, metric, condition, size)
    return evaluation.kept[key]


def _measure(evaluation: Evaluation, metric: str, condition: Mapping[str, str], size: str | None) -> Stat:
    reasons = evaluation.record["not_measured"]
    if metric not in evaluation.scores:
        return Stat(None, reason=reasons.get(metric, f"{metric} was not part of this evaluation"))
    rows = evaluation.columns(metric)
    unit, better, version = (str(rows[name][0]) for name in ("unit", "better", "version"))
    wanted = np.ones(len(rows["value"]), bool)
    for name, value in condition.items() if not is_cost(metric) else ():
        wanted &= rows[name] == value
    known = wanted & ~np.isnan(rows["value"])
    if not known.any():
        missing = "; ".join(dict.fromkeys(reason for reason in rows["reason"][wanted] if reason))
        absent = f"no image with {', '.join(f'{k} {v}' for k, v in condition.items())}" if condition else "no value"
        return Stat(None, unit, better, reason=missing or reasons.get(metric, absent), version=version)
    values = rows["value"][known].astype(float)
    keys = {name: tuple(rows[name][known]) for name in ("image", *CONDITION)}
    if not is_cost(metric) and all(keys["image"]):
        series = pd.Series(values, index=index_of(*keys.values()))
        return Stat(float(values.mean()), unit, better, series, version=version)
    if is_cost(metric):
        sizes = list(rows["size"][known])
        pixels = area(size or "")
        best = min(range(len(sizes)), key=lambda i: (not same_size(sizes[i], size or ""), abs(area(sizes[i]) - pixels)))
        return Stat(float(values[best]), unit, better, size=sizes[best], version=version)
    whole = np.array([not any(row) for row in zip(*(keys[name] for name in CONDITION), strict=True)])
    if len(values) > 1 and whole.sum() != 1:  # a set's metric of several conditions has no mean
        return Stat(
            None, unit, better, reason=f"{metric} was measured by condition, not over all images", version=version
        )
    return Stat(float(values[whole][0] if whole.sum() == 1 else values[0]), unit, better, version=version)


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
