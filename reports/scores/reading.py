"""The scores that a report is made of: one folder per evaluation.

`<evaluation>/scores.parquet` holds tidy rows, `record.json` what was run, `losses.parquet` the losses of a training,
and `images/` a few restored images.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import DataError, UserError
from bench.record import EVALUATED, RECORD, Record, read_file, read_record
from bench.runs import LOSSES
from bench.scoring.table import SCORES
from reports.scores.measures import is_cost
from reports.scores.statistics import bootstrap
from reports.scores.training_mse import MSE_TRAINING, training_mse

WITH_WEIGHTS = ("trained", "authors' weights")
"""Kinds of runs whose records name a checkpoint."""
ORIGINALS = "originals"
"""The origin of a set that is built from the official files."""
CONDITION = ("input", "scene", "mask_kind", "mask_band")
"""Columns that tell apart several scores of one image by one metric."""
COLUMNS = ("image", *CONDITION, "metric", "value", "unit", "better", "reason", "version")
"""Columns that every file of scores has."""
TEXTS = ("image", *CONDITION, "metric", "size", "unit", "better", "reason", "version")
"""Columns of text; a missing value in them is ""."""
LINKS = ("manifest_sha256", "python", "packages")
"""What the provenance of every measured value must have."""
COMMIT = ("git_commit", "git_dirty")
"""What it has where a commit could be read; without one a value is marked so and not compared with printed ones."""
SCALES = {
    ("1", "percent"): 100.0, ("percent", "1"): 0.01, ("1", "M"): 1e-6, ("1", "G"): 1e-9, ("M", "G"): 1e-3,
    ("G", "M"): 1e3, ("B", "MB"): 1e-6, ("KB", "MB"): 1e-3, ("GB", "MB"): 1e3, ("KiB", "MB"): 1.024e-3,
    ("MiB", "MB"): 1.048576, ("GiB", "MB"): 1073.741824, ("ms", "s"): 1e-3,
}  # fmt: skip
"""Factors from the unit of a score to a printed one."""
SPELLINGS = {"": "1", "%": "percent"}
"""Units as metrics declare them, to their names in the published tables."""


class Rows(Mapping[str, pd.DataFrame]):
    """Tidy rows by metric id, in the order of their first row: as arrays, and on demand as tables.

    Args:
        columns: arrays of equal length by column; "metric" is one of them.
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
        """Return the rows of one metric as arrays by column. Raises KeyError where it has none."""
        place = self.places[metric]
        return {name: column[place] for name, column in self.sorted.items()}


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run.

    Args:
        folder: its files.
        record: what was run.
        scores: rows of one metric, by metric id; missing values of the condition are "".
        kept: results of `measure`, so that each is computed once.
    """

    folder: Path
    record: Record
    scores: Mapping[str, pd.DataFrame]
    kept: dict[Any, Stat] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def name(self) -> str:
        """The evaluation's name: also that of its folder, and the anchor of its part of the page."""
        return self.record.evaluation

    def columns(self, metric: str) -> Mapping[str, np.ndarray]:
        """Return the rows of a metric as arrays by column. Raises KeyError where it was not measured."""
        if isinstance(self.scores, Rows):
            return self.scores.columns(metric)
        return {name: self.scores[metric][name].to_numpy() for name in (*TEXTS, "value")}

    def losses(self) -> pd.DataFrame | None:
        """Return the losses by step (step, phase, player, name, value), or None where nothing was trained.

        Raises:
            DataError: the file has changed since it was written.
        """
        if LOSSES not in self.record.files:
            return None
        return pd.read_parquet(io.BytesIO(self.read(LOSSES)))

    def read(self, file: str) -> bytes:
        """Read a file of the evaluation's folder. Raises DataError when it has changed since it was written."""
        return read_file(self.folder, self.record, file)


