"""Places2: both folder names, two and three levels, counts and lists, squares, blur, mask, and each bad input."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from bench.data.user_images import read_rgb
from datasets import places2
from datasets.degradations.blur import draw_kernel_blur
from datasets.degradations.mask_files import split_of
from datasets.degradations.masks import draw_mask, parse_band

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
TRAIN = ("a/abbey/00000001.jpg", "b/bridge/00000007.jpg", "s/swimming_pool/indoor/00000001.jpg")
TEST = ("Places365_val_00000001.jpg", "Places365_val_00000002.jpg")


def write(path: Path, height: int = 256, width: int = 300) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.as_posix())).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=95)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training and two validation images, which count as the whole set."""
    for name in TRAIN:
        write(tmp_path / "data_large" / name)
    for name in TEST:
        write(tmp_path / "val_large" / name)
    monkeypatch.setattr(places2, "COUNTS", {"train": 3, "test": 2})
    return tmp_path


@pytest.mark.parametrize("suffix", ["", "_standard", "_challenge"])
def test_each_name_of_the_train_folder_is_taken(root, suffix):
    (root / "data_large").rename(root / f"data_large{suffix}")
    items = places2.originals(root)
    assert [item.name for item in items if item.split == "train"] == [
        "a-abbey-00000001",
        "b-bridge-00000007",
        "s-swimming_pool-indoor-00000001",
    ]
    assert [item.name for item in items if item.split == "test"] == [Path(name).stem for name in TEST]
    assert items[2].source == f"data_large{suffix}/s/swimming_pool/indoor/00000001.jpg"


def test_an_image_is_its_central_square_with_the_authors_blur_and_a_mask_in_its_band(root):
    items = places2.originals(root)
    assert [item.make.args[2] for item in items] == ["20-30", "30-40", "40-50", "20-30", "30-40"]
    for item in items:
        made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(4))
        target, blurred, mask = (made.images[name] for name in places2.dataset.fields)
        assert np.array_equal(target, read_rgb(item.files[0])[:, 22:278])
        low, high = parse_band(item.make.args[2])
        assert low < np.mean(mask == 255) <= high and made.condition["mask_kind"] == "irregular"

        rng = np.random.default_rng(4)
        draw_mask(rng, (256, 256), "deepfill", (low, high))
        again, drawn = draw_kernel_blur(target, rng)
        assert np.array_equal(blurred, again) and made.degradation == drawn


def test_one_generator_gives_one_image(root):
    item = places2.originals(root)[0]
    first, second, other = (item.make(np.random.default_rng(seed)).images for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["mask"], other["mask"])


def test_a_subset_is_spread_over_the_categories(root):
    items = places2.originals(root, num_train=2, num_test=1)
    assert [item.name for item in items] == ["a-abbey-00000001", "b-bridge-00000007", "Places365_val_00000001"]
    with pytest.raises(ParamsError, match="num_train: found 4, expected 1 to 3"):
        places2.originals(root, num_train=4)


def test_masks_from_files_come_from_the_images_own_split(root, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for i in range(40):
        mask = np.zeros((64, 64), np.uint8)
        mask[:16] = 255
        Image.fromarray(mask).save(folder / f"{i:05d}.png")
    for item in places2.originals(root, masks=str(folder), bands=["20-30"]):
        made = item.make(np.random.default_rng(0))
        assert split_of(Path(made.condition["mask_file"])) == item.split
        assert made.condition["mask_ratio"] == 0.25 == np.mean(made.images["mask"] == 255)
    with pytest.raises(DataError, match="no mask of 30-40 % for split 'train'"):
        places2.originals(root, masks=str(folder), bands=["30-40"])


@pytest.mark.parametrize(("generator", "kind"), [("rfr", "irregular"), ("ca-box", "square")])
def test_the_generator_option_changes_the_masks_and_not_the_blur(root, generator, kind):
    plain, other = (
        places2.originals(root, bands=["20-30"], **options)[0].make(np.random.default_rng(1))
        for options in ({}, {"generator": generator})
    )
    about = {"mask_kind": kind, "mask_generator": generator, "mask_band": "20-30"}
    assert other.condition == {**about, "mask_ratio": round(np.mean(other.images["mask"] == 255), 6)}
    assert 0.2 < other.condition["mask_ratio"] <= 0.3
    assert not np.array_equal(plain.images["mask"], other.images["mask"])
    assert np.array_equal(plain.images["target"], other.images["target"])
    made = places2.offline(draws=1, bands=["20-30"], generator=generator)[0].make(np.random.default_rng(0))
    assert (made.condition["mask_kind"], made.condition["mask_generator"]) == (kind, generator)


# Bad input ----------------------------------------------------------------------------------------------------------


def test_a_short_split_is_refused_unless_partial(root):
    (root / "data_large" / TRAIN[1]).unlink()
    with pytest.raises(DataError, match="2 images in split 'train', the official set has 3 or 8026628"):
        places2.originals(root)
    assert Counter(item.split for item in places2.originals(root, partial=True)) == {"train": 2, "test": 2}


def test_a_missing_split_is_refused_unless_partial(root):
    (root / "data_large").rename(root / "data")
    with pytest.raises(DataError, match=r"data_large: 0 images in split 'train', .*holds: data/, val_large/"):
        places2.originals(root)
    items = places2.originals(root, partial=True)
    assert [item.split for item in items] == ["test", "test"]


def test_files_of_the_other_resolution_are_refused_even_when_partial(root):
    with pytest.raises(DataError, match=r"data_256: 0 images in split 'train'.* set `resolution` to that of your"):
        places2.originals(root, resolution="256")
    with pytest.raises(DataError, match=r"no images in data_256 or val_256; .*holds: data_large/, val_large/"):
        places2.originals(root, resolution="256", partial=True)


def test_two_train_folders_are_refused(root):
    write(root / "data_large_standard" / TRAIN[0])
    with pytest.raises(DataError, match="found data_large and data_large_standard, expected one"):
        places2.originals(root)


def test_images_in_another_folder_are_refused(root):
    write(root / "data_large" / "data_large" / TRAIN[0])
    with pytest.raises(DataError, match="expected training images in <letter>/<category>"):
        places2.originals(root, partial=True)


def test_hidden_and_other_files_are_skipped(root):
    (root / "data_large" / "a" / "abbey" / ".hidden.jpg").write_bytes(b"x")
    (root / "val_large" / "Thumbs.db").write_bytes(b"x")
    assert len(places2.originals(root)) == 5


def test_a_damaged_file_and_a_small_one_are_refused(root):
    path = root / "val_large" / TEST[0]
    path.write_bytes(path.read_bytes()[:2000])
    write(root / "val_large" / TEST[1], 200, 300)
    damaged, small = (item for item in places2.originals(root) if item.split == "test")
    with pytest.raises(DataError, match="truncated or damaged"):
        damaged.make(np.random.default_rng(0))
    with pytest.raises(DataError, match="found 300x200 pixels, expected at least 256 on both sides"):
        small.make(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": "small"}, "resolution: found 'small', expected one of large, 256"),
        ({"bands": ["50-20"]}, "bands: found '50-20'"),
        ({"bands": []}, "bands: found []"),
        ({"generator": "rfrr"}, "generator: found 'rfrr'; the nearest are: rfr"),
        ({"generator": "lbam"}, "bands: no lbam mask of 256x256 pixels has a hole share of 40-50 %"),
        ({"generator": "rfr", "masks": "m"}, "generator: found 'rfr' and masks from m, expected one of the two"),
    ],
)
def test_a_wrong_option_is_refused(root, options, words):
    with pytest.raises(ParamsError) as error:
        places2.originals(root, **options)
    assert words in str(error.value)


