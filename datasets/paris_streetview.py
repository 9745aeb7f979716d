"""Paris StreetView: 256x256 squares of street pictures, each test picture with a mask of every kind and band.

Paper: C. Doersch et al., "What Makes Paris Look like Paris?", SIGGRAPH 2012; split of D. Pathak et al., "Context
Encoders", CVPR 2016. 14,900 training pictures, JPEG, 936x537; 100 test pictures, PNG, 227x227; 8 bits. There is no
public download and no licence: the authors give the files by mail, for research only, and nobody may pass them on.

Our reading, where DGFNet (Table 1) names the bands and no protocol: a training picture becomes its central square
(537x537, the same in every epoch because the built set is stored), a test picture stays whole, both at 256x256 by
Pillow's bicubic filter, which reduces the one and enlarges the other. Each test picture has six masks, irregular and
square in each band; the training pictures take kinds and bands in turn, the same as the tests', where RFR, on which
DGFNet is built, trains with free-form strokes of its own, 54 % on average: `generator` and `bands` choose others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.user_images import describe, list_images, read_rgb
from datasets.degradations import holes
from datasets.photographs.packaged import Photograph, check_least, photographs, random_crop

COUNTS = {"train": 14_900, "test": 100}  # pictures; DGFNet, Section 4.1
FOLDERS = {  # as the two archives unpack, and as some copies nest them
    "train": ("paris_train_original", "paris_train_original/paris_train_original"),
    "test": ("paris_eval_gt", "paris_eval/paris_eval_gt", "paris_eval_gt/paris_eval_gt"),
}
SMALLEST = {"train": holes.SIDE, "test": 200}  # pixels of the shorter side; a test picture has 227
KINDS = ("irregular", "square")  # of masks; DGFNet, Table 1
TERMS = "Google Street View: research only, no redistribution"


def pictures(root: Path, split: str, partial: bool) -> list[Path]:
    """List the pictures of a split in name order.

    Raises DataError when a test picture is not named NNN_im or, without `partial`, when the folder is missing or has
    not as many as the official split.
    """
    folders = [root / name for name in FOLDERS[split]]
    found = next((paths for folder in folders if folder.is_dir() and (paths := list_images(folder))), [])
    if not found and not partial:
        raise DataError(
            f"{root}: no pictures in {' or '.join(FOLDERS[split])}; {describe(root)}. Ask the authors of the split for "
            "the archive and unpack it there"
        )
    if strange := [path for path in found if split == "test" and not re.fullmatch(r"\d{3}_im", path.stem)]:
        raise DataError(f"{strange[0]}: a test picture is named 001_im to 100_im; move other files away")
    if len(found) != COUNTS[split] and not partial:
        raise DataError(
            f"{root}: {len(found)} pictures in split {split!r}, the official set has {COUNTS[split]}; unpack the whole "
            "archive, or give --partial to use what is there"
        )
    return found


def cover(
    target: np.ndarray,
    split: str,
    kind: str,
    band: str,
    masks: Path | None,
    generator: str,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict]:
    """Give a square (256, 256, 3) uint8 its mask. Returns the images by field and what the mask is."""
    shape = target.shape[:2]
    if masks is not None and kind == "irregular":
        mask, condition = holes.choose(rng, masks, shape, split, band)
    else:
        drawn_by = generator if kind == "irregular" else "square"
        mask, condition = holes.draw(rng, shape, drawn_by, holes.parse_band(band))
    return {"target": target, "mask": mask}, condition


def make_original(
    path: Path, split: str, kind: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> Made:
    """The central square of one file and its mask. Raises DataError for a picture that is too small."""
    image = read_rgb(path)
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST[split]:
        raise DataError(
            f"{path}: found {width}x{height} pixels, expected {'936x537' if split == 'train' else '227x227'}; "
            "take the file as the archive has it"
        )
    images, condition = cover(holes.central_square(image), split, kind, band, masks, generator, rng)
    return Made(images, {"stored_side": min(height, width)}, condition)


def make_offline(photograph: Photograph, kind: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """A random square of a training photograph, or the central square of another one at 256x256, and its mask."""
    image = photograph.load()
    if photograph.split == "train":
        target, (top, left) = random_crop(image, (holes.SIDE, holes.SIDE), rng)
        drawn = {"crop_top": top, "crop_left": left}
    else:
        target, drawn = holes.central_square(image), {"stored_side": min(image.shape[:2])}
    images, condition = cover(target, photograph.split, kind, band, None, generator, rng)
    return Made(images, drawn, condition)


def originals(
    root: Path,
    *,
    partial: bool = False,
    bands: Sequence[str] = holes.BANDS,
    generator: str = holes.DRAWN,
    masks: str | None = None,
) -> list[Item]:
    """List the pictures under `root`: one item a training picture, one a test picture, mask kind and band.

    Args:
        root: holds `paris_train_original` and `paris_eval_gt`, nested or not.
        partial: fewer pictures than the official count pass, and a split that is not there at all.
        bands: hole shares in percent.
        generator: what draws the irregular masks: deepfill, rfr or lbam.
        masks: a folder of mask files in place of drawn irregular masks.

    Raises:
        DataError: when the files are not the official ones.
        ParamsError: when an option is out of its range.
    """
    conditions = kinds_and_bands(bands)
    mask_folder = holes.folder_or_drawn(masks, generator, tuple(bands), holes.FREE_FORM)
    found = {split: pictures(root, split, partial) for split in COUNTS}
    if not any(found.values()):
        raise DataError(f"{root}: no pictures in either split; {describe(root)}. Check the path")
    if mask_folder:
        holes.check_folder(mask_folder, (holes.SIDE, holes.SIDE), [split for split in found if found[split]], bands)

    def item(path: Path, name: str, split: str, kind: str, band: str) -> Item:
        make = bind(make_original, path, split, kind, band, mask_folder, generator)
        return Item(name, split, make, path.relative_to(root).as_posix(), TERMS, (path,))

    train, test = found["train"], found["test"]
    return [
        *(item(path, path.stem, "train", *conditions[i % len(conditions)]) for i, path in enumerate(train)),
        *(item(path, f"{path.stem}-{kind}-{band}", "test", kind, band) for path in test for kind, band in conditions),
    ]


def offline(*, draws: int = 6, bands: Sequence[str] = holes.BANDS, generator: str = holes.DRAWN) -> list[Item]:
    """List squares of the photographs inside installed packages.

    Args:
        draws: squares of each training photograph, kinds and bands in turn; the others have one of each kind and band.
        bands: hole shares in percent.
        generator: what draws the irregular masks, as in `originals`.

    Raises:
        ParamsError: when an option is out of its range.
    """
    conditions = kinds_and_bands(bands)
    holes.check_generator(generator, tuple(bands), holes.FREE_FORM)
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
    """Every mask kind in every band. Raises ParamsError for a band that is none."""
    return [(kind, band) for band in holes.parse_bands(bands) for kind in KINDS]


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