@dataclass(frozen=True)
class Stat:
    """One number over the images of one evaluation.

    Args:
        value: the mean over images, or the one value of a cost or a set's metric; None where it was not measured.
        unit: the unit of `value`.
        better: "higher" or "lower".
        images: one value per image and condition, indexed by both; None for costs and for metrics of a set.
        reason: why it was not measured.
        size: image size of a cost, "256x256"; else "".
        version: version of the metric.
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


def read_evaluation_record(path: Path, profile: str) -> Record:
    """Read the record of an evaluation.

    Raises:
        DataError: the file cannot be read, or is the record of something else than an evaluation of this profile.
    """
    record = read_record(path)
    if record.kind not in EVALUATED:
        raise DataError(f"{path}: kind {record.kind!r}, expected one of {', '.join(EVALUATED)}")
    if record.profile != profile:
        raise DataError(
            f"{path}: profile {record.profile!r} among scores of {profile!r}; a report never mixes profiles"
        )
    return record


def read_scores(folder: Path, record: Record, with_losses: bool = True) -> Rows:
    """Read the rows of one evaluation by metric id.

    Args:
        folder: of the evaluation.
        record: of the evaluation.
        with_losses: add MSE_TRAINING where the losses of its training have it.

    Raises:
        DataError: a file has changed since it was written, cannot be read, or lacks a column.
    """
    losses = read_file(folder, record, LOSSES) if with_losses and LOSSES in record.files else None
    return rows_of(read_file(folder, record, SCORES), losses, folder)


def rows_of(scores: bytes, losses: bytes | None, folder: Path) -> Rows:
    """Return the rows of one evaluation by metric id.

    Args:
        scores: the content of its scores.
        losses: the content of its losses; where these have it, MSE_TRAINING is added. None where nothing was trained.
        folder: of both files, for messages.

    Raises:
        DataError: a file is damaged or lacks a column.
    """
    path = folder / SCORES
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(scores)) as file:
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
    if losses is not None and (final := training_mse(losses, folder / LOSSES)) is not None:
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
        UserError: evaluations are missing, or one cannot be read.
    """
    folders = sorted(path.parent for path in root.glob(f"[!.]*/{RECORD}"))
    if not folders:
        raise UserError(f"{root}: no evaluation (a folder with {RECORD}) to report; evaluate a run first")
    evaluations: dict[str, Evaluation] = {}
    for folder in folders:
        record = read_evaluation_record(folder / RECORD, profile)
        scores = read_scores(folder, record)
        if other := evaluations.get(record.evaluation):
            raise DataError(
                f"{folder}: evaluation {record.evaluation!r} is in {other.folder} too; delete the older folder"
            )
        evaluations[record.evaluation] = Evaluation(folder, record, scores)
    return list(evaluations.values())


def convert(value: float, unit: str, printed: str) -> float:
    """Turn a value into the unit of a printed one.

    >>> convert(2_500_000, "1", "M")
    2.5

    Raises:
        UserError: no factor between the two units is known.
    """
    unit, printed = (SPELLINGS.get(name, name) for name in (unit, printed))
    if unit == printed:
        return value
    if (unit, printed) not in SCALES:
        raise UserError(f"a score in {unit!r} was found where {printed!r} is printed; no factor is known between them")
    return value * SCALES[unit, printed]


def area(size: str) -> int:
    """Return the number of pixels of an image size; 0 for "".

    >>> area("256x128")
    32768
    """
    return int(np.prod([int(side) for side in size.replace("×", "x").split("x")])) if size else 0


def same_size(size: str, other: str) -> bool:
    """Return whether two sizes have the same sides, in any order.

    >>> same_size("1280×768", "768x1280")
    True
    """
    return sorted(size.replace("×", "x").split("x")) == sorted(other.replace("×", "x").split("x"))


@lru_cache(maxsize=256)
def index_of(*columns: tuple[str, ...]) -> pd.MultiIndex:
    """Return the index of images and conditions; runs of the same images share one object, which is fast to compare."""
    return pd.MultiIndex.from_arrays(columns, names=["image", *CONDITION])


