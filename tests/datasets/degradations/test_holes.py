"""The masks: the statistics of each generator, bands, files, and which way round white is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from datasets.degradations import holes

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"

# Of 256x256 masks: mean, deviation, least and largest hole share, each with its tolerance for 500 draws. The first 3
# were measured on the authors' own generators, over 1,000 or more draws; the boxes follow from geometry.
STATISTICS = {
    "deepfill": ((0.151, 0.015), (0.080, 0.01), (0.0, 0.05), (0.40, 0.15)),
    "rfr": ((0.536, 0.03), (0.236, 0.02), (0.0, 0.03), (0.92, 0.04)),
    "lbam": ((0.115, 0.015), (0.06, 0.015), (0.01, 0.03), (0.36, 0.1)),
    "edgeconnect-box": ((0.25, 0), (0, 0), (0.25, 0), (0.25, 0)),
    "ca-box": ((0.1914, 0.006), (0.0236, 0.004), (0.1406, 0.01), (0.25, 0.01)),
    "square": ((0.35, 0.015), (0.0866, 0.008), (0.2, 0.01), (0.5, 0.01)),
}


def write(path: Path, share: float, size: int = 64, white: int = 255) -> Path:
    """Write a mask whose upper rows, `share` of all, are white."""
    mask = np.zeros((size, size), np.uint8)
    mask[: round(share * size)] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


# Generators ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", holes.GENERATORS)
def test_a_generator_has_its_authors_statistics(name):
    rng = np.random.default_rng(0)
    shares = [holes.ratio_of(holes.GENERATORS[name](rng, 256, 256)) for _ in range(500)]
    found = np.mean(shares), np.std(shares), np.min(shares), np.max(shares)
    for value, (expected, tolerance) in zip(found, STATISTICS[name], strict=True):
        assert value == pytest.approx(expected, abs=tolerance + 1e-9)


def test_deepfills_masks_fall_into_bands_as_the_authors_do():
    rng = np.random.default_rng(1)
    shares = [holes.ratio_of(holes.deepfill(rng, 256, 256)) for _ in range(1000)]
    found = np.histogram(shares, bins=np.arange(0, 0.51, 0.1))[0] / len(shares)
    assert found == pytest.approx([0.31, 0.42, 0.23, 0.04, 0.002], abs=0.05)


def test_rfrs_masks_are_mostly_far_beyond_the_bands_of_the_tests():
    rng = np.random.default_rng(1)
    assert np.mean([holes.ratio_of(holes.rfr(rng, 256, 256)) > 0.6 for _ in range(500)]) == pytest.approx(
        0.47, abs=0.07
    )


@pytest.mark.parametrize("name", holes.GENERATORS)
@pytest.mark.parametrize("shape", [(256, 256), (101, 160)])
def test_a_generator_gives_0_and_255_in_the_shape_asked_and_one_seed_one_mask(name, shape):
    first, second = (holes.GENERATORS[name](np.random.default_rng(3), *shape) for _ in range(2))
    assert first.shape == shape and first.dtype == np.uint8
    assert set(np.unique(first)) <= {0, 255}
    assert np.array_equal(first, second)


def test_lengths_grow_with_the_image():
    means = [
        np.mean([holes.ratio_of(holes.deepfill(np.random.default_rng(seed), side, side)) for seed in range(200)])
        for side in (128, 256)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.02)


# Bands --------------------------------------------------------------------------------------------------------------


REACHED = {  # the bands that a generator reaches
    "deepfill": ("10-20", *holes.BANDS, "50-60"),
    "rfr": ("10-20", *holes.BANDS, "50-60"),
    "lbam": ("10-20", "20-30"),
    "edgeconnect-box": ("20-30",),
    "ca-box": ("10-20", "20-30"),
    "square": ("10-20", *holes.BANDS, "50-60"),
}


@pytest.mark.parametrize(("generator", "band"), [(name, band) for name, bands in REACHED.items() for band in bands])
def test_a_drawn_mask_lies_in_its_band(generator, band):
    low, high = holes.parse_band(band)
    rng = np.random.default_rng(0)
    for _ in range(10):
        mask, about = holes.draw(rng, (256, 256), generator, (low, high))
        assert set(np.unique(mask)) == {0, 255} and low < np.mean(mask == 255) <= high
        assert about["mask_ratio"] == pytest.approx(np.mean(mask == 255), abs=1e-6)
        assert (about["mask_generator"], about["mask_band"]) == (generator, band)
        assert about["mask_kind"] == ("irregular" if generator in ("deepfill", "rfr", "lbam") else "square")


@pytest.mark.parametrize(("generator", "band"), [("lbam", "40-50"), ("edgeconnect-box", "30-40"), ("ca-box", "30-40")])
def test_a_band_that_a_generator_does_not_reach_is_told_once_and_soon(generator, band):
    words = rf"bands: no {generator} mask of 256x256 pixels has a hole share of {band} % \(1,000 were drawn\)"
    with pytest.raises(ParamsError, match=words):
        holes.check_generator(generator, ("20-30", band))


@pytest.mark.parametrize(
    ("generator", "expected"),
    [
        ("deepfill", "ce7fe6b900871af31847d4bdbfa58de909ac643bf0753b16d1203a12af9a6971"),
        ("square", "385c16669ee8808ab6c4c6383174c4bb5bc98efaec8ced5b7bbecd4fa2ec809c"),
    ],
)
def test_the_masks_of_every_stand_in_stay_what_they_were(generator, expected):
    """Another mask under the same seed would move every number that was measured with it."""
    digest = hashlib.sha256()
    for band in holes.BANDS:
        for seed in range(5):
            digest.update(holes.draw(np.random.default_rng(seed), (256, 256), generator, holes.parse_band(band))[0])
    assert digest.hexdigest() == expected


def test_a_square_mask_is_one_whole_square_of_the_published_side():
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(50):
        mask, _ = holes.draw(rng, (256, 256), "square", (0.2, 0.3))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert len(rows) == len(columns)
        assert 115 <= len(rows) <= 140  # 256 sqrt(0.2) and 256 sqrt(0.3)
        assert (mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 40


def test_a_band_is_open_below_and_closed_above():
    assert holes.draw(np.random.default_rng(0), (10, 10), "square", (0.24, 0.25))[1]["mask_ratio"] == 0.25
    with pytest.raises(ParamsError, match=r"no square mask of 10x10 pixels has a hole share of 25-26 %"):
        holes.draw(np.random.default_rng(0), (10, 10), "square", (0.25, 0.26))


@pytest.mark.parametrize("text", ["20", "30-20", "20-20", "a-b", "20-101", "0.2-0.3", 20, None])
def test_a_band_that_is_none_is_told(text):
    with pytest.raises(ParamsError, match="expected two whole percentages like '20-30'"):
        holes.parse_bands([text])


def test_bands_must_be_a_list():
    with pytest.raises(ParamsError, match="expected a list like"):
        holes.parse_bands("20-30")
    assert holes.parse_bands(["20-30", "5-10"]) == ("20-30", "5-10")


def test_an_unknown_generator_is_told():
    with pytest.raises(ParamsError, match="generator: found 'cabox'; the nearest are: ca-box"):
        holes.draw(np.random.default_rng(0), (64, 64), "cabox", (0.2, 0.3))
    with pytest.raises(ParamsError, match="generator: found 'zzz'; the nearest are: deepfill, rfr, lbam, edgeconnect"):
        holes.check_generator("zzz", ("20-30",))
    with pytest.raises(ParamsError, match="generator: found 'ca-box'; the nearest are: deepfill, rfr, lbam"):
        holes.check_generator("ca-box", ("20-30",), holes.FREE_FORM)


# Files --------------------------------------------------------------------------------------------------------------


def test_a_mask_file_is_resized_by_nearest_neighbour(tmp_path):
    path = write(tmp_path / "a.png", 0.25)
    mask = holes.from_file(path, (256, 256))
    assert mask.shape == (256, 256) and set(np.unique(mask)) == {0, 255}
    assert holes.ratio_of(mask) == 0.25 and (mask[:64] == 255).all()


def test_an_inverted_mask_is_told(tmp_path):
    path = write(tmp_path / "a.png", 0.75)
    with pytest.raises(DataError) as error:
        holes.from_file(path, (64, 64))
    words = f"{path}: white covers 75.0% of the mask, expected more than 0.5% and up to 62.0%; its black covers 25.0%"
    assert words in str(error.value)
    assert "the mask looks inverted: white must be the hole" in str(error.value)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_mask_of_one_value_is_told_and_not_called_inverted(tmp_path, share):
    with pytest.raises(DataError, match="take the file out") as error:
        holes.from_file(write(tmp_path / "a.png", share), (64, 64))
    assert "inverted" not in str(error.value)


def test_the_inverse_is_named_only_where_it_fits_the_band(tmp_path):
    path = write(tmp_path / "a.png", 0.75)
    with pytest.raises(DataError, match="looks inverted"):
        holes.from_file(path, (64, 64), (0.2, 0.3))
    with pytest.raises(DataError, match="take the file out"):
        holes.from_file(path, (64, 64), (0.3, 0.4))


def folder_of_masks(folder: Path, share: float = 0.25, count: int = 40) -> Path:
    for i in range(count):
        write(folder / f"{i:05d}.png", share if i % 2 else share + 0.1)
    return folder


def test_files_are_sorted_by_their_share_and_never_in_two_splits(tmp_path):
    found = holes.sorted_files(folder_of_masks(tmp_path / "masks"), (64, 64))
    assert {band for _, band in found} == {"20-30", "30-40"}
    for (split, band), paths in found.items():
        for path in paths:
            assert holes.split_of(path) == split
            low, high = holes.parse_band(band)
            assert low < holes.ratio_of(holes.from_file(path, (64, 64))) <= high
    every = [path for paths in found.values() for path in paths]
    assert len(every) == len(set(every)) == 40


def test_the_published_12000_files_split_by_name_in_the_shares_promised():
    splits = [holes.split_of(Path(f"{i:05d}.png")) for i in range(12_000)]
    shares = [splits.count(split) / len(splits) for split in ("train", "val", "test")]
    assert shares == pytest.approx([0.5, 0.1, 0.4], abs=0.02)


def test_a_file_is_chosen_from_the_split_and_the_band_asked(tmp_path):
    folder = folder_of_masks(tmp_path / "masks")
    for seed in range(10):
        mask, about = holes.choose(np.random.default_rng(seed), folder, (64, 64), "test", "20-30")
        assert holes.split_of(folder / str(about["mask_file"])) == "test"
        assert about["mask_band"] == "20-30" and about["mask_generator"] == "file"
        assert about["mask_ratio"] == np.mean(mask == 255) == 0.25


def test_a_folder_that_cannot_serve_is_told(tmp_path):
    folder = folder_of_masks(tmp_path / "masks")
    holes.check_folder(folder, (64, 64), ("train", "test"), ("20-30",))
    with pytest.raises(DataError, match="no mask of 40-50 % for split 'train'"):
        holes.check_folder(folder, (64, 64), ("train",), ("20-30", "40-50"))
    with pytest.raises(ParamsError, match="found '25-35', mask files are sorted by 1-10, 10-20"):
        holes.check_folder(folder, (64, 64), ("train",), ("25-35",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no mask files"):
        holes.check_folder(tmp_path / "empty", (64, 64), ("train",), ("20-30",))


def test_a_folder_of_inverted_masks_is_told(tmp_path):
    with pytest.raises(DataError, match="the mask looks inverted"):
        holes.sorted_files(folder_of_masks(tmp_path / "masks", share=0.7), (64, 64))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample files")
def test_the_sample_masks_have_white_holes():
    folder = SAMPLES / "nvidia_masks" / "mask" / "testing_mask_dataset"
    shares = [holes.ratio_of(holes.from_file(path, (256, 256))) for path in sorted(folder.iterdir())]
    assert shares == pytest.approx([0.337, 0.493], abs=0.005)


# Square images ------------------------------------------------------------------------------------------------------


def test_the_central_square_is_central():
    image = np.zeros((256, 400, 3), np.uint8)
    image[:, 72:328] = 200
    assert (holes.central_square(image) == 200).all()


@pytest.mark.parametrize("side", [227, 537])
def test_the_central_square_keeps_a_smooth_picture(side):
    ramp = np.linspace(20, 230, side)
    image = np.repeat(np.add.outer(ramp / 2, ramp / 2)[..., None], 3, axis=2)
    made = holes.central_square(np.rint(image).astype(np.uint8))
    expected = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    assert made.shape == (256, 256, 3) and made.dtype == np.uint8
    assert np.abs(made - expected).mean() < 0.5 and np.abs(made - expected).max() < 2


def test_reducing_does_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(holes.central_square(stripes).astype(int) - 127.5)[:, 4:-4].max() < 2
