"""Paris StreetView: 256x256 squares of street pictures, each test picture with a mask of every kind and band.

Paper: C. Doersch et al., "What Makes Paris Look like Paris?", SIGGRAPH 2012; split of D. Pathak et al., "Context
Encoders", CVPR 2016. 14,900 training pictures, JPEG, 936x537; 100 test pictures, PNG, 227x227; 8 bits. There is no
public download and no licence: the authors send the files by mail, for research only and without redistribution.

Our reading, as DGFNet (Table 1) names the bands but no protocol: a training picture is reduced to its central square
(537x537, the same in every epoch, because the built set is stored), a test picture is used whole. Both are resized to
256x256 by Pillow's bicubic filter. Each test picture has six masks, irregular and square in each band. The training
pictures alternate between the same kinds and bands. RFR, on which DGFNet is based, trains with its own free-form
strokes, 54 % on average: the options `generator` and `bands` select others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.image_folders import describe, list_images
from bench.data.user_images import read_rgb
from bench.names import as_name
from datasets.degradations.mask_files import check_mask_folder, checked_mask_folder, choose_mask
from datasets.degradations.mask_generators import DEFAULT_GENERATOR, FREE_FORM, SIDE
from datasets.degradations.masks import DEFAULT_BANDS, check_generator, draw_mask, parse_band, parse_bands
from datasets.photographs.crops import central_square, random_crop
from datasets.photographs.packaged import Photograph, photographs
from datasets.photographs.stand_in import check_least

COUNTS = {"train": 14_900, "test": 100}
"""Pictures; DGFNet, Section 4.1."""
FOLDERS = {  # as unpacked from the two archives, and as nested in some copies
    "train": ("paris_train_original", "paris_train_original/paris_train_original"),
    "test": ("paris_eval_gt", "paris_eval/paris_eval_gt", "paris_eval_gt/paris_eval_gt"),
}
MIN_SIDE = {"train": SIDE, "test": 200}
"""Smallest shorter side in pixels; test pictures have 227."""
MASK_KINDS = ("irregular", "square")
"""DGFNet, Table 1."""
TERMS = "Google Street View: research only, no redistribution"


def pictures(root: Path, split: str, partial: bool) -> list[Path]:
    """List the pictures of a split in name order.

    Raises:
        DataError: a test picture is not named NNN_im; unless `partial`, the folder is missing or the number of pictures
            is not the official one.
    """
    folders = [root / name for name in FOLDERS[split]]
    paths = next((images for folder in folders if folder.is_dir() and (images := list_images(folder))), [])
    if not paths and not partial:
        raise DataError(
            f"{root}: no pictures in {' or '.join(FOLDERS[split])}; {describe(root)}. Ask the authors of the split for "
            "the archive and unpack it there"
        )
    if misnamed := [path for path in paths if split == "test" and not re.fullmatch(r"\d{3}_im", path.stem)]:
        raise DataError(
            f"{misnamed[0]}: found this name, expected 001_im to 100_im for test pictures; move other files away"
        )
    if len(paths) != COUNTS[split] and not partial:
        raise DataError(
            f"{root}: {len(paths)} pictures in split {split!r}, the official set has {COUNTS[split]}; unpack the whole "
            "archive, or give --partial to use the pictures that are there"
        )
    return paths


def cover(
    target: np.ndarray,
    split: str,
    kind: str,
    band: str,
    masks: Path | None,
    generator: str,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict]:
    """Make a mask for a square.

    Args:
        target: (256, 256, 3) uint8.
        split: selects the mask files.
        kind: "irregular" or "square".
        band: percent of hole pixels, like "20-30".
        masks: a folder of files for irregular masks; None draws them.
        generator: draws irregular masks.
        rng: the item's own generator.

    Returns:
        the images by field, and the conditions of the mask.
    """
    shape = target.shape[:2]
    if masks is not None and kind == "irregular":
        mask, condition = choose_mask(rng, masks, shape, split, band)
    else:
        name = generator if kind == "irregular" else "square"
        mask, condition = draw_mask(rng, shape, name, parse_band(band))
    return {"target": target, "mask": mask}, condition


def make_original(
    path: Path, split: str, kind: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> Made:
    """Make one item: the central square of the file `path`, and its mask. Other arguments as in `cover`.

    Raises:
        DataError: the picture is too small or damaged.
    """
    image = read_rgb(path)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE[split]:
        raise DataError(
            f"{path}: found {width}x{height} pixels, expected {'936x537' if split == 'train' else '227x227'}; "
            "use the file as it is in the archive"
        )
    images, condition = cover(central_square(image, SIDE), split, kind, band, masks, generator, rng)
    return Made(images, {"stored_side": min(height, width)}, condition)


def make_offline(photograph: Photograph, kind: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a random square of a training photograph, else the central square, and a mask.

    Arguments as in `cover`.
    """
    image = photograph.load()
    if photograph.split == "train":
        target, (top, left) = random_crop(image, (SIDE, SIDE), rng)
        drawn = {"crop_top": top, "crop_left": left}
    else:
        target, drawn = central_square(image, SIDE), {"stored_side": min(image.shape[:2])}
    images, condition = cover(target, photograph.split, kind, band, None, generator, rng)
    return Made(images, drawn, condition)


