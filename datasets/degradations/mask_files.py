"""Masks from files: the NVIDIA test masks of Liu et al., "Image Inpainting for Irregular Holes Using Partial
Convolutions", ECCV 2018, or a folder of files like them, white = hole.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from bench.contracts import DataError, ParamsError
from bench.data.image_folders import list_images
from bench.data.user_images import read_mask
from datasets.degradations.mask_generators import DEFAULT_GENERATOR, GENERATORS, Band, hole_share
from datasets.degradations.masks import check_generator, mask_condition, parse_band

FILE_BANDS = ("1-10", "10-20", "20-30", "30-40", "40-50", "50-60")
"""The classes of the NVIDIA test masks, in percent."""
PLAUSIBLE_SHARES = (0.005, 0.62)
"""Hole shares of any mask file: 1 to 60 %, and a little more because resizing changes them."""


def read_mask_file(path: Path, shape: tuple[int, int], band: Band = PLAUSIBLE_SHARES) -> np.ndarray:
    """Read a mask file, resized by nearest neighbour.

    Args:
        path: an image, white = hole.
        shape: (H, W) of the result.
        band: the allowed hole shares at this size.

    Returns:
        (H, W) uint8, 255 = hole, 0 = known.

    Raises:
        DataError: the hole share is outside the band; the message says if the inverted mask would fit.
    """
    mask = read_mask(path)
    if mask.shape != shape:
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST)
    share = hole_share(mask)
    if not band[0] < share <= band[1]:
        problem = (
            f"{path}: white covers {share:.1%} of the mask, expected more than {band[0]:.1%} and up to {band[1]:.1%}"
        )
        if band[0] < 1 - share <= band[1]:
            raise DataError(
                f"{problem}; its black covers {1 - share:.1%}, so the mask looks inverted: white must be the hole. The "
                "NVIDIA training archive is inverted; use its test archive (mask/testing_mask_dataset)"
            )
        raise DataError(f"{problem}; take the file out or check that it is a mask")
    return mask


def split_of(path: Path) -> str:
    """Return the split of a mask file by its name alone: half of the files train, a tenth val, the rest test.

    So no mask is in two splits. Our reading: the papers train and test on the same 12,000 files.
    """
    share = zlib.crc32(path.name.encode()) % 10
    return "train" if share < 5 else "val" if share < 6 else "test"


@lru_cache(maxsize=4)
def sort_mask_files(folder: Path, shape: tuple[int, int]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Sort a folder of masks by split and by the band of the measured hole share; file numbers are ignored.

    Args:
        folder: of mask files: `mask/testing_mask_dataset` of the NVIDIA test archive.
        shape: (H, W) at which the share is measured.

    Returns:
        the files by (split, band), in name order; pairs without files are absent, and so are files that this size moves
        just outside all bands.

    Raises:
        DataError: files are missing, or one is inverted or has a share outside PLAUSIBLE_SHARES.
    """
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{folder}: no mask files, expected those of mask/testing_mask_dataset")
    by_split_and_band: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        share = hole_share(read_mask_file(path, shape))
        for band in FILE_BANDS:
            low, high = parse_band(band)
            if low < share <= high:
                by_split_and_band.setdefault((split_of(path), band), []).append(path)
    return {key: tuple(files) for key, files in by_split_and_band.items()}


def checked_mask_folder(
    masks: str | None, generator: str, bands: tuple[str, ...], known: tuple[str, ...] = tuple(GENERATORS)
) -> Path | None:
    """Check the options for masks and return the folder of mask files, or None if a generator draws them.

    Args:
        masks: the option with the folder.
        generator: the option with the generator.
        bands: the option with the bands.
        known: the generators that the dataset accepts.

    Raises:
        ParamsError: an unknown generator or an impossible band; both a folder and a generator.
    """
    if not masks:
        check_generator(generator, bands, known)
        return None
    if generator != DEFAULT_GENERATOR:
        raise ParamsError(f"generator: found {generator!r} and masks from {masks}, expected one of the two")
    return Path(masks)


def check_mask_folder(folder: Path, shape: tuple[int, int], splits: Sequence[str], bands: Sequence[str]) -> None:
    """Raise DataError for a band without mask files in a split, ParamsError for a band that is not in FILE_BANDS."""
    for band in bands:
        if band not in FILE_BANDS:
            raise ParamsError(f"bands: found {band!r}, mask files are sorted by {', '.join(FILE_BANDS)}")
    files = sort_mask_files(folder, shape)
    for split in splits:
        if missing := [band for band in bands if (split, band) not in files]:
            raise DataError(
                f"{folder}: no mask of {', '.join(missing)} % for split {split!r} (files are split by name); "
                "add masks or ask for other bands"
            )


def choose_mask(
    rng: np.random.Generator, folder: Path, shape: tuple[int, int], split: str, band: str
) -> tuple[np.ndarray, dict[str, str | float]]:
    """Choose a mask file of a split and a band at random.

    Args:
        rng: the item's own generator.
        folder: of mask files.
        shape: (H, W) of the mask.
        split: "train", "val" or "test".
        band: one of FILE_BANDS.

    Returns:
        as for `draw_mask`; the conditions also have the file's name, mask_file.

    Raises:
        DataError: the folder has no mask of this split and band.
    """
    files = sort_mask_files(folder, shape).get((split, band), ())
    if not files:
        raise DataError(f"{folder}: no mask of {band} % for split {split!r}")
    path = files[int(rng.integers(len(files)))]
    mask = read_mask_file(path, shape, parse_band(band))
    condition = mask_condition("irregular", "file", hole_share(mask), parse_band(band))
    return mask, condition | {"mask_file": path.name}
