"""The score table of one evaluation: tidy rows, one per image, input and metric, and the files it is written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record import RECORD, Record, files_of, write_record
from bench.scoring.metrics.measure import Measure, NotMeasured

if TYPE_CHECKING:
    import pandas as pd

SCORES = "scores.parquet"
NO_IMAGE: Mapping[str, Any] = {
    "image": "", "split": "test", "input": "", "mask_ratio": float("nan"),
    "scene": "", "mask_kind": "", "mask_band": "",
}  # fmt: skip
"""The condition of a row that belongs to no single image: a cost, or a metric of a set."""


@dataclass
class ScoreTable:
    """The rows of one evaluation, collected one by one.

    Args:
        common: the columns that all rows share, by name; see `common_columns`.
        rows: the rows so far.
    """

    common: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, measure: Measure, value: float | NotMeasured, reason: str = "", size: str = "", **about: Any) -> None:
        """Add one value.

        Args:
            measure: the metric or cost.
            value: the value; NaN where it was not measured.
            reason: why it was not measured.
            size: the image size of a cost, "256x256".
            about: columns of the condition, see `bench.scoring.cases.condition`; the others are those of `NO_IMAGE`.
        """
        if isinstance(value, NotMeasured):
            reason, value = value.reason, float("nan")
        self.rows.append(
            {
                **self.common,
                **NO_IMAGE,
                **about,
                "metric": measure.id,
                "version": measure.version,
                "value": float(value),
                "unit": measure.unit,
                "better": measure.better,
                "reason": reason,
                "size": size,
                "severity": about.get("severity", "{}"),
            }
        )

    def frame(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def common_columns(record: Record) -> dict[str, Any]:
    """Return the columns that all rows of one evaluation share."""
    return {
        "run": record.evaluation,
        "method": record.method,
        "dataset": record.dataset,
        "task": record.task,
        "profile": record.profile,
        "origin": record.origin,
        "partial": record.partial,
    }


def write_scores(folder: Path, table: ScoreTable, record: Record) -> None:
    """Write the scores of one evaluation, and last its record, with what was not measured and with all files."""
    frame = table.frame()
    frame.to_parquet(folder / SCORES, index=False)
    write_record(folder / RECORD, replace(record, not_measured=not_measured(frame), files=files_of(folder)))


def not_measured(frame: pd.DataFrame) -> dict[str, str]:
    """Return by metric why it, or how many images of it, were not measured."""
    reasons = {}
    for metric, rows in frame[frame["reason"] != ""].groupby("metric", sort=False):
        first, count = rows.iloc[0], rows["image"].nunique()
        total = frame["image"][frame["metric"] == metric].nunique()
        images = f"{count:,} of {total:,} images, the first is {first['image']}: " if first["image"] else ""
        reasons[str(metric)] = images + first["reason"]
    return reasons
