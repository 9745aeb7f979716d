"""Places2 (Places365): 256x256 squares of scenes, blurred as MRFNet does and masked as DFFNet and DGFNet do.

Paper: B. Zhou et al., "Places: A 10 Million Image Database for Scene Recognition", TPAMI 2018. JPEG, 8 bits, 365
categories: `data_large` (shorter side usually 512) and `data_256` (256x256), in folders of two or three levels. Terms:
research and education only; the images remain their owners'.

Our reading: the test images are the validation images (`val_large`), as in the inpainting papers. Each picture is
reduced to its central square at 256x256. The blurred input is made from that square, and each square has one irregular
mask; the bands alternate. Training masks are in the same bands as test masks. DFFNet's code trains with the union of
DeepFill v2's strokes and a box (31 % on average), RFR with its own strokes (54 %): the options `generator` and `bands`
select others, but no generator draws this union.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made, ParamsError
from bench.data.image_folders import describe, require_folder, walk_images
from bench.data.user_images import read_rgb
from bench.names import as_name
from datasets.degradations.blur import draw_kernel_blur
from datasets.degradations.mask_files import check_mask_folder, checked_mask_folder, choose_mask
from datasets.degradations.mask_generators import DEFAULT_GENERATOR, SIDE
from datasets.degradations.masks import DEFAULT_BANDS, check_generator, draw_mask, parse_band, parse_bands
from datasets.photographs.crops import central_square, random_crop
from datasets.photographs.packaged import Photograph
from datasets.photographs.stand_in import stand_in

COUNTS = {"train": 1_803_460, "test": 36_500}
"""Images of the standard set, from its page and file lists."""
CHALLENGE = 8_026_628
"""Training images of the challenge set, which contains the standard set."""
RESOLUTIONS = ("large", "256")
TRAIN_FOLDERS = ("data_{}", "data_{}_standard", "data_{}_challenge")
"""Names of the training folder: unpacked from the archives, or renamed by torchvision."""
LISTS = {  # official file lists, and their MD5
    "places365_train_standard.txt": "30f37515461640559006b8329efbed1a",
    "places365_train_challenge.txt": "b2931dc997b8c33c27e7329c073a6b57",
    "places365_val.txt": "e9f2fd57bfd9d07630173f4e8708e4b1",
}
TERMS = "Places terms: research and education only"


def train_folder(root: Path, resolution: str) -> Path:
    """Return the folder of training images, which may not exist. Raises DataError when there are several."""
    names = [name.format(resolution) for name in TRAIN_FOLDERS]
    present = [root / name for name in names if (root / name).is_dir()]
    if len(present) > 1:
        raise DataError(
            f"{root}: found {' and '.join(path.name for path in present)}, expected one; move the others away"
        )
    return present[0] if present else root / names[0]


def train_images(folder: Path) -> list[str]:
    """List <letter>/<category>[/<sub-category>]/NNNNNNNN.jpg. Raises DataError for a file in another place."""
    names = walk_images(folder)
    for name in names:
        parts = name.split("/")
        if len(parts) not in (3, 4) or len(parts[0]) != 1:
            raise DataError(
                f"{folder / name}: expected training images in <letter>/<category>[/<sub-category>]/ of {folder.name}; "
                "unpack the archive again, without a folder in between"
            )
    return names


def check_count(folder: Path, split: str, count: int, expected: Sequence[int]) -> None:
    """Raise DataError unless the number of images of a split is one of the expected ones."""
    if count not in expected:
        raise DataError(
            f"{folder}: {count} images in split {split!r}, the official set has {' or '.join(map(str, expected))}; "
            f"{describe(folder.parent)}. Unpack the whole archive, set `resolution` to that of your files, or "
            "give --partial to use the files that are there"
        )


def check_list(root: Path, name: str, images: Sequence[str], partial: bool) -> None:
    """Compare a split with its official list, the file `name` in `root` or `root/meta`, if the user has it.

    Raises:
        DataError: the list is not the official one; an image is not on it; an image of the list is missing, unless
            `partial`.
    """
    path = next((path for path in (root / name, root / "meta" / name) if path.is_file()), None)
    if path is None:
        return
    text = path.read_bytes()
    if (md5 := hashlib.md5(text, usedforsecurity=False).hexdigest()) != LISTS[name]:
        raise DataError(f"{path}: found MD5 {md5}, expected {LISTS[name]}; fetch the official list again or remove it")
    listed = {line.split()[0].lstrip("/") for line in text.decode().splitlines() if line.strip()}
    if strange := sorted(set(images) - listed):
        raise DataError(f"{root}: {len(strange)} files are not in {name}; the first is {strange[0]}; move them away")
    if (missing := sorted(listed - set(images))) and not partial:
        raise DataError(f"{root}: {len(missing)} files of {name} are missing; the first is {missing[0]}; unpack again")


def spread(names: Sequence[str], count: int | None, option: str) -> list[str]:
    """Select `count` of the names, evenly spaced; None selects all.

    Raises:
        ParamsError: `count` is below 1 or above the number of names; the message has the name of the `option`.
    """
    if count is None or not names:
        return list(names)
    if not 1 <= count <= len(names):
        raise ParamsError(f"{option}: found {count}, expected 1 to {len(names)}, the number of images")
    return [names[i * len(names) // count] for i in range(count)]


# Pixels ---------------------------------------------------------------------------------------------------------------


def degrade(
    target: np.ndarray, split: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict, dict]:
    """Blur and mask a square.

    Args:
        target: (256, 256, 3) uint8.
        split: selects the mask files.
        band: percent of hole pixels, like "20-30".
        masks: a folder of mask files; None draws a mask.
        generator: draws the mask, a name of GENERATORS.
        rng: the item's own generator.

    Returns:
        the images by field, the drawn values of the blur, and the conditions of the mask.
    """
    shape = target.shape[:2]
    if masks is None:
        mask, condition = draw_mask(rng, shape, generator, parse_band(band))
    else:
        mask, condition = choose_mask(rng, masks, shape, split, band)
    blurred, drawn = draw_kernel_blur(target, rng)
    return {"target": target, "blurred": blurred, "mask": mask}, drawn, condition


def make_original(
    path: Path, split: str, band: str, masks: Path | None, generator: str, rng: np.random.Generator
) -> Made:
    """Make one item: the central square of the file `path`, blurred and masked. Other arguments as in `degrade`.

    Raises:
        DataError: a side is below 256 pixels, or the file is damaged.
    """
    image = read_rgb(path)
    if min(image.shape[:2]) < SIDE:
        raise DataError(
            f"{path}: found {image.shape[1]}x{image.shape[0]} pixels, expected at least {SIDE} on both sides; "
            "use the file as it is in the archive"
        )
    images, drawn, condition = degrade(central_square(image, SIDE), split, band, masks, generator, rng)
    return Made(images, drawn, condition)


def make_offline(photograph: Photograph, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a random 256x256 square of a photograph, blurred and masked.

    Arguments as in `degrade`.
    """
    target, (top, left) = random_crop(photograph.load(), (SIDE, SIDE), rng)
    images, drawn, condition = degrade(target, photograph.split, band, None, generator, rng)
    return Made(images, drawn | {"crop_top": top, "crop_left": left}, condition)


