from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from bench.data.user_images import read_rgb
from datasets import visdrone
from datasets.degradations.blur import draw_kernel_blur
from datasets.photographs.crops import mix
from datasets.visdrone import COUNTS, FOLDERS, dataset, degrade, offline, originals, to_square

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "visdrone"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real sample files are not here")
TRAIN = "VisDrone2019-DET-train/images"


def jpeg(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """VisDrone2019-DET with the official numbers of files, and the one training name of eight digits."""
    root = tmp_path_factory.mktemp("visdrone")
    source = jpeg(root / "source.jpg")
    for split, count in COUNTS.items():
        folder = root / f"VisDrone2019-DET-{FOLDERS[split]}" / "images"
        folder.mkdir(parents=True)
        names = [f"{index // 30:07d}_{index:05d}_d_{index:07d}" for index in range(count - (split == "train"))]
        for name in names + ["9999950_00000_d_10000080"] * (split == "train"):
            os.link(source, folder / f"{name}.jpg")
    return root


def clips(root: Path, **numbers: int) -> Path:
    """VID folders with so many frames of one clip."""
    for split, count in numbers.items():
        for frame in range(1, count + 1):
            jpeg(root / f"VisDrone2019-VID-{FOLDERS[split]}" / "sequences" / "uav0000013_v" / f"{frame:07d}.jpg")
    return root


def test_the_complete_layout(complete):
    items = originals(complete)
    assert {split: sum(item.split == split for item in items) for split in COUNTS} == COUNTS == dataset.counts
    assert COUNTS == {"train": 6471, "val": 548, "test": 1610}
    assert items[6470].name == "9999950_00000_d_10000080"
    assert items[6470].source == f"{TRAIN}/9999950_00000_d_10000080.jpg"


def test_a_short_split_is_an_error_without_partial(complete):
    path = next((complete / "VisDrone2019-DET-val" / "images").iterdir())
    path.unlink()
    try:
        with pytest.raises(
            DataError,
            match=r"found 6471 of 6471 images in train, 547 of 548 images in val, 1610 of 1610 images in test-",
        ):
            originals(complete)
        assert len(originals(complete, partial=True)) == 8628
    finally:
        os.link(complete / "source.jpg", path)


def test_too_many_images_are_an_error_with_partial_too(complete):
    extra = complete / "VisDrone2019-DET-val" / "images" / "more.JPG"
    os.link(complete / "source.jpg", extra)
    try:
        for partial in (False, True):
            with pytest.raises(DataError, match="549 of 548 images in val"):
                originals(complete, partial=partial)
    finally:
        extra.unlink()


def test_bad_folders_and_files(tmp_path):
    with pytest.raises(DataError, match=r"VisDrone2019-DET-train/images: no such folder"):
        originals(tmp_path)
    with pytest.raises(DataError, match=r"found no image in VisDrone2019-DET-\*"):
        originals(tmp_path, partial=True)
    path = jpeg(tmp_path / TRAIN / "a.jpg")
    jpeg(tmp_path / TRAIN / "a.JPG")
    with pytest.raises(DataError, match="found a second file named a"):
        originals(tmp_path, partial=True)
    (tmp_path / TRAIN / "a.JPG").unlink()
    data = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: found a file of 0 bytes"):
        originals(tmp_path, partial=True)
    path.write_bytes(data[: len(data) // 2])
    (item,) = originals(tmp_path, partial=True)
    with pytest.raises(DataError, match=r"a\.jpg: found a truncated or damaged file"):
        item.make(np.random.default_rng(0))
    with pytest.raises(ParamsError, match="part: found 'mot', expected 'det'"):
        originals(tmp_path, part="mot")
    with pytest.raises(ParamsError, match="bands"):
        originals(tmp_path, partial=True, bands=["30-20"])
    with pytest.raises(ParamsError, match="generator: found 'deepfil'; the nearest are: deepfill"):
        originals(tmp_path, partial=True, generator="deepfil")


def test_video_frames_have_two_level_names(tmp_path):
    clips(tmp_path, train=3, test=2)
    items = originals(tmp_path, partial=True, part="vid")
    assert [(item.split, item.name) for item in items] == [
        ("train", "uav0000013_v-0000001"),
        ("train", "uav0000013_v-0000002"),
        ("train", "uav0000013_v-0000003"),
        ("test", "uav0000013_v-0000001"),
        ("test", "uav0000013_v-0000002"),
    ]
    assert items[0].make(np.random.default_rng(0)).condition["scene"] == "uav0000013_v"
    clips(tmp_path, val=1)
    with pytest.raises(
        DataError, match=r"3 of 24201 images in train, 1 of 56 clips in train.*1 of 17 clips in test-dev"
    ):
        originals(tmp_path, part="vid")
    (tmp_path / "VisDrone2019-VID-train" / "sequences" / "empty").mkdir()
    with pytest.raises(DataError, match="empty: found no frame"):
        originals(tmp_path, partial=True, part="vid")


def test_to_square_widens_its_filter_when_it_reduces():
    """A pattern of single pixels becomes flat grey, which a filter of fixed width would alias."""
    stripes = np.zeros((512, 1024, 3), np.uint8)
    stripes[:, ::2] = 200
    square = to_square(stripes)
    assert square.shape == (256, 256, 3)
    assert np.abs(square[:, 4:-4].astype(int) - 100).max() <= 2
    assert (to_square(np.full((300, 260, 3), 91, np.uint8)) == 91).all()


def test_the_blur_does_not_depend_on_the_mask():
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    made = [
        degrade(image, "scene", band, generator, np.random.default_rng(4))
        for band, generator in (("20-30", "deepfill"), ("40-50", "deepfill"), ("50-60", "rfr"))
    ]
    blurred, drawn = draw_kernel_blur(image, np.random.default_rng(4))
    for sample in made:
        assert np.array_equal(sample.images["blurred"], blurred) and sample.degradation == drawn
        assert sample.condition["severity"] == drawn["length"]
    assert 0.2 < (made[0].images["mask"] == 255).mean() <= 0.3
    assert 0.4 < (made[1].images["mask"] == 255).mean() <= 0.5
    assert 0.5 < (made[2].images["mask"] == 255).mean() <= 0.6
    assert [sample.condition["mask_generator"] for sample in made] == ["deepfill", "deepfill", "rfr"]


@needs_samples
def test_real_photographs():
    items = originals(SAMPLES, partial=True)
    assert [(item.split, item.name) for item in items] == [
        ("train", "0000000_00000_d_0000001"),
        ("test", "0000006_00159_d_0000001"),
    ]
    item = pickle.loads(pickle.dumps(items[1]))
    made, again = item.make(np.random.default_rng(1)), item.make(np.random.default_rng(1))
    assert {name: image.shape for name, image in made.images.items()} == {
        "target": (256, 256, 3),
        "blurred": (256, 256, 3),
        "mask": (256, 256),
    }
    assert np.array_equal(made.images["target"], to_square(read_rgb(item.files[0])))
    assert made.condition["scene"] == "0000006" and made.condition["mask_band"] == "20-30"
    assert all(np.array_equal(made.images[name], again.images[name]) for name in made.images)
    with pytest.raises(DataError, match=r"VisDrone2019-DET-val/images: no such folder"):
        originals(SAMPLES)


def test_the_stand_in():
    items = offline(draws=3, test_draws=3)
    assert {split: sum(item.split == split for item in items) for split in COUNTS} == {
        "train": 21,
        "val": 3,
        "test": 12,
    }
    assert len({(item.split, item.name) for item in items}) == len(items)
    bands = []
    for item in items[-3:]:  # coins, the smallest picture
        made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(2))
        assert set(made.images) == set(dataset.fields)
        assert made.images["target"].shape == (256, 256, 3) and set(np.unique(made.images["mask"])) == {0, 255}
        assert 256 <= made.degradation["crop_side"] <= 303
        assert made.condition["scene"] == "coins"
        bands.append(made.condition["mask_band"])
    assert bands == ["20-30", "30-40", "40-50"]
    item = offline(draws=1, bands=["50-60"], generator="rfr")[0]
    assert item.make(np.random.default_rng(0)).condition["mask_generator"] == "rfr"
    with pytest.raises(ParamsError, match="test_draws: found 0"):
        offline(test_draws=0)
    assert visdrone.dataset.tasks == ("deblur", "inpaint", "sharp-inpaint")


def test_two_pictures_are_blended_or_joined_along_a_line():
    """Known answers: two flat pictures; and of two unlike ones every pixel or its contrast is accounted for."""
    dark, light = (np.full((64, 64, 3), value, np.uint8) for value in (40, 200))
    kinds, shares = [], []
    for seed in range(60):
        mixed = mix(dark, light, np.random.default_rng(seed))
        assert mixed.shape == dark.shape and mixed.dtype == np.uint8
        if len(values := np.unique(mixed)) == 1:
            kinds.append("blend")
            shares.append((200 - int(values[0])) / 160)
        else:
            kinds.append("joined")
            assert list(values) == [40, 200]
            share = (mixed == 40).mean()
            assert 0 < share < 1
            for row in (mixed[..., 0], mixed[..., 0].T):  # a straight line: no row or column crosses it twice
                assert (np.diff(row.astype(int), axis=1) != 0).sum(axis=1).max() <= 1
    assert 20 < kinds.count("blend") < 40
    assert 0.29 < min(shares) < 0.4 and 0.6 < max(shares) < 0.71


def test_a_blend_has_the_contrast_of_one_picture():
    images = np.random.default_rng(0).normal(128, 20, (2, 256, 256, 3)).round().clip(0, 255).astype(np.uint8)
    for seed in range(8):
        mixed = mix(*images, np.random.default_rng(seed))
        assert mixed.std() == pytest.approx(20, rel=0.01) and mixed.mean() == pytest.approx(128, abs=0.5)
    wide = mix(images[0, :64], images[1, :64], np.random.default_rng(0))
    assert wide.shape == (64, 256, 3), "a picture that is not square is turned by 0 or 180 degrees"


def test_the_stand_in_mixes_training_photographs_alone():
    items, plain = offline(draws=4, test_draws=1, mixed=0.5), offline(draws=4, test_draws=1)
    credits = {(item.source, item.licence) for item in items if item.split == "train"}
    partners = []
    for seed, pair in enumerate(zip(items, plain, strict=True)):
        made, alone = (item.make(np.random.default_rng(seed)) for item in pair)
        partners += made.others
        if made.others:
            assert pair[0].split == "train"
            assert not np.array_equal(made.images["target"], alone.images["target"])
        else:
            assert np.array_equal(made.images["target"], alone.images["target"])
    assert 7 < len(partners) < 21 and set(partners) <= credits  # of 28 training images
    for wrong in (1.5, -0.1, True, "half"):
        with pytest.raises(ParamsError, match=r"mixed: found .*expected a number in \[0, 1\]"):
            offline(mixed=wrong)
