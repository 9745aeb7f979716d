"""The manifest of a built set: read as far as it is needed, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.contracts import DataError
from bench.data import manifest
from bench.files import sha256
from tests.manifests import ABOUT, ROW


def built_set(folder: Path) -> manifest.BuiltSet:
    """A built set of four rows, of which two are test images."""
    rows = [ROW | {"name": name, "split": ("train", "test")[k % 2]} for k, name in enumerate("abcd")]
    manifest.write(folder / manifest.NAME, rows, ABOUT)
    return manifest.read(folder)


def test_the_rows_of_one_split_are_read_and_no_other(tmp_path, monkeypatch):
    built = built_set(tmp_path)
    assert built.about == ABOUT and built.digest == sha256(tmp_path / manifest.NAME)
    assert built.columns == list(ROW)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../../escaped"}, r"an image of the name '\.\./\.\./escaped', expected ASCII letters"),
        ({"name": "/tmp/escaped"}, "an image of the name '/tmp/escaped'"),
        ({"name": None}, "column 'name' has values of type null, expected texts"),
        ({"file_target": "../secret.png"}, r"an image in the file '\.\./secret\.png', outside of its folder"),
        ({"file_blurred": "test/../../secret.png"}, ".*outside of its folder"),
        ({"file_blurred": "/etc/passwd"}, ".*outside of its folder"),
        ({"height": "four"}, "column 'height' has values of type string, expected numbers"),
        ({"name": 7}, "column 'name' has values of type int64, expected texts"),
    ],
)
def test_a_manifest_whose_images_lead_elsewhere_or_have_wrong_values_is_refused(tmp_path, change, message):
    manifest.write(tmp_path / manifest.NAME, [ROW | change, ROW | change | {"split": "train"}], ABOUT)
    with pytest.raises(DataError, match=rf"not a manifest of Sharpbench \({message}"):
        manifest.read(tmp_path).split("test")


@pytest.mark.parametrize("column", ["name", "source", "file_target", "input_psnr"])
def test_a_manifest_without_a_column_is_refused(tmp_path, column):
    manifest.write(tmp_path / manifest.NAME, [{key: value for key, value in ROW.items() if key != column}], ABOUT)
    with pytest.raises(DataError, match=f"no column '{column}'"):
        manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"partial": "no"}, r"'partial' among its facts is 'no', expected bool"),
        ({"dataset": None}, r"'dataset' among its facts is None, expected str"),
        ({"images": [1]}, r"'images' among its facts is \[1\], expected dict"),
    ],
)
def test_a_manifest_with_wrong_facts_is_refused(tmp_path, about, message):
    manifest.write(tmp_path / manifest.NAME, [ROW], ABOUT | about)
    with pytest.raises(DataError, match=message):
        manifest.read(tmp_path)
