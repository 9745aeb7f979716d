"""The manifest of a built set: one Parquet row per image, with its files, hashes, source, condition and degradation.

Next to it is its own hash, in the format of `sha256sum`: a manifest that has changed since it was built is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import DataError
from bench.contracts.errors import brief
from bench.data.built_images import read_png
from bench.files import sha256, write_text
from bench.hashes import check_digest
from bench.names import PATTERN, RULE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

NAME, HASH = "manifest.parquet", "manifest.sha256"
"""The files of the manifest and of its SHA-256."""
REBUILD = "build the dataset again"
"""What to do about a file of a built set that has changed."""
CONDITION = ("scene", "mask_kind", "mask_band", "mask_ratio")
"""Conditions with their own column; the column `condition` has all conditions as JSON."""
ABOUT: dict[str, type] = {
    "dataset": str, "title": str, "origin": str, "partial": bool, "profile": str, "seed": int, "scoring": str,
    "options": dict, "images": dict, "published_images": dict,
}  # fmt: skip
"""The facts of a whole set, by name, with their types."""
TEXTS = (
    "name", "split", "origin", "condition", "degradation", "source", "source_sha256", "licence", "references",
    "file_target", "sha256_target",
)  # fmt: skip
NUMBERS = ("height", "width", "bits", "input_psnr")
"""The columns that every manifest has: texts, and numbers."""


@dataclass(frozen=True)
class BuiltSet:
    """A built set on disk.

    Args:
        folder: with the manifest and the images.
        about: facts of the whole set: dataset, title, origin, partial, profile, seed, scoring, options and counts.
        digest: SHA-256 of the manifest file.
    """

    folder: Path
    about: dict[str, Any]
    digest: str
    _splits: dict[str, pd.DataFrame] = field(init=False, repr=False, compare=False, default_factory=dict)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of all splits: gigabytes for a large set, and often one split is enough."""
        return _rows(self.folder / NAME)

    @property
    def columns(self) -> list[str]:
        """The names of the columns; no row is read."""
        return list(_schema(self.folder / NAME).names)

    def image(self, row: Mapping[Any, Any], field: str) -> np.ndarray:
        """Read an image of a manifest row: RGB (H, W, 3) or (H, W), uint8 or uint16 as stored.

        Raises:
            DataError: the row has no image of this field, or its file is missing, damaged or has changed.
        """
        file = row.get(f"file_{field}")
        if not isinstance(file, str) or not file:
            raise DataError(f"{self.folder / NAME}: image {row['name']} has no {field}; {REBUILD}")
        return read_png(self.folder / file, row[f"sha256_{field}"])

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of a split without reading the others. Raises DataError when there are none."""
        if name not in self._splits:
            rows = _rows(self.folder / NAME, name)
            if rows.empty:
                splits = ", ".join(sorted(set(self.rows["split"])))
                raise DataError(f"{self.folder / NAME}: no image in split {name!r}; it has: {splits}")
            self._splits[name] = rows
        return self._splits[name]


def write(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write a manifest and, after it, its hash.

    Args:
        path: of the new file.
        rows: one per image.
        about: facts of the whole set, stored in the metadata of the Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({b"sharpbench": json.dumps(about, sort_keys=True).encode()})
    pq.write_table(table, path)
    write_text(path.with_name(HASH), f"{sha256(path)}  {path.name}\n")


def read(folder: Path) -> BuiltSet:
    """Open the built set in `folder`. Raises DataError when its manifest is missing, damaged or has changed."""
    path = folder / NAME
    about = read_about(folder)
    try:
        recorded = (folder / HASH).read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, UnicodeDecodeError):
        raise DataError(
            f"{path}: {HASH} next to it, the hash that it was built with, cannot be read; {REBUILD}"
        ) from None
    actual = sha256(path)
    check_digest(path, actual, recorded[0] if recorded else "", REBUILD)
    return BuiltSet(folder, about, actual)


def read_about(folder: Path) -> dict[str, Any]:
    """Read the facts of the whole set in `folder`; whether they have changed is not checked.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{path}: not built yet; run: python -m bench build {folder.name}")
    with _undamaged(path):
        schema = _schema(path)
        about = json.loads(schema.metadata[b"sharpbench"])
        _check_columns(schema)
        _check_about(about)
    return about


def _schema(path: Path) -> pa.Schema:
    """Read the columns and the metadata of a manifest."""
    import pyarrow.parquet as pq

    return pq.read_schema(path)


def _rows(path: Path, split: str = "") -> pd.DataFrame:
    """Read the rows of a split, or of all splits. Raises DataError for a damaged file."""
    import pyarrow.parquet as pq

    with _undamaged(path):
        rows = pq.read_table(path, filters=[("split", "==", split)] if split else None).to_pandas()
        _check_names(rows)
    return rows


def _check_columns(schema: pa.Schema) -> None:
    """Raise ValueError for a column that is missing or has values of another kind."""
    import pyarrow.types as kinds

    for name in (*TEXTS, *NUMBERS):
        if name not in schema.names:
            raise ValueError(f"no column {name!r}")
        kind, wanted = schema.field(name).type, "texts" if name in TEXTS else "numbers"
        is_text, is_number = kinds.is_string(kind), kinds.is_integer(kind) or kinds.is_floating(kind)
        if not (is_text if wanted == "texts" else is_number):
            raise ValueError(f"column {name!r} has values of type {kind}, expected {wanted}")


def _check_about(about: Any) -> None:
    """Raise ValueError for a fact of the whole set that is missing or of another type."""
    if not isinstance(about, dict):
        raise ValueError(f"its facts are {brief(about)}")
    for name, kind in ABOUT.items():
        if not isinstance(about.get(name), kind):
            raise ValueError(f"{name!r} among its facts is {brief(about.get(name))}, expected {kind.__name__}")


def _check_names(rows: pd.DataFrame) -> None:
    """Raise ValueError for an image whose name breaks the rule, or whose file is outside of the set's folder."""
    wrong = ~rows["name"].str.fullmatch(PATTERN).eq(True)
    if wrong.any():
        raise ValueError(f"an image of the name {brief(rows['name'][wrong].iloc[0])}, expected {RULE}")
    for column in rows.columns[rows.columns.str.startswith("file_")]:
        files = rows[column].dropna()
        outside = files.str.contains(r"^/|(?:^|/)\.\.(?:/|$)").eq(True)
        if outside.any():
            raise ValueError(f"an image in the file {brief(files[outside].iloc[0])}, outside of its folder")


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Turn an error of the Parquet reader into DataError."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a manifest of Sharpbench ({cause}); {REBUILD}") from None
