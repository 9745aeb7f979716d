"""The manifest of a built set: one Parquet row an image, with its files, hashes, source, condition and degradation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import DataError
from bench.files import sha256

if TYPE_CHECKING:
    import pandas as pd

NAME = "manifest.parquet"
CONDITION = ("scene", "mask_kind", "mask_band", "mask_ratio")
"""Conditions that have a column of their own; all of them stand in `condition` as JSON too."""


@dataclass(frozen=True)
class BuiltSet:
    """A built set on disk.

    Args:
        folder: where the manifest and the images are.
        about: what the manifest says of the whole set: dataset, title, origin, partial, profile, seed, scoring.
        rows: one row an image.
        digest: the SHA-256 of the manifest file.
    """

    folder: Path
    about: dict[str, Any]
    rows: pd.DataFrame
    digest: str

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of a split. Raises DataError when it has none."""
        rows = self.rows[self.rows["split"] == name]
        if rows.empty:
            found = ", ".join(sorted(set(self.rows["split"])))
            raise DataError(f"{self.folder / NAME}: no image in split {name!r}; it has: {found}")
        return rows


def write(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write a manifest; `about` goes into the Parquet file's own metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({b"sharpbench": json.dumps(about, sort_keys=True).encode()})
    pq.write_table(table, path)


def read(folder: Path) -> BuiltSet:
    """Read the built set in `folder`. Raises DataError when there is none or its manifest is damaged."""
    import pyarrow.parquet as pq

    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{path}: not built yet; run: python -m bench build {folder.name}")
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"sharpbench"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a manifest of Sharpbench ({error}); build the dataset again") from None
    return BuiltSet(folder, about, table.to_pandas(), sha256(path))