# Items ----------------------------------------------------------------------------------------------------------------


def originals(
    root: Path,
    *,
    partial: bool = False,
    resolution: str = "large",
    bands: Sequence[str] = DEFAULT_BANDS,
    generator: str = DEFAULT_GENERATOR,
    masks: str | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
) -> list[Item]:
    """List the training and the validation images (as split test) under `root`.

    Args:
        root: with `data_large` (or `data_large_standard`, `data_large_challenge`) and `val_large`; or these with 256.
        partial: accept fewer images than the official count, and a missing split.
        resolution: "large" or "256".
        bands: hole shares in percent; images use them alternately.
        generator: of the masks: deepfill, rfr, lbam, edgeconnect-box, ca-box or square.
        masks: a folder of mask files, instead of drawn masks.
        num_train: number of training images, evenly spaced over the sorted files; None for all.
        num_test: the same for test images.

    Raises:
        DataError: the files are not the official ones.
        ParamsError: an option is out of its range.
    """
    bands = parse_bands(bands)
    if resolution not in RESOLUTIONS:
        raise ParamsError(f"resolution: found {resolution!r}, expected one of {', '.join(RESOLUTIONS)}")
    mask_folder = checked_mask_folder(masks, generator, bands)
    folders = {"train": train_folder(require_folder(root), resolution), "test": root / f"val_{resolution}"}
    images = {"train": train_images(folders["train"]), "test": walk_images(folders["test"])}
    if not partial:
        check_count(folders["train"], "train", len(images["train"]), (COUNTS["train"], CHALLENGE))
        check_count(folders["test"], "test", len(images["test"]), (COUNTS["test"],))
    if not any(images.values()):
        raise DataError(f"{root}: no images in {folders['train'].name} or val_{resolution}; {describe(root)}")
    if mask_folder:
        check_mask_folder(mask_folder, (SIDE, SIDE), [split for split in images if images[split]], bands)
    challenge = folders["train"].name.endswith("challenge") or len(images["train"]) > COUNTS["train"]
    kind = "challenge" if challenge else "standard"
    check_list(root, f"places365_train_{kind}.txt", images["train"], partial)
    check_list(root, "places365_val.txt", images["test"], partial)

    items = []
    for split, limit in (("train", num_train), ("test", num_test)):
        for i, name in enumerate(spread(images[split], limit, f"num_{split}")):
            path = folders[split] / name
            make = bind(make_original, path, split, bands[i % len(bands)], mask_folder, generator)
            item_name = as_name(name.rsplit(".", 1)[0].replace("/", "-"))
            items.append(Item(item_name, split, make, path.relative_to(root).as_posix(), TERMS, (path,)))
    return items


def offline(
    *, draws: int = 6, test_draws: int = 3, bands: Sequence[str] = DEFAULT_BANDS, generator: str = DEFAULT_GENERATOR
) -> list[Item]:
    """List random 256x256 squares of the photographs inside installed packages, each with its own blur and mask.

    Args:
        draws: squares per training photograph.
        test_draws: squares per validation and test photograph; with three each is shown in every band.
        bands: hole shares in percent; squares use them alternately.
        generator: of the masks, as for `originals`.

    Raises:
        ParamsError: an option is out of its range.
    """
    bands = parse_bands(bands)
    check_generator(generator, bands)
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
        f"Database for Scene Recognition, TPAMI 2018. {TERMS}; the images remain their owners'."
    ),
)