def test_the_official_list_is_checked_where_it_is_there(root, monkeypatch):
    text = "".join(f"/{name} 0\n" for name in TRAIN).encode()
    (root / "meta").mkdir()
    (root / "meta" / "places365_train_standard.txt").write_bytes(text)
    with pytest.raises(DataError, match="expected 30f37515461640559006b8329efbed1a; fetch the official list again"):
        places2.originals(root)
    monkeypatch.setitem(places2.LISTS, "places365_train_standard.txt", hashlib.md5(text).hexdigest())
    assert len(places2.originals(root)) == 5

    (root / "data_large" / TRAIN[0]).rename(root / "data_large" / "a" / "abbey" / "00000002.jpg")
    with pytest.raises(
        DataError, match=r"1 files are not in places365_train_standard.txt; the first is a/abbey/0000000"
    ):
        places2.originals(root)
    (root / "data_large" / "a" / "abbey" / "00000002.jpg").unlink()
    monkeypatch.setattr(places2, "COUNTS", {"train": 2, "test": 2})
    with pytest.raises(DataError, match=r"1 files of places365_train_standard\.txt are missing; the first is a/abbey"):
        places2.originals(root)
    assert len(places2.originals(root, partial=True)) == 4


# Stand-in and samples -----------------------------------------------------------------------------------------------


def test_the_stand_in_is_made_by_the_same_code():
    items = places2.offline(draws=2, test_draws=3)
    assert Counter(item.split for item in items) == {"train": 14, "val": 3, "test": 12}
    assert len({(item.split, item.name) for item in items}) == len(items)
    made = pickle.loads(pickle.dumps(items[0])).make(np.random.default_rng(0))
    assert {name: image.shape for name, image in made.images.items()} == {
        "target": (256, 256, 3),
        "blurred": (256, 256, 3),
        "mask": (256, 256),
    }
    assert made.degradation["kind"] == "gaussian, linear motion" and "crop_top" in made.degradation
    tests = [item.make(np.random.default_rng(1)).condition["mask_band"] for item in items if item.split == "test"][:3]
    assert tests == ["20-30", "30-40", "40-50"]
    with pytest.raises(ParamsError, match="draws: found 0"):
        places2.offline(draws=0)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample files")
@pytest.mark.parametrize("resolution", ["large", "256"])
def test_the_sample_files_are_read(tmp_path, resolution):
    for folder in (SAMPLES / "places365").iterdir():
        if folder.name != "val_large" or resolution == "large":
            (tmp_path / folder.name).symlink_to(folder)
    if resolution == "256":
        (tmp_path / "val_256").symlink_to(SAMPLES / "places365" / "val_large")
    items = places2.originals(tmp_path, partial=True, resolution=resolution)
    assert Counter(item.split for item in items) == {"train": 2, "test": 2}
    for item in items:
        made = item.make(np.random.default_rng(0))
        assert made.images["target"].shape == (256, 256, 3)
        assert 0.2 < made.condition["mask_ratio"] <= 0.5
