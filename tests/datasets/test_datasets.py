"""The contract, for every dataset; builds that are read again; official and broken files, by the commands."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bench import registry
from bench.contracts import DataError, Item, ParamsError
from bench.data import manifest
from bench.data.batches import Crops, task_arrays
from bench.data.build import Job, build, draw
from bench.data.built_images import as_float
from bench.tasks import find_task
from tests.images import read_png

NAMES = registry.names("datasets")
ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"
SMALL = {
    "gopro": {"draws": 1, "test_draws": 1, "max_side": 64},
    "canon-dp": {"draws": 1, "test_draws": 1, "max_side": 96},
    "kohler": {"draws": 1, "min_frames": 3, "max_frames": 4},
    "paris-streetview": {"draws": 1},
    "places2": {"draws": 1, "test_draws": 1},
    "visdrone": {"draws": 1, "test_draws": 1},
}


@functools.cache
def offline(name: str) -> list[Item]:
    return registry.dataset(name).offline()


def first_of_each_split(name: str) -> list[Item]:
    return list({item.split: item for item in reversed(offline(name))}.values())


# The entry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_is_complete(name):
    dataset = registry.dataset(name)
    assert dataset.title
    assert len(dataset.source) > 40
    assert dataset.scoring in ("plain", "best-reference")
    assert "target" in dataset.fields
    assert set(dataset.fields) <= {"target", "blurred", "mask", "left", "right", "centre"}
    assert dataset.counts
    assert set(dataset.counts) <= {"train", "val", "test"}
    for task in dataset.tasks:
        assert set(find_task(task).fields) <= set(dataset.fields), f"{task} needs fields that are not built"


@pytest.mark.parametrize("name", NAMES)
def test_a_stand_in_lists_every_split_that_the_pipeline_uses(name):
    items = offline(name)
    splits = Counter(item.split for item in items)
    assert splits["test"] >= 2
    assert set(splits) <= {"train", "val", "test"}
    assert ("train" in splits) == ("train" in registry.dataset(name).counts)
    assert max(Counter((item.split, item.name) for item in items).values()) == 1
    assert all(item.source and item.licence for item in items)
    assert all(item.name == Path(item.name).name and not item.name.startswith(".") for item in items)
    of_split = {split: {item.source for item in items if item.split == split} for split in splits}
    for split in splits:
        for other in splits.keys() - {split}:
            assert of_split[split].isdisjoint(of_split[other]), "a picture is in two splits"


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_a_function_of_its_generator(name):
    dataset = registry.dataset(name)
    for item in first_of_each_split(name):
        copy = pickle.loads(pickle.dumps(item))
        made, again = item.make(draw(0, name, item)), copy.make(draw(0, name, item))
        other = item.make(draw(1, name, item))
        assert set(made.images) == set(dataset.fields)
        for field, image in made.images.items():
            assert np.array_equal(image, again.images[field])
            assert image.dtype == np.uint8 if field == "mask" else image.dtype in (np.uint8, np.uint16)
            assert image.shape == made.images["target"].shape[: 2 if field == "mask" else 3]
            assert image.shape[2:] == (() if field == "mask" else (3,))
        assert made.degradation == again.degradation
        assert made.condition == again.condition
        same = [np.array_equal(image, other.images[field]) for field, image in made.images.items()]
        assert not all(same), "another seed draws the same image"
        assert json.loads(json.dumps(made.condition)) == made.condition
        assert json.loads(json.dumps(made.degradation)) == made.degradation
        references = list(made.references)
        assert bool(references) == (dataset.scoring == "best-reference")
        assert all(image.shape == made.images["target"].shape for image in references)


@pytest.mark.parametrize("name", [name for name in NAMES if "mask" in registry.dataset(name).fields])
def test_masks_are_black_and_white_and_within_their_band(name):
    for item in offline(name)[:: max(1, len(offline(name)) // 6)]:
        made = item.make(draw(0, name, item))
        mask = made.images["mask"]
        assert set(np.unique(mask)) == {0, 255}
        assert made.condition["mask_ratio"] == pytest.approx((mask == 255).mean(), abs=1e-6)
        low, high = (int(limit) / 100 for limit in made.condition["mask_band"].split("-"))
        assert low < made.condition["mask_ratio"] <= high
        assert made.condition["mask_kind"] in ("irregular", "square")


# A build --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_small_build_can_be_read_again(name, tmp_path):
    dataset = registry.dataset(name)
    job = Job(name, None, SMALL.get(name, {}), seed=3, profile="sample")
    path = build(job, tmp_path / "built", workers=1)
    built = manifest.read(path.parent)
    assert built.about["origin"] == "offline photographs"
    assert built.about["images"] == dict(Counter(built.rows["split"]))
    assert built.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(built.rows["origin"]) == {"offline photographs"}
    assert built.rows[["source", "licence", "condition", "degradation"]].map(bool).all(axis=None)
    items = {(item.split, item.name): item for item in dataset.offline(**SMALL.get(name, {}))}
    assert set(zip(built.rows["split"], built.rows["name"], strict=True)) == set(items)
    for row in built.rows.to_dict("records"):
        for field in dataset.fields:
            file = path.parent / row[f"file_{field}"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == row[f"sha256_{field}"]
            assert read_png(file).shape[:2] == (row["height"], row["width"])
    row = built.rows.iloc[-1]
    made = items[row["split"], row["name"]].make(draw(3, name, items[row["split"], row["name"]]))
    for field, image in made.images.items():
        assert np.array_equal(read_png(path.parent / row[f"file_{field}"]), image)
    assert not list(tmp_path.glob(".built*")), "the build left its work behind"

    if "train" in built.about["images"]:
        for task in dataset.tasks:
            crops = Crops(built, task, 32, [], seed=0)
            batch = crops.batch(0, 2)
            assert batch["target"].shape == (2, 3, 32, 32)
            assert set(batch) >= set(task_arrays(task, {f: np.zeros((2, 2, 3)) for f in dataset.fields}))


@pytest.mark.parametrize("name", ["gopro"])
def test_the_order_and_number_of_processes_do_not_matter(name, tmp_path):
    job = Job(name, None, SMALL[name], seed=0, profile="sample")
    alone, parallel = (manifest.read(build(job, tmp_path / str(n), workers=n).parent) for n in (1, 2))
    assert alone.rows.equals(parallel.rows)
    assert alone.digest == parallel.digest
    packed = [(built.folder / "packed" / "blurred.bin").read_bytes() for built in (alone, parallel)]
    assert packed[0] == packed[1]
    row = alone.split("train").iloc[0]
    raw = np.frombuffer(packed[0], np.uint8, count=row["height"] * row["width"] * 3, offset=row["packed_blurred"])
    assert np.array_equal(raw.reshape(row["height"], row["width"], 3), read_png(alone.folder / row["file_blurred"]))
    assert as_float(raw).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_folder_and_a_misspelt_option_are_refused(name, tmp_path):
    with pytest.raises(DataError, match="no such folder") as error:
        build(Job(name, tmp_path / "none", {}, 0, "sample"), tmp_path / "built", workers=1)
    assert registry.dataset(name).source in str(error.value), "the message does not say where the files come from"
    with pytest.raises(ParamsError, match="drawz: unknown argument"):
        build(Job(name, None, {"drawz": 1}, 0, "sample"), tmp_path / "built", workers=1)
    assert not (tmp_path / "built").exists()


# Broken originals, by the commands ------------------------------------------------------------------------------------


def picture(path: Path, bits: int = 8, height: int = 12) -> Path:
    """Write a PNG or a JPEG of noise, 16 pixels wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 2**bits, (height, 16, 3), dtype=np.uint8 if bits == 8 else np.uint16)
    assert cv2.imwrite(str(path), pixels)
    return path


