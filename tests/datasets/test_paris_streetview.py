"""Paris StreetView: both nestings, counts, six masks a test picture, and each bad input."""

from __future__ import annotations

import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from bench.data.user_images import read_rgb
from datasets import paris_streetview as paris
from datasets.degradations.mask_files import split_of
from datasets.degradations.masks import parse_band

TRAIN = ("48.842502_2.344968_90_-004.JPG", "48.842502_2.344968_270_-004.JPG", "48.850001_2.290000_0_-004.JPG")
TEST = ("001_im.png", "002_im.png")
CONDITIONS = {(kind, band) for kind in ("irregular", "square") for band in ("20-30", "30-40", "40-50")}


def write(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.as_posix())).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)


def fill(root: Path, train: str = "paris_train_original", test: str = "paris_eval_gt") -> Path:
    for name in TRAIN:
        write(root / train / name, 537, 936)
    for name in TEST:
        write(root / test / name, 227, 227)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training and two test pictures, which count as the whole set."""
    monkeypatch.setattr(paris, "COUNTS", {"train": 3, "test": 2})
    return fill(tmp_path)


def test_the_official_counts():
    assert paris.dataset.counts == {"train": 14_900, "test": 100}


@pytest.mark.parametrize("train", paris.FOLDERS["train"])
@pytest.mark.parametrize("test", paris.FOLDERS["test"])
def test_both_nestings_are_taken(tmp_path, train, test):
    items = paris.originals(fill(tmp_path, train, test), partial=True)
    assert Counter(item.split for item in items) == {"train": 3, "test": 12}
    assert items[0].source == f"{train}/{TRAIN[1]}" and items[-1].source == f"{test}/002_im.png"


def test_a_test_picture_has_a_mask_of_every_kind_and_band(root):
    items = [item for item in paris.originals(root) if item.split == "test"]
    assert len({item.name for item in items}) == 12
    assert items[0].name == "001_im-irregular-20-30"
    conditions = set()
    for item in items[:6]:
        made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(0))
        assert set(made.images) == {"target", "mask"}
        low, high = parse_band(made.condition["mask_band"])
        assert low < np.mean(made.images["mask"] == 255) <= high
        expected = Image.fromarray(read_rgb(item.files[0])).resize((256, 256), Image.Resampling.BICUBIC)
        assert np.array_equal(made.images["target"], np.asarray(expected))
        assert made.degradation == {"stored_side": 227}
        conditions.add((made.condition["mask_kind"], made.condition["mask_band"]))
    assert conditions == CONDITIONS


def test_a_training_picture_is_its_central_537_square_at_256(root):
    items = [item for item in paris.originals(root) if item.split == "train"]
    made = items[0].make(np.random.default_rng(0))
    cut = Image.fromarray(read_rgb(items[0].files[0])[:, 199:736])
    assert np.array_equal(made.images["target"], np.asarray(cut.resize((256, 256), Image.Resampling.BICUBIC)))
    assert made.degradation == {"stored_side": 537}


def test_training_pictures_take_kinds_and_bands_in_turn(root):
    items = paris.originals(root)[:3]
    conditions = [item.make(np.random.default_rng(0)).condition for item in items]
    kinds = [(about["mask_kind"], about["mask_band"]) for about in conditions]
    assert kinds == [("irregular", "20-30"), ("square", "20-30"), ("irregular", "30-40")]


def test_mask_files_serve_the_irregular_masks_alone(root, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for i in range(40):
        mask = np.zeros((64, 64), np.uint8)
        mask[:16] = 255
        Image.fromarray(mask).save(folder / f"{i:05d}.png")
    for item in paris.originals(root, masks=str(folder), bands=["20-30"]):
        about = item.make(np.random.default_rng(0)).condition
        if about["mask_kind"] == "irregular":
            assert split_of(Path(about["mask_file"])) == item.split
        else:
            assert about["mask_generator"] == "square"


def test_the_generator_draws_the_irregular_masks_alone(root):
    for items in (paris.originals(root, generator="rfr"), paris.offline(draws=2, generator="rfr")):
        kinds = set()
        for item in [item for item in items if item.split == "test"][:2]:
            about = item.make(np.random.default_rng(0)).condition
            kinds.add((about["mask_kind"], about["mask_generator"]))
        assert kinds == {("irregular", "rfr"), ("square", "square")}


# Bad input ----------------------------------------------------------------------------------------------------------


def test_a_short_split_is_refused_unless_partial(root):
    (root / "paris_eval_gt" / "002_im.png").unlink()
    with pytest.raises(DataError, match="1 pictures in split 'test', the official set has 2"):
        paris.originals(root)
    assert Counter(item.split for item in paris.originals(root, partial=True)) == {"train": 3, "test": 6}


def test_a_missing_folder_is_refused_with_the_folders_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(paris, "COUNTS", {"train": 3, "test": 2})
    fill(tmp_path, test="paris_test")
    with pytest.raises(DataError) as error:
        paris.originals(tmp_path)
    assert "no pictures in paris_eval_gt or paris_eval/paris_eval_gt" in str(error.value)
    assert "holds: paris_test/, paris_train_original/" in str(error.value)


def test_partial_takes_one_split_alone_but_not_none(root):
    (root / "paris_train_original").rename(root / "elsewhere")
    assert {item.split for item in paris.originals(root, partial=True)} == {"test"}
    (root / "paris_eval_gt").rename(root / "nowhere")
    with pytest.raises(DataError, match=r"no pictures in either split; .*holds: elsewhere/, nowhere/"):
        paris.originals(root, partial=True)


def test_a_picture_of_another_name_is_refused(root):
    write(root / "paris_eval_gt" / "picture.png", 227, 227)
    with pytest.raises(DataError, match=r"picture\.png: found this name, expected 001_im to 100_im"):
        paris.originals(root, partial=True)


def test_a_damaged_and_a_small_picture_are_refused(root):
    path = root / "paris_eval_gt" / "001_im.png"
    path.write_bytes(path.read_bytes()[:-2000])
    write(root / "paris_train_original" / TRAIN[0], 200, 300)
    items = {item.files[0].name: item for item in paris.originals(root)}
    with pytest.raises(DataError, match="truncated or damaged"):
        items["001_im.png"].make(np.random.default_rng(0))
    with pytest.raises(DataError, match="found 300x200 pixels, expected 936x537"):
        items[TRAIN[0]].make(np.random.default_rng(0))


def test_a_wrong_option_is_refused(root):
    with pytest.raises(ParamsError, match="bands: found 'all'"):
        paris.originals(root, bands=["all"])
    for options, words in (
        ({"generator": "square"}, "generator: found 'square'; the nearest are: deepfill, rfr, lbam"),
        ({"generator": "lbam"}, "bands: no lbam mask of 256x256 pixels has a hole share of 40-50 %"),
    ):
        for make in (partial(paris.originals, root), paris.offline):
            with pytest.raises(ParamsError, match=words):
                make(**options)
    with pytest.raises(ParamsError, match="draws: found 0"):
        paris.offline(draws=0)


# Stand-in -----------------------------------------------------------------------------------------------------------


def test_the_stand_in_tests_every_kind_and_band():
    items = paris.offline(draws=2)
    assert Counter(item.split for item in items) == {"train": 14, "val": 6, "test": 24}
    assert len({(item.split, item.name) for item in items}) == len(items)
    test = [item.make(np.random.default_rng(0)) for item in items if item.name.startswith("coins")]
    assert {(made.condition["mask_kind"], made.condition["mask_band"]) for made in test} == CONDITIONS
    assert all(np.array_equal(made.images["target"], test[0].images["target"]) for made in test)
    assert test[0].images["target"].shape == (256, 256, 3) and test[0].degradation == {"stored_side": 303}
    train = items[0].make(np.random.default_rng(0))
    assert train.images["target"].shape == (256, 256, 3) and "crop_top" in train.degradation