def originals(
    root: Path,
    *,
    partial: bool = False,
    bands: Sequence[str] = DEFAULT_BANDS,
    generator: str = DEFAULT_GENERATOR,
    masks: str | None = None,
) -> list[Item]:
    """List the pictures under `root`: one item per training picture, and per test picture, mask kind and band.

    Args:
        root: with `paris_train_original` and `paris_eval_gt`, nested or not.
        partial: accept fewer pictures than the official count, and a missing split.
        bands: hole shares in percent.
        generator: of the irregular masks: deepfill, rfr or lbam.
        masks: a folder of mask files, instead of drawn irregular masks.

    Raises:
        DataError: the files are not the official ones.
        ParamsError: an option is out of its range.
    """
    conditions = kinds_and_bands(bands)
    mask_folder = checked_mask_folder(masks, generator, tuple(bands), FREE_FORM)
    listed = {split: pictures(root, split, partial) for split in COUNTS}
    if not any(listed.values()):
        raise DataError(f"{root}: no pictures in either split; {describe(root)}. Check the path")
    if mask_folder:
        check_mask_folder(mask_folder, (SIDE, SIDE), [split for split in listed if listed[split]], bands)

    def item(path: Path, name: str, split: str, kind: str, band: str) -> Item:
        make = bind(make_original, path, split, kind, band, mask_folder, generator)
        return Item(name, split, make, path.relative_to(root).as_posix(), TERMS, (path,))

    train, test = listed["train"], listed["test"]
    return [
        *(item(path, as_name(path.stem), "train", *conditions[i % len(conditions)]) for i, path in enumerate(train)),
        *(item(path, f"{path.stem}-{kind}-{band}", "test", kind, band) for path in test for kind, band in conditions),
    ]


def offline(*, draws: int = 6, bands: Sequence[str] = DEFAULT_BANDS, generator: str = DEFAULT_GENERATOR) -> list[Item]:
    """List squares of the photographs inside installed packages.

    Args:
        draws: squares per training photograph, alternating between kinds and bands; other photographs have one square
            per kind and band.
        bands: hole shares in percent.
        generator: of the irregular masks, as for `originals`.

    Raises:
        ParamsError: an option is out of its range.
    """
    conditions = kinds_and_bands(bands)
    check_generator(generator, tuple(bands), FREE_FORM)
    check_least("draws", draws, 1)
    items = []
    for split in ("train", "val", "test"):
        for photograph in photographs(split):
            for i in range(draws if split == "train" else len(conditions)):
                kind, band = conditions[i % len(conditions)]
                name = f"{photograph.name}-{i:03d}" if split == "train" else f"{photograph.name}-{kind}-{band}"
                make = bind(make_offline, photograph, kind, band, generator)
                items.append(Item(name, split, make, photograph.source, photograph.licence))
    return items


def kinds_and_bands(bands: Sequence[str]) -> list[tuple[str, str]]:
    """List all pairs of a mask kind and a band. Raises ParamsError for a wrong band."""
    return [(kind, band) for band in parse_bands(bands) for kind in MASK_KINDS]


dataset = Dataset(
    title="Paris StreetView",
    tasks=("inpaint",),
    fields=("target", "mask"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "No public download: ask the authors named at github.com/pathak22/context-encoder for paris_train_original.zip "
        "and paris_eval_75876.zip. C. Doersch et al., What Makes Paris Look like Paris?, SIGGRAPH 2012; split of D. "
        f"Pathak et al., Context Encoders, CVPR 2016. {TERMS}."
    ),
)
