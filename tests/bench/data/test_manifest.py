"""The manifest of a built set: read as far as it is needed, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.contracts import DataError
from bench.data import manifest
from bench.files import sha256


def built_set(folder: Path) -> manifest.BuiltSet:
    """A built set of four rows, of which two are test images."""
    rows = [{"name": name, "split": ("train", "test")[k % 2], "height": 4} for k, name in enumerate("abcd")]
    manifest.write(folder / manifest.NAME, rows, {"dataset": "toy"})
    return manifest.read(folder)


def test_the_rows_of_one_split_are_read_and_no_other(tmp_path, monkeypatch):
    built = built_set(tmp_path)
    assert built.about == {"dataset": "toy"} and built.digest == sha256(tmp_path / manifest.NAME)
    assert built.columns == ["name", "split", "height"]
    asked = []
    whole = manifest._rows
    monkeypatch.setattr(manifest, "_rows", lambda path, split="": asked.append(split) or whole(path, split))
    for _ in range(2):
        assert built.split("test")["name"].tolist() == ["b", "d"]
    assert asked == ["test"]
    assert built.rows["name"].tolist() == list("abcd")
    for name in ("train", "test"):
        expected = built.rows[built.rows["split"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(built.split(name), expected)
    with pytest.raises(DataError, match=r"manifest\.parquet: no image in split 'val'; it has: test, train"):
        built.split("val")


def test_a_damaged_manifest_is_refused_wherever_it_is_damaged(tmp_path):
    built = built_set(tmp_path)
    path = tmp_path / manifest.NAME
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(60) + data[64:])  # the end, which says what is where, stays
    with pytest.raises(DataError, match=r"manifest\.parquet: not a manifest of Sharpbench .*; build the dataset again"):
        _ = built.split("test")
    path.write_bytes(data[:-20])
    with pytest.raises(DataError, match="not a manifest of Sharpbench"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet", None])
def test_a_damaged_or_missing_manifest_is_refused(tmp_path, content):
    if content is None:
        with pytest.raises(DataError, match="not built yet; run: python -m bench build set"):
            manifest.read(tmp_path / "set")
        return
    (tmp_path / manifest.NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.parquet: not a manifest of Sharpbench"):
        manifest.read(tmp_path)