def gopro_of(root: Path) -> Path:
    """Write a pair of each split of GOPRO."""
    for place in ("train/GOPR0372_07_00/{}/000047.png", "test/GOPR0384_11_00/{}/000001.png"):
        for folder in ("blur", "sharp"):
            picture(root / "GOPRO_Large" / place.format(folder))
    return root / "GOPRO_Large"


def no_split(root: Path) -> None:
    shutil.rmtree(gopro_of(root) / "test")


def no_partner(root: Path) -> None:
    (gopro_of(root) / "train/GOPR0372_07_00/sharp/000047.png").unlink()
    picture(root / "GOPRO_Large/train/GOPR0372_07_00/sharp/000048.png")


def two_sizes(root: Path) -> None:
    picture(gopro_of(root) / "test/GOPR0384_11_00/sharp/000001.png", height=13)


def truncated(root: Path) -> None:
    path = gopro_of(root) / "test/GOPR0384_11_00/sharp/000001.png"
    path.write_bytes(path.read_bytes()[:-20])  # the header is whole


def zero_bytes(root: Path) -> None:
    (gopro_of(root) / "test/GOPR0384_11_00/blur/000001.png").write_bytes(b"")


def zero_byte_jpeg(root: Path) -> None:
    picture(root / "VisDrone2019-DET-val/images/a.jpg").write_bytes(b"")


