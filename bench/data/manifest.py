"""The manifest of a built set: one Parquet row an image, with its files, hashes, source, condition and degradation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
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
        digest: the SHA-256 of the manifest file.
    """

    folder: Path
    about: dict[str, Any]
    digest: str
    _splits: dict[str, pd.DataFrame] = field(init=False, repr=False, compare=False, default_factory=dict)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row an image, of every split: of a large set gigabytes, where one split is often enough."""
        return _rows(self.folder / NAME)

    @property
    def columns(self) -> list[str]:
        """The names of the rows' columns; no row is read."""
        return list(_schema(self.folder / NAME).names)

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of a split; no other is read. Raises DataError when it has none."""
        if name not in self._splits:
            rows = _rows(self.folder / NAME, name)
            if rows.empty:
                found = ", ".join(sorted(set(self.rows["split"])))
                raise DataError(f"{self.folder / NAME}: no image in split {name!r}; it has: {found}")
            self._splits[name] = rows
        return self._splits[name]


def write(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write a manifest; `about` goes into the Parquet file's own metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({b"sharpbench": json.dumps(about, sort_keys=True).encode()})
    pq.write_table(table, path)


def read(folder: Path) -> BuiltSet:
    """Open the built set in `folder`. Raises DataError when there is none or its manifest is damaged."""
    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{path}: not built yet; run: python -m bench build {folder.name}")
    with _undamaged(path):
        about = json.loads(_schema(path).metadata[b"sharpbench"])
    return BuiltSet(folder, about, sha256(path))


def _schema(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_schema(path)


def _rows(path: Path, split: str = "") -> pd.DataFrame:
    import pyarrow.parquet as pq

    with _undamaged(path):
        return pq.read_table(path, filters=[("split", "==", split)] if split else None).to_pandas()


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a manifest of Sharpbench ({said}); build the dataset again") from None
