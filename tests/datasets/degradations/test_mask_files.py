"""Mask files: their split, their bands, and masks of which white is the known side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from datasets.degradations.mask_files import (
    check_mask_folder,
    choose_mask,
    read_mask_file,
    sort_mask_files,
    split_of,
)
from datasets.degradations.mask_generators import hole_share
from datasets.degradations.masks import parse_band

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"


def write(path: Path, share: float, size: int = 64, white: int = 255) -> Path:
    """Write a mask whose upper rows, a share of all, are white."""
    mask = np.zeros((size, size), np.uint8)
    mask[: round(share * size)] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def test_a_mask_file_is_resized_by_nearest_neighbour(tmp_path):
    path = write(tmp_path / "a.png", 0.25)
    mask = read_mask_file(path, (256, 256))
    assert mask.shape == (256, 256) and set(np.unique(mask)) == {0, 255}
    assert hole_share(mask) == 0.25 and (mask[:64] == 255).all()


def test_an_inverted_mask_is_refused(tmp_path):
    path = write(tmp_path / "a.png", 0.75)
    with pytest.raises(DataError) as error:
        read_mask_file(path, (64, 64))
    words = f"{path}: white covers 75.0% of the mask, expected more than 0.5% and up to 62.0%; its black covers 25.0%"
    assert words in str(error.value)
    assert "the mask looks inverted: white must be the hole" in str(error.value)


@pytest.mark.parametrize(("share", "message"), [(0.0, "a mask without a hole"), (1.0, "a mask that is all hole")])
def test_a_mask_of_one_value_is_refused_and_not_called_inverted(tmp_path, share, message):
    with pytest.raises(DataError, match=message) as error:
        read_mask_file(write(tmp_path / "a.png", share), (64, 64))
    assert "inverted" not in str(error.value)


def test_a_mask_is_called_inverted_only_if_its_inverse_is_in_the_band(tmp_path):
    path = write(tmp_path / "a.png", 0.75)
    with pytest.raises(DataError, match="looks inverted"):
        read_mask_file(path, (64, 64), (0.2, 0.3))
    with pytest.raises(DataError, match="take the file out"):
        read_mask_file(path, (64, 64), (0.3, 0.4))


def folder_of_masks(folder: Path, share: float = 0.25, count: int = 40) -> Path:
    for i in range(count):
        write(folder / f"{i:05d}.png", share if i % 2 else share + 0.1)
    return folder


def test_files_are_sorted_by_their_share_and_are_in_one_split(tmp_path):
    by_split_and_band = sort_mask_files(folder_of_masks(tmp_path / "masks"), (64, 64))
    assert {band for _, band in by_split_and_band} == {"20-30", "30-40"}
    for (split, band), paths in by_split_and_band.items():
        for path in paths:
            assert split_of(path) == split
            low, high = parse_band(band)
            assert low < hole_share(read_mask_file(path, (64, 64))) <= high
    every = [path for paths in by_split_and_band.values() for path in paths]
    assert len(every) == len(set(every)) == 40


def test_the_12000_published_files_are_split_in_the_stated_shares():
    splits = [split_of(Path(f"{i:05d}.png")) for i in range(12_000)]
    shares = [splits.count(split) / len(splits) for split in ("train", "val", "test")]
    assert shares == pytest.approx([0.5, 0.1, 0.4], abs=0.02)


def test_a_file_is_chosen_from_the_requested_split_and_band(tmp_path):
    folder = folder_of_masks(tmp_path / "masks")
    for seed in range(10):
        mask, about = choose_mask(np.random.default_rng(seed), folder, (64, 64), "test", "20-30")
        assert split_of(folder / str(about["mask_file"])) == "test"
        assert about["mask_band"] == "20-30" and about["mask_generator"] == "file"
        assert about["mask_ratio"] == np.mean(mask == 255) == 0.25


def test_a_folder_without_the_requested_masks_is_refused(tmp_path):
    folder = folder_of_masks(tmp_path / "masks")
    check_mask_folder(folder, (64, 64), ("train", "test"), ("20-30",))
    with pytest.raises(DataError, match="no mask of 40-50 % for split 'train'"):
        check_mask_folder(folder, (64, 64), ("train",), ("20-30", "40-50"))
    with pytest.raises(ParamsError, match="found '25-35', mask files are sorted by 1-10, 10-20"):
        check_mask_folder(folder, (64, 64), ("train",), ("25-35",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no mask files"):
        check_mask_folder(tmp_path / "empty", (64, 64), ("train",), ("20-30",))


def test_a_folder_of_inverted_masks_is_refused(tmp_path):
    with pytest.raises(DataError, match="the mask looks inverted"):
        sort_mask_files(folder_of_masks(tmp_path / "masks", share=0.7), (64, 64))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample files")
def test_the_sample_masks_have_white_holes():
    folder = SAMPLES / "nvidia_masks" / "mask" / "testing_mask_dataset"
    shares = [hole_share(read_mask_file(path, (256, 256))) for path in sorted(folder.iterdir())]
    assert shares == pytest.approx([0.337, 0.493], abs=0.005)