def eight_bits(root: Path) -> None:
    for folder in ("l/source", "r/source", "c/source", "c/target"):
        name = "1P0A0001.png" if folder == "c/target" else "1P0A0002.png"
        picture(root / f"dd_dp_dataset_canon/test_{folder}" / name, bits=8 if folder == "r/source" else 16)


def no_view(root: Path) -> None:
    eight_bits(root)
    (root / "dd_dp_dataset_canon/test_r/source/1P0A0002.png").unlink()


def inverted_mask(root: Path) -> None:
    picture(root / "val_large/Places365_val_00000001.jpg", height=256)
    mask = np.full((64, 64), 255, np.uint8)
    mask[:16] = 0
    (root / "masks").mkdir()
    assert cv2.imwrite(str(root / "masks/00001.png"), mask)


PARTIAL = ("--partial",)
BROKEN = {  # the dataset, what breaks it, further arguments, part of the message
    "a missing split": ("gopro", no_split, (), "GOPRO_Large/test: no such folder; "),
    "a count that is off": ("gopro", gopro_of, (), "1 of 2103 images in train, 1 of 1111 images in test; the "),
    "a missing partner": ("gopro", no_partner, PARTIAL, "GOPR0372_07_00: found 2 images without a partner, expected"),
    "a missing view": ("canon-dp", no_view, PARTIAL, "found 1 scenes of 'test' that lack a view; test_c/source has "),
    "two sizes in a pair": ("gopro", two_sizes, PARTIAL, "000001: found different sizes (width x height): "),
    "a truncated file": ("gopro", truncated, PARTIAL, "sharp/000001.png: found a truncated or damaged file ("),
    "a file of no bytes": ("gopro", zero_bytes, PARTIAL, "blur/000001.png: found a file of 0 bytes, expected an image"),
    "a JPEG of no bytes": ("visdrone", zero_byte_jpeg, PARTIAL, "a.jpg: found a file of 0 bytes, expected an image"),
    "8 bits for 16": (
        "canon-dp",
        eight_bits,
        PARTIAL,
        "test_r/source/1P0A0002.png: found 8 bits per value, expected 16",
    ),
    "an inverted mask": ("places2", inverted_mask, (*PARTIAL, "--option", "masks={}/masks"), "the mask looks inverted"),
}


@pytest.mark.parametrize("action", ["verify", "build"])
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_originals_are_one_message(project, tmp_path, broken, action):
    name, break_it, further, expected = BROKEN[broken]
    break_it(tmp_path)
    more = [argument.format(tmp_path) for argument in further]
    if action == "build":
        more += ["--jobs", "1"]
    if broken == "a truncated file" and action == "build":
        # Found while images are made: those stay for the next build, outside any built set.
        before = project.files()
        done = project.run("build", name, "--originals", tmp_path, *more)
        assert (done.status, done.err.count("\n")) == (2, 1)
        message, work = done.err, project.folder / "data" / "sample" / f".{name}.building"
        assert {path.relative_to(work).parts[0] for path in project.files() - before} <= {
            ".lock", "job.json", "rows", "train", "test",
        }  # fmt: skip
        picture(tmp_path / "GOPRO_Large/test/GOPR0384_11_00/sharp/000001.png")
        assert "1 train, 1 test from originals (partial)" in project.good(
            "build", name, "--originals", tmp_path, *more, "--out", project.folder / "repaired" / name
        )
        shutil.rmtree(work)
    else:
        message = project.bad(action, name, "--originals", tmp_path, *more)
    assert message.startswith(f"sharpbench {action}: ") and expected in message
    assert not (project.folder / "data" / "sample" / name).exists()


