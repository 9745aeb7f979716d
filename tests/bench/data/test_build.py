"""What a build makes: pixels, manifest, packed files, as a function of the job alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import registry
from bench.contracts import DataError, Dataset, Item, Made
from bench.data import manifest
from bench.data.build import Job, build, draw
from bench.files import sha256
from tests.bench.data.toys import JOB, images
from tests.images import read_png


def test_pixels_and_manifest_depend_on_neither_order_nor_processes(toys, tmp_path, monkeypatch):
    alone = build(JOB, tmp_path / "alone", 1)
    parallel = build(JOB, tmp_path / "parallel", 2)
    assert len(images(alone.parent)) == 6 * 3 + 6 * 2
    assert images(alone.parent) == images(parallel.parent)
    assert sha256(alone) == sha256(parallel)
    entry = registry.dataset("toys")
    backwards = Dataset(**{**vars(entry), "offline": lambda: entry.offline()[::-1]})
    monkeypatch.setattr(registry, "dataset", lambda name: backwards)
    assert images(build(JOB, tmp_path / "backwards", 1).parent) == images(alone.parent)


def test_a_generator_is_a_function_of_seed_dataset_split_and_name():
    item = Item("a", "train", lambda rng: Made({}), "", "")
    drawn = [
        draw(0, "toys", item).random(),
        draw(1, "toys", item).random(),
        draw(0, "other", item).random(),
        draw(0, "toys", Item("b", "train", item.make, "", "")).random(),
        draw(0, "toys", Item("a", "test", item.make, "", "")).random(),
    ]
    assert len(set(drawn)) == 5
    assert drawn[0] == draw(0, "toys", item).random()


def test_further_images_do_not_change_the_first_ones(toys, tmp_path):
    few, many = build(JOB, tmp_path / "few", 1), build(Job("toys", None, {"draws": 5}, 0, "sample"), tmp_path / "m", 1)
    train = {name: digest for name, digest in images(few.parent).items() if name.startswith("train")}
    assert train.items() <= images(many.parent).items()


def test_the_manifest_has_all_facts_of_each_image(toys, tmp_path):
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    assert built.about["origin"] == "offline photographs" and built.about["images"] == {"train": 4, "test": 2}
    assert (built.about["partial"], built.about["seed"], built.about["profile"]) == (False, 0, "sample")
    assert built.digest == sha256(built.folder / manifest.NAME)
    assert list(built.split("test")["name"]) == ["t4", "t5"]
    for row in built.rows.itertuples():
        assert row.origin == "offline photographs" and row.licence == "CC0-1.0" and row.bits == 8
        assert json.loads(row.degradation) == {"kind": "half"}
        for field in ("target", "blurred", "mask"):
            file = built.folder / getattr(row, f"file_{field}")
            assert sha256(file) == getattr(row, f"sha256_{field}")
            assert read_png(file).shape[:2] == (row.height, row.width)
        assert [sha256(built.folder / r["file"]) for r in json.loads(row.references)] == [
            r["sha256"] for r in json.loads(row.references)
        ]
        mask = read_png(built.folder / row.file_mask)
        assert set(np.unique(mask)) <= {0, 255} and row.mask_ratio == pytest.approx(mask.mean() / 255)
    with pytest.raises(DataError, match="no image in split 'val'; it has: test, train"):
        built.split("val")


def test_packed_images_equal_the_png_files(toys, tmp_path):
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    for field, channels in (("target", 3), ("blurred", 3), ("mask", 1)):
        raw = np.fromfile(built.folder / "packed" / f"{field}.bin", np.uint8)
        assert raw.size == int((built.split("train")["height"] * built.split("train")["width"]).sum()) * channels
        for _, row in built.split("train").iterrows():
            start, shape = row[f"packed_{field}"], (row["height"], row["width"], channels)
            packed = raw[start : start + np.prod(shape)].reshape(shape)
            assert np.array_equal(packed.squeeze(), read_png(built.folder / row[f"file_{field}"]))
        assert (built.split("test")[f"packed_{field}"] == -1).all()
