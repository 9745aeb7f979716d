"""Files of a built set that have changed since it was built: each is refused by whoever reads it, and no other is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.contracts import DataError
from bench.data import batches, manifest, packed
from bench.data.batches import Crops
from bench.data.build import Job, build
from bench.data.built_images import write_png
from bench.scoring.cases import cases
from tests.images import flip_byte, read_png

AGAIN = "; build the dataset again$"
CHANGED = r"has changed since it was written: its SHA-256 begins with [0-9a-f]{16}, recorded is [0-9a-f]{16}" + AGAIN


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "places2"
    build(Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample"), folder, 1)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the built set, to change files of."""
    return Path(shutil.copytree(original, tmp_path / "places2"))


# The manifest ---------------------------------------------------------------------------------------------------------


def edit_rows(folder: Path, edit: Callable[[list[dict]], None]) -> None:
    """Write a manifest with other rows in place of the present one; its hash stays."""
    table = pq.read_table(folder / manifest.NAME)
    rows = table.to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / manifest.NAME)


def test_an_unchanged_manifest_is_read_and_sha256sum_knows_its_hash(folder):
    built = manifest.read(folder)
    assert (folder / "manifest.sha256").read_text() == f"{built.digest}  manifest.parquet\n"


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows.pop(),
        lambda rows: rows[-1].update(name="../../escaped"),
        lambda rows: rows[-1].update(input_psnr=99.0),
        lambda rows: rows.sort(key=lambda row: row["name"], reverse=True),
    ],
    ids=["a row removed", "a name", "a value", "the order"],
)
def test_a_manifest_with_other_rows_is_refused(folder, edit):
    edit_rows(folder, edit)
    with pytest.raises(DataError, match=r"manifest\.parquet: " + CHANGED):
        manifest.read(folder)


def test_a_manifest_with_one_other_byte_is_refused(folder):
    flip_byte(folder / manifest.NAME, 40)  # among the values: its end, which says what is where, is whole
    with pytest.raises(DataError, match=r"manifest\.parquet: " + CHANGED):
        manifest.read(folder)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"0" * 64])
def test_a_manifest_whose_hash_is_missing_or_another_is_refused(folder, content):
    (folder / manifest.HASH).unlink()
    if content is not None:
        (folder / manifest.HASH).write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.parquet: .*" + AGAIN):
        manifest.read(folder)


def test_a_set_with_a_changed_manifest_is_built_again(folder, original):
    edit_rows(folder, lambda rows: rows.pop())
    build(Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample"), folder, 1)
    assert manifest.read(folder).digest == manifest.read(original).digest


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["target", "mask", "blurred"])
@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "another picture"])
def test_a_test_image_that_has_changed_is_refused(folder, field, swapped):
    built = manifest.read(folder)
    row = built.split("test").iloc[0]
    path = folder / row[f"file_{field}"]
    if swapped:
        write_png(path, 255 - read_png(path))
    else:
        flip_byte(path)
    with pytest.raises(DataError, match=rf"{path.name}: " + CHANGED):
        list(cases(built, "sharp-inpaint", ("blurred",)))
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}: missing" + AGAIN):
        list(cases(built, "sharp-inpaint", ("blurred",)))


def test_a_reference_frame_that_has_changed_is_refused(folder):
    built = manifest.read(folder)
    case = next(cases(built, "deblur", ("blurred",)))
    frame = folder / "test" / "references" / "001.png"
    entry = {"file": str(frame.relative_to(folder)), "sha256": write_png(frame, case.truth)}
    case.row["references"] = json.dumps([entry])  # type: ignore[index]
    assert np.array_equal(next(case.references()), case.truth)
    write_png(frame, 255 - case.truth)
    with pytest.raises(DataError, match=r"001\.png: " + CHANGED):
        next(case.references())


def test_unchanged_images_are_those_that_were_written(folder):
    built = manifest.read(folder)
    case = next(cases(built, "sharp-inpaint", ("blurred",)))
    assert np.array_equal(case.truth, read_png(folder / case.row["file_target"]))


# Packed pixels --------------------------------------------------------------------------------------------------------


def crops_of(folder: Path, task: str = "deblur") -> Crops:
    return Crops(manifest.read(folder), task, 24, [], 0)


def test_one_changed_byte_of_the_packed_pixels_is_refused_with_its_image_alone(folder):
    crops = crops_of(folder)
    start = int(crops.packed["blurred"].starts[1])
    flip_byte(folder / "packed" / "blurred.bin", start + 5)
    expected = crops_of(folder).sample(0, 0)
    assert all(np.array_equal(expected[name], value) for name, value in crops.sample(0, 0).items())
    with pytest.raises(DataError, match=rf"blurred\.bin: bytes {start:,} to [\d,]+: " + CHANGED):
        crops.sample(0, 1)


def test_two_images_that_changed_places_are_refused(folder):
    blocks = crops_of(folder).packed["target"]
    (first, second, _), sizes = blocks.starts[:3], blocks.sizes
    assert sizes[0] == sizes[1]
    data = bytearray((folder / "packed" / "target.bin").read_bytes())
    data[first : first + sizes[0]], data[second : second + sizes[0]] = (
        data[second : second + sizes[0]],
        data[first : first + sizes[0]],
    )
    (folder / "packed" / "target.bin").write_bytes(data)
    with pytest.raises(DataError, match=CHANGED):
        crops_of(folder).sample(0, 0)


def test_masks_are_verified_although_they_are_cut_from_other_images(folder):
    for start in crops_of(folder, "inpaint").packed["mask"].starts:
        flip_byte(folder / "packed" / "mask.bin", int(start))
    with pytest.raises(DataError, match=r"mask\.bin: bytes"):
        crops_of(folder, "inpaint").sample(0, 0)


def test_an_image_is_hashed_once(folder, monkeypatch):
    hashed: list[int] = []
    whole = packed.digest
    monkeypatch.setattr(packed, "digest", lambda data: hashed.append(len(data)) or whole(data))
    crops = crops_of(folder)
    for epoch in range(3):
        crops.sample(epoch, 2)
    assert hashed == [crops.packed["blurred"].sizes[2], crops.packed["target"].sizes[2]]
    part = crops.subset(np.arange(len(crops)) >= 2)
    assert part.packed["target"].verified.tolist() == [True] + [False] * (len(crops) - 3)
    assert np.array_equal(part.packed["target"].image(1), crops.packed["target"].image(3))


def test_training_images_without_a_packed_field_are_named(folder):
    built = manifest.read(folder)
    built.split("train").loc[3, "packed_target"] = -1
    with pytest.raises(DataError, match=r"target\.bin: 1 training images have no target" + AGAIN):
        batches.Crops(built, "deblur", 24, [], 0)