def test_a_cmyk_jpeg_among_the_originals_is_converted(project, tmp_path):
    cyan, magenta, yellow, black = 40, 90, 160, 30
    path = tmp_path / "VisDrone2019-DET-test-dev" / "images" / "a.jpg"
    path.parent.mkdir(parents=True)
    Image.new("CMYK", (256, 256), (cyan, magenta, yellow, black)).save(path, quality=100)
    place = ("--originals", tmp_path, "--partial")
    assert "visdrone: 1 test: layout" in project.good("verify", "visdrone", *place)
    out = project.folder / "cmyk" / "visdrone"
    assert "visdrone: 1 test from originals (partial)" in project.good("build", "visdrone", *place, "--out", out)
    built = read_png(out / "test" / "target" / "a.png")
    expected = [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]
    assert np.abs(built - np.array(expected)).max() <= 2


def test_pictures_are_counted_if_each_makes_several_images(project, tmp_path, monkeypatch):
    """A picture with six masks counts once, as in the official counts."""
    counts = registry.dataset("paris-streetview").counts
    side = np.zeros((256, 256, 3), np.uint8)
    for name in ("paris_train_original/a.JPG", "paris_eval_gt/001_im.png", "paris_eval_gt/002_im.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(side).save(tmp_path / name)
    place = ("--originals", tmp_path, "--partial")
    output = project.good("verify", "paris-streetview", *place)
    assert output.startswith("paris-streetview: 1 train, 12 test (of 2 pictures): layout, sizes and depth are right")
    assert "\npartial: the official counts are 14,900 train, 100 test\n" in output
    out = project.folder / "counted" / "paris-streetview"
    output = project.good("build", "paris-streetview", *place, "--out", out)
    assert output.startswith("paris-streetview: 1 train, 12 test (of 2 pictures) from originals (partial) -> ")
    monkeypatch.setitem(counts, "train", 1)
    monkeypatch.setitem(counts, "test", 2)
    assert "official counts" not in project.good("verify", "paris-streetview", *place)


# The real files -------------------------------------------------------------------------------------------------------


def command(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in another process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


LAYOUTS = {
    "gopro": ("gopro", "gopro", {"response": "linear"}, {"train": 4, "test": 2}),
    "gopro-gamma": ("gopro", "gopro", {"response": "gamma"}, {"train": 3}),
    "gopro-frames": ("gopro", "gopro", {"from_frames": True}, {"train": 1}),
    "visdrone": ("visdrone", "visdrone", {}, {"train": 1, "test": 1}),
    "places2-256": ("places2", "places365", {"resolution": "256"}, {"train": 2}),
    "places2-large": ("places2", "places365", {"resolution": "large"}, {"train": 2, "test": 2}),
    "dpdd-whole": ("canon-dp", "dpdd", {"patch": None}, {"train": 2, "val": 1, "test": 1}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_real_files_are_verified_and_built(layout, samples, tmp_path):
    name, folder, options, expected = LAYOUTS[layout]
    text = json.dumps({"profile": "sample", "datasets": {name: {"originals": options}}})
    (tmp_path / "params.yaml").write_text(text)
    place = ("--originals", samples / folder)
    assert command(tmp_path, "verify", name, *place).returncode == 2, "samples are not the whole set"
    done = command(tmp_path, "verify", name, *place, "--partial")
    assert done.returncode == 0, done.stderr
    assert "partial: the official counts are" in done.stdout
    done = command(tmp_path, "build", name, *place, "--partial", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    built = manifest.read(tmp_path / "data" / "sample" / name)
    assert built.about["images"] == expected
    assert built.about["origin"] == "originals"
    assert built.rows["partial"].all()
    assert built.rows["source"].map(lambda source: (samples / folder / source).is_file()).all()
    if name == "canon-dp":
        assert set(built.rows["bits"]) == {16}
        assert read_png(built.folder / built.rows["file_left"].iloc[0]).dtype == np.uint16


def test_koehlers_set_without_references_is_refused(samples, tmp_path):
    (tmp_path / "params.yaml").write_text("profile: sample\n")
    for action in (("verify",), ("build",)):
        done = command(tmp_path, *action, "kohler", "--originals", samples / "kohler", "--partial")
        assert done.returncode == 2
        assert "1 without frames, the first missing is Image2/Kernel1/GroundTruth2_1_1.png" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "sample" / "kohler").exists()
