"""The rows of one evaluation, and the files that they are written to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import sha256, write_json
from bench.scoring.metrics.measure import Measure, NotMeasured

if TYPE_CHECKING:
    import pandas as pd


SCORES = "scores.parquet"


@dataclass
class Table:
    """The rows of one evaluation as they come in, and the images that the report may show."""

    common: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, measure: Measure, value: float | NotMeasured, reason: str = "", size: str = "", **about: Any) -> None:
        """Add one value; NaN with a reason where it was not measured."""
        if isinstance(value, NotMeasured):
            reason, value = value.reason, float("nan")
        empty = {"image": "", "split": "test", "input": "", "mask_ratio": float("nan")}
        empty |= dict.fromkeys(("scene", "mask_kind", "mask_band"), "")
        self.rows.append(
            self.common
            | empty
            | about
            | {
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


def common_columns(record: Mapping[str, Any], evaluation_name: str) -> dict[str, Any]:
    """Return the columns that all rows of one evaluation share."""
    keys = ("method", "dataset", "task", "profile", "origin", "partial")
    return {"run": evaluation_name} | {key: record[key] for key in keys}


def write_scores(folder: Path, table: Table, record: dict[str, Any], images: list[dict[str, Any]]) -> None:
    """Write the scores and the record of one evaluation; its id is a hash of the scores and their provenance."""
    frame = table.frame()
    frame.to_parquet(folder / SCORES, index=False)
    record["not_measured"] = not_measured(frame)
    record["images"] = images
    record["evaluation_id"] = hashlib.sha256(
        (sha256(folder / SCORES) + json.dumps(record["provenance"], sort_keys=True)).encode()
    ).hexdigest()
    write_json(folder / "record.json", record)


def not_measured(frame: pd.DataFrame) -> dict[str, str]:
    """Return by metric why it, or how many images of it, were not measured."""
    found = {}
    for metric, rows in frame[frame["reason"] != ""].groupby("metric", sort=False):
        first, count = rows.iloc[0], rows["image"].nunique()
        every = frame["image"][frame["metric"] == metric].nunique()
        few = f"{count:,} of {every:,} images, the first is {first['image']}: " if first["image"] else ""
        found[str(metric)] = few + first["reason"]
    return found
