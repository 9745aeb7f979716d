"""Places2 (Places365): 256x256 squares of scenes, blurred as MRFNet does and masked as DFFNet and DGFNet do.

Paper: B. Zhou et al., "Places: A 10 Million Image Database for Scene Recognition", TPAMI 2018. JPEG, 8 bits, 365
categories: `data_large` (short side 512 as a rule) and `data_256` (256x256), two or three folders deep. Terms: research
and education only, the images stay their owners'.

Our reading: tested on the validation images (`val_large`), as the inpainting papers do. Each picture becomes its
central square at 256x256; the blurred input is made from that square, and each has one irregular mask, the bands in
turn. Training images have masks of the same bands as the tests, where DFFNet's code trains with DeepFill v2's strokes
and a box over each other (31 % on average), and RFR with strokes of its own (54 %): `generator` and `bands` choose
others, though none draws that union.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made, ParamsError
from bench.data.user_images import EXTENSIONS, describe, read_rgb, require_folder
from datasets.degradations import holes
from datasets.degradations.blur import draw_kernel_blur
from datasets.photographs.packaged import Photograph, random_crop, stand_in

COUNTS = {"train": 1_803_460, "test": 36_500}  # the standard set; its page and file lists
CHALLENGE = 8_026_628  # training images of the challenge set, which contains the standard one
RESOLUTIONS = ("large", "256")
TRAIN_FOLDERS = ("data_{}", "data_{}_standard", "data_{}_challenge")  # as the archives unpack; as torchvision renames
LISTS = {  # official file lists and their MD5
    "places365_train_standard.txt": "30f37515461640559006b8329efbed1a",
    "places365_train_challenge.txt": "b2931dc997b8c33c27e7329c073a6b57",
    "places365_val.txt": "e9f2fd57bfd9d07630173f4e8708e4b1",
}
TERMS = "Places terms: research and education only"


def train_folder(root: Path, resolution: str) -> Path:
    """The one folder of training images, there or not. Raises DataError when there are several."""
    names = [name.format(resolution) for name in TRAIN_FOLDERS]
    found = [root / name for name in names if (root / name).is_dir()]
    if len(found) > 1:
        raise DataError(
            f"{root}: found {' and '.join(path.name for path in found)}, expected one; move the others away"
        )
    return found[0] if found else root / names[0]


def walk(folder: Path) -> list[str]:
    """List the images under `folder`, on all levels, as sorted relative names; hidden files are skipped.

    A folder that is not there has none.
    """
    found: list[str] = []
    for parent, _, files in os.walk(folder):
        prefix = Path(parent).relative_to(folder).as_posix()
        start = "" if prefix == "." else f"{prefix}/"
        found += [start + name for name in files if name[0] != "." and name.lower().endswith(EXTENSIONS)]
    return sorted(found)


def train_images(folder: Path) -> list[str]:
    """List <letter>/<category>[/<sub-category>]/NNNNNNNN.jpg. Raises DataError for a file that lies anywhere else."""
    names = walk(folder)
    for name in names:
        parts = name.split("/")
        if len(parts) not in (3, 4) or len(parts[0]) != 1:
            raise DataError(
                f"{folder / name}: a training image lies in <letter>/<category>[/<sub-category>]/ of {folder.name}; "
                "unpack the archive again, without a further folder between"
            )
    return names


def check_count(folder: Path, split: str, found: int, expected: Sequence[int]) -> None:
    """Raise DataError when a split has not one of the expected counts."""
    if found not in expected:
        raise DataError(
            f"{folder}: {found} images in split {split!r}, the official set has {' or '.join(map(str, expected))}; "
            f"{describe(folder.parent)}. Unpack the whole archive, set resolution to the one you have, or give "
            "--partial to use what is there"
        )


def check_list(root: Path, name: str, found: Sequence[str], partial: bool) -> None:
    """Compare a split with its official list, `name` in `root` or in `root/meta`, where the user has it.

    Raises DataError when the list is not the official one, when a file is not on it, or, without `partial`, when a file
    of the list is missing.
    """
    path = next((path for path in (root / name, root / "meta" / name) if path.is_file()), None)
    if path is None:
        return
    text = path.read_bytes()
    if (md5 := hashlib.md5(text, usedforsecurity=False).hexdigest()) != LISTS[name]:
        raise DataError(f"{path}: found MD5 {md5}, expected {LISTS[name]}; fetch the official list again or remove it")
    listed = {line.split()[0].lstrip("/") for line in text.decode().splitlines() if line.strip()}
    if strange := sorted(set(found) - listed):
        raise DataError(f"{root}: {len(strange)} files are not in {name}; the first is {strange[0]}; move them away")
    if (missing := sorted(listed - set(found))) and not partial:
        raise DataError(f"{root}: {len(missing)} files of {name} are missing; the first is {missing[0]}; unpack again")


def spread(names: Sequence[str], count: int | None, option: str) -> list[str]:
    """Take `count` of the names, evenly spaced; None takes all. Raises ParamsError for more than there are."""
    if count is None or not names:
        return list(names)
    if not 1 <= count <= len(names):
        raise ParamsError(f"{option}: found {count}, expected 1 to {len(names)}, the images that are there")
    return [names[i * len(names) // count] for i in range(count)]


# Pixels ---------------------------------------------------------------------------------------------------------------


def degrade(
    target: np.ndarray, split: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict, dict]:
    """Blur and mask a square.

    Args:
        target: (256, 256, 3) uint8.
        band: percent of hole pixels, like "20-30".
        masks: a folder of mask files, of which those of `split` are taken; None draws a mask.
        generator: what draws it, a name of `_masks.GENERATORS`.

    Returns:
        the images by field, what the blur drew, and what the mask is.
    """
    shape = target.shape[:2]
    if masks is None:
        mask, condition = holes.draw(rng, shape, generator, holes.parse_band(band))
    else:
        mask, condition = holes.choose(rng, masks, shape, split, band)
    blurred, drawn = draw_kernel_blur(target, rng)
    return {"target": target, "blurred": blurred, "mask": mask}, drawn, condition


def make_original(
    path: Path, split: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> Made:
    """The central square of one file, blurred and masked. Raises DataError for a picture below 256 pixels."""
    image = read_rgb(path)
    if min(image.shape[:2]) < holes.SIDE:
        raise DataError(
            f"{path}: found {image.shape[1]}x{image.shape[0]} pixels, expected at least {holes.SIDE} on both sides; "
            "take the file as the archive has it"
        )
    images, drawn, condition = degrade(holes.central_square(image), split, band, masks, generator, rng)
    return Made(images, drawn, condition)


def make_offline(photograph: Photograph, band: str, generator: str, rng: np.random.Generator) -> Made:
    """A random 256x256 square of a photograph, blurred and masked."""
    target, (top, left) = random_crop(photograph.load(), (holes.SIDE, holes.SIDE), rng)
    images, drawn, condition = degrade(target, photograph.split, band, None, generator, rng)
    return Made(images, drawn | {"crop_top": top, "crop_left": left}, condition)


# Items ----------------------------------------------------------------------------------------------------------------


def originals(
    root: Path,
    *,
    partial: bool = False,
    resolution: str = "large",
    bands: Sequence[str] = holes.BANDS,
    generator: str = holes.DRAWN,
    masks: str | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
) -> list[Item]:
    """List the training and the validation images (split test) under `root`.

    Args:
        root: holds `data_large` (or `data_large_standard`, `data_large_challenge`) and `val_large`; or these with 256.
        partial: fewer images than the official count pass, and a split that is not there at all.
        resolution: "large" or "256", which of the two sizes to read.
        bands: hole shares in percent, one to an image in turn.
        generator: what draws the masks: deepfill, rfr, lbam, edgeconnect-box, ca-box or square.
        masks: a folder of mask files in place of drawn masks.
        num_train, num_test: how many images to take, evenly spaced over the sorted files; None takes all.

    Raises:
        DataError: when the files are not the official ones.
        ParamsError: when an option is out of its range.
    """
    bands = holes.parse_bands(bands)
    if resolution not in RESOLUTIONS:
        raise ParamsError(f"resolution: found {resolution!r}, expected one of {', '.join(RESOLUTIONS)}")
    mask_folder = holes.folder_or_drawn(masks, generator, bands)
    folders = {"train": train_folder(require_folder(root), resolution), "test": root / f"val_{resolution}"}
    found = {"train": train_images(folders["train"]), "test": walk(folders["test"])}
    if not partial:
        check_count(folders["train"], "train", len(found["train"]), (COUNTS["train"], CHALLENGE))
        check_count(folders["test"], "test", len(found["test"]), (COUNTS["test"],))
    if not any(found.values()):
        raise DataError(f"{root}: no images in {folders['train'].name} or val_{resolution}; {describe(root)}")
    if mask_folder:
        holes.check_folder(mask_folder, (holes.SIDE, holes.SIDE), [split for split in found if found[split]], bands)
    challenge = folders["train"].name.endswith("challenge") or len(found["train"]) > COUNTS["train"]
    kind = "challenge" if challenge else "standard"
    check_list(root, f"places365_train_{kind}.txt", found["train"], partial)
    check_list(root, "places365_val.txt", found["test"], partial)

    items = []
    for split, limit in (("train", num_train), ("test", num_test)):
        for i, name in enumerate(spread(found[split], limit, f"num_{split}")):
            path = folders[split] / name
            make = bind(make_original, path, split, bands[i % len(bands)], mask_folder, generator)
            plain = name.rsplit(".", 1)[0].replace("/", "-")
            items.append(Item(plain, split, make, path.relative_to(root).as_posix(), TERMS, (path,)))
    return items


def offline(
    *, draws: int = 6, test_draws: int = 3, bands: Sequence[str] = holes.BANDS, generator: str = holes.DRAWN
) -> list[Item]:
    """List random 256x256 squares of the photographs inside installed packages, each with its own blur and mask.

    Args:
        draws: squares of each training photograph.
        test_draws: squares of each validation and test photograph; three show each in every band.
        bands: hole shares in percent, one to a square in turn.
        generator: what draws the masks, as in `originals`.

    Raises:
        ParamsError: when an option is out of its range.
    """
    bands = holes.parse_bands(bands)
    holes.check_generator(generator, bands)
    return stand_in(
        draws,
        test_draws,
        lambda photo, split, draw: bind(make_offline, photo, bands[draw % len(bands)], generator),
    )


dataset = Dataset(
    title="Places2",
    tasks=("deblur", "inpaint", "sharp-inpaint"),
    fields=("target", "blurred", "mask"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "places2.csail.mit.edu/download.html: train_large_places365standard.tar (105 GB) and val_large.tar (2.1 GB) or "
        "train_256_places365standard.tar (24 GB) and val_256.tar (0.5 GB). B. Zhou et al., Places: A 10 Million Image "
        f"Database for Scene Recognition, TPAMI 2018. {TERMS}; the images stay their owners'."
    ),
)