def measure(evaluation: Evaluation, metric: str, condition: Mapping[str, str], size: str | None = None) -> Stat:
    """Return one metric of one evaluation under a condition.

    Args:
        evaluation: the evaluation.
        metric: id of the metric.
        condition: values by column, {"mask_kind": "square"}; columns that are not given are pooled.
        size: the printed size of a cost. Where it was not measured, the size with the nearest number of pixels is
            taken; without a printed size the smallest, at which every method is timed.
    """
    key = (metric, *sorted(condition.items()), size)
    if key not in evaluation.kept:
        evaluation.kept[key] = _measure(evaluation, metric, condition, size)
    return evaluation.kept[key]


def _measure(evaluation: Evaluation, metric: str, condition: Mapping[str, str], size: str | None) -> Stat:
    reasons = evaluation.record.not_measured
    if metric not in evaluation.scores:
        return Stat(None, reason=reasons.get(metric, f"{metric} was not part of this evaluation"))
    rows = evaluation.columns(metric)
    unit, better, version = (str(rows[name][0]) for name in ("unit", "better", "version"))
    chosen = np.ones(len(rows["value"]), bool)
    for name, value in condition.items() if not is_cost(metric) else ():
        chosen &= rows[name] == value
    known = chosen & ~np.isnan(rows["value"])
    if not known.any():
        missing = "; ".join(dict.fromkeys(reason for reason in rows["reason"][chosen] if reason))
        absent = f"no image with {', '.join(f'{k} {v}' for k, v in condition.items())}" if condition else "no value"
        return Stat(None, unit, better, reason=missing or reasons.get(metric, absent), version=version)
    values = rows["value"][known].astype(float)
    keys = {name: tuple(rows[name][known]) for name in ("image", *CONDITION)}
    if is_cost(metric):
        sizes = list(rows["size"][known])
        nearest = nearest_size(sizes, size or "")
        return Stat(float(values[nearest]), unit, better, size=sizes[nearest], version=version)
    if all(keys["image"]):
        series = pd.Series(values, index=index_of(*keys.values()))
        return Stat(float(values.mean()), unit, better, series, version=version)
    whole = np.array([not any(row) for row in zip(*(keys[name] for name in CONDITION), strict=True)])
    if len(values) > 1 and whole.sum() != 1:  # a set's metric of several conditions has no mean
        reason = f"{metric} was measured by condition, not over all images"
        return Stat(None, unit, better, reason=reason, version=version)
    return Stat(float(values[whole][0] if whole.sum() == 1 else values[0]), unit, better, version=version)


def nearest_size(sizes: Sequence[str], size: str) -> int:
    """Return the place of the size with the same sides, else of the one with the nearest number of pixels.

    >>> nearest_size(["256x256", "1280x720"], "720x1280")
    1
    """
    pixels = area(size)
    return min(range(len(sizes)), key=lambda i: (not same_size(sizes[i], size), abs(area(sizes[i]) - pixels)))


def device(record: Record) -> str:
    """Return where a run was evaluated: the device and the kind of the machine."""
    made = record.provenance
    place = made.evaluated_on or made.device
    return f"{place} ({made.machine})" if place and made.machine else place or made.machine or "an unknown device"


def lacks_commit(record: Record) -> bool:
    """Return whether the code that trained or scored a run has no commit."""
    return not record.provenance.git_commit or bool(record.trained_by and not record.trained_by.git_commit)


def missing_link(evaluation: Evaluation, stat: Stat) -> str | None:
    """Return the first missing part of a measured value's provenance, or None. Its MLflow run is checked elsewhere."""
    record = evaluation.record
    for name in (*LINKS, *(["weights_sha256"] if record.kind in WITH_WEIGHTS else [])):
        if getattr(record.provenance, name) in ("", {}):
            return name
    return None if stat.version else "metric version"
