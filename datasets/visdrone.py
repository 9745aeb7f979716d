"""VisDrone: photographs and video frames taken from drones, with blur and masks made here.

Paper: P. Zhu et al., "Vision Meets Drones: Past, Present and Future", arXiv 2001.06303. Research use; no licence text
in the repository, no redistribution. JPEG, RGB, many sizes (1360x765 is common):

    VisDrone2019-DET-{train,val,test-dev}/images/NAME.jpg                         6,471, 548 and 1,610 photographs
    VisDrone2019-VID-{train,val,test-dev}/sequences/<clip>/NNNNNNN.jpg            56, 7 and 17 clips

There is no official blurred VisDrone. MRFNet and DFFNet resize the photographs to 256x256 and blur them, and so does
this module: `draw_kernel_blur` on the small image, and an irregular mask for inpainting.

Our reading: the official folders are the splits. (The authors' scripts, written for DOTA, use every second image for
training and every sixth for testing, which overlap.) Masks are drawn by `generator` in the bands of `bands`, equally
for training and testing, while DFFNet's code trains with the union of DeepFill v2's strokes and a box.

Left out: the "extreme blur and distorted texture" that MRFNet adds to VisDrone (Section IV.C), which the paper does not
define. `draw_kernel_blur` and the masks are the only degradations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made, ParamsError
from bench.data.image_folders import describe, list_folders, list_images, require_folder
from bench.data.user_images import image_size, read_rgb
from bench.names import as_name
from datasets.degradations.blur import draw_kernel_blur
from datasets.degradations.mask_generators import DEFAULT_GENERATOR
from datasets.degradations.masks import DEFAULT_BANDS, check_generator, draw_mask, parse_band, parse_bands
from datasets.photographs.crops import mix, random_crop
from datasets.photographs.packaged import Photograph, photographs
from datasets.photographs.stand_in import check_share, stand_in

LICENCE = "research use, no redistribution (no licence text is published)"
SIDE = 256  # pixels
FOLDERS = {"train": "train", "val": "val", "test": "test-dev"}
"""The official folder of each split."""
COUNTS = {"train": 6471, "val": 548, "test": 1610}
"""Photographs of DET."""
CLIPS = {"train": 56, "val": 7, "test": 17}
"""Clips of VID."""
FRAMES = {"train": 24201, "val": 2819}
"""Frames of VID; the official page does not state those of test-dev."""


def to_square(image: np.ndarray) -> np.ndarray:
    """Resize (H, W, 3) uint8 to 256x256, ignoring the aspect ratio, like imresize in the authors' scripts.

    Pillow's bicubic filter has a = -1/2 and is widened when it reduces, like imresize's; only the border can differ.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def degrade(image: np.ndarray, scene: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Blur and mask a sharp image. The blur is drawn first, so that it does not depend on the bands.

    Args:
        image: (256, 256, 3) uint8.
        scene: by which tables group it.
        band: percent of hole pixels, like "20-30".
        generator: draws the mask, a name of GENERATORS.
        rng: the item's own generator.
    """
    blurred, drawn = draw_kernel_blur(image, rng)
    mask, condition = draw_mask(rng, image.shape[:2], generator, parse_band(band))
    images = {"target": image, "blurred": blurred, "mask": mask}
    return Made(images, drawn, {"scene": scene, "severity": drawn["length"], **condition})


def photographs_of(root: Path, split: str) -> dict[str, Path]:
    """List the photographs of one DET folder by name. Raises DataError when two share a name."""
    by_name: dict[str, Path] = {}
    for path in list_images(root / f"VisDrone2019-DET-{FOLDERS[split]}" / "images"):
        if path.stem in by_name:
            raise DataError(f"{path}: found a second file named {path.stem}, expected one; remove the wrong one")
        by_name[path.stem] = path
    return by_name


def frames_of(root: Path, split: str) -> dict[str, Path]:
    """List the frames of one VID folder by <clip>-<frame>. Raises DataError for a clip without frames."""
    by_name = {}
    for clip in list_folders(root / f"VisDrone2019-VID-{FOLDERS[split]}" / "sequences"):
        if not (frames := list_images(clip)):
            raise DataError(f"{clip}: found no frame, expected NNNNNNN.jpg; unpack the archive again")
        by_name.update({f"{clip.name}-{path.stem}": path for path in frames})
    return by_name


def check_counts(root: Path, part: str, by_split: dict[str, dict[str, Path]], partial: bool) -> None:
    """Compare the numbers of images by split with the official counts.

    Raises:
        DataError: more images than the official count; fewer, unless `partial`; none.
    """
    counts, exact, over = [], True, False
    for split, images in by_split.items():
        numbers = [("images", len(images), (COUNTS if part == "det" else FRAMES).get(split))]
        if part == "vid":
            numbers.append(("clips", len({path.parent for path in images.values()}), CLIPS[split]))
        for unit, number, official in numbers:
            if official is not None:
                counts.append(f"{number} of {official} {unit} in {FOLDERS[split]}")
                exact, over = exact and number == official, over or number > official
    if not any(by_split.values()):
        raise DataError(f"{root}: found no image in VisDrone2019-{part.upper()}-*; {describe(root)}. Check the path")
    if over or not (exact or partial):
        first = next((split for split, images in by_split.items() if not images), None)
        absent = f"; VisDrone2019-{part.upper()}-{FOLDERS[first]} is absent or empty" if first else ""
        raise DataError(
            f"{root}: found {', '.join(counts)}{absent}; expected the official counts; unpack the archives again"
            + ("" if over else ", or give --partial to use the images that are there")
        )


def read_photograph(path: Path, scene: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Make one item: the photograph `path`, resized, blurred and masked. Other arguments as in `degrade`.

    Raises:
        DataError: the file is damaged.
    """
    return degrade(to_square(read_rgb(path)), scene, band, generator, rng)


def originals(
    root: Path,
    *,
    partial: bool = False,
    part: str = "det",
    bands: Sequence[str] = DEFAULT_BANDS,
    generator: str = DEFAULT_GENERATOR,
) -> list[Item]:
    """List the photographs of DET or the frames of VID.

    Args:
        root: the folder with VisDrone2019-DET-train and the other folders.
        partial: accept missing splits and images.
        part: "det" for the photographs, "vid" for the video frames.
        bands: hole shares in percent, like "20-30"; images use them alternately.
        generator: of the masks: deepfill, rfr, lbam, edgeconnect-box, ca-box or square.

    Raises:
        DataError: the counts are not the official ones, or a header cannot be read.
        ParamsError: an unknown part or generator, or a wrong band.
    """
    bands = parse_bands(bands)
    check_generator(generator, bands)
    if part not in ("det", "vid"):
        raise ParamsError(f"part: found {part!r}, expected 'det' (photographs) or 'vid' (video frames)")
    require_folder(root)
    by_split = {}
    for split, folder in FOLDERS.items():
        absent = partial and not (root / f"VisDrone2019-{part.upper()}-{folder}").is_dir()
        by_split[split] = {} if absent else photographs_of(root, split) if part == "det" else frames_of(root, split)
    check_counts(root, part, by_split, partial)
    items = []
    for split, images in by_split.items():
        for index, (name, path) in enumerate(images.items()):
            image_size(path)  # refuses empty files and other formats before the work starts
            # The first number of a photograph's name is that of its scene.
            scene = path.parent.name if part == "vid" else name.split("_")[0]
            make = bind(read_photograph, path, scene, bands[index % len(bands)], generator)
            items.append(Item(as_name(name), split, make, path.relative_to(root).as_posix(), LICENCE, (path,)))
    return items


def square_of(photograph: Photograph, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, int]]:
    """Crop a random square of at least 256 pixels, resized to (256, 256, 3) uint8; return it and its position."""
    image = photograph.load()
    side = int(rng.integers(SIDE, min(image.shape[:2]) + 1))
    crop, (top, left) = random_crop(image, (side, side), rng)
    return to_square(crop), {"crop_top": top, "crop_left": left, "crop_side": side}


def crop_photograph(photograph: Photograph, band: str, generator: str, mixed: float, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a square, mixed with another photograph's with probability `mixed`.

    Validation and test squares are not mixed. Other arguments as in `degrade`.
    """
    image, drawn = square_of(photograph, rng)
    others: tuple[tuple[str, str], ...] = ()
    if mixed and photograph.split == "train" and rng.random() < mixed:
        pool = photographs("train")
        other = pool[int(rng.integers(len(pool)))]
        image, others = mix(image, square_of(other, rng)[0], rng), ((other.source, other.licence),)
    made = degrade(image, photograph.name, band, generator, rng)
    made.degradation.update(drawn)
    return replace(made, others=others)


def offline(
    *,
    draws: int = 8,
    test_draws: int = 6,
    bands: Sequence[str] = DEFAULT_BANDS,
    generator: str = DEFAULT_GENERATOR,
    mixed: float = 0.0,
) -> list[Item]:
    """List squares of the packages' photographs, with the same blur and masks.

    Args:
        draws: images per training photograph.
        test_draws: images per validation and test photograph; a multiple of the number of bands uses all equally.
        bands: hole shares in percent, like "20-30"; the images of a photograph use them alternately.
        generator: of the masks, as for `originals`.
        mixed: probability that a training image is a mixture of two training photographs.

    Raises:
        ParamsError: a number out of range, an unknown generator, or a wrong band.
    """
    bands = parse_bands(bands)
    check_generator(generator, bands)
    check_share("mixed", mixed)
    return stand_in(
        draws,
        test_draws,
        lambda photo, split, draw: bind(crop_photograph, photo, bands[draw % len(bands)], generator, mixed),
    )


dataset = Dataset(
    title="VisDrone",
    tasks=("deblur", "inpaint", "sharp-inpaint"),
    fields=("target", "blurred", "mask"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "VisDrone2019-DET-train.zip, -val.zip and -test-dev.zip from https://github.com/VisDrone/VisDrone-Dataset. "
        "P. Zhu et al.: Vision Meets Drones: Past, Present and Future, arXiv 2001.06303. Research use, no "
        "redistribution."
    ),
)
