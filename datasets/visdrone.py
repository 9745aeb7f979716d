"""VisDrone: photographs and video frames taken from drones, blurred and masked by ourselves.

Paper: P. Zhu et al., "Vision Meets Drones: Past, Present and Future", arXiv 2001.06303. Research use; no licence text
in the repository, no redistribution. JPEG, RGB, many sizes (1360x765 is common):

    VisDrone2019-DET-{train,val,test-dev}/images/NAME.jpg                         6,471, 548 and 1,610 photographs
    VisDrone2019-VID-{train,val,test-dev}/sequences/<clip>/NNNNNNN.jpg            56, 7 and 17 clips

There is no official blurred VisDrone. MRFNet and DFFNet blur it themselves, and their sharp images are the photographs
brought to 256x256, so ours are too: `draw_kernel_blur` on the small image, and an irregular mask
for inpainting.
Our reading: the official folders are the splits; the authors' scripts, written for DOTA, take every second image for
training and every sixth for testing, which overlap. The masks are drawn in the bands of `bands` by `generator`, the
same for training and testing, where DFFNet's code trains with DeepFill v2's strokes and a box over each other.

Left out: the "extreme blur and distorted texture" that MRFNet adds to VisDrone (Section IV.C). The paper does not say
what they are; `draw_kernel_blur` is the only degradation besides the masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made, ParamsError
from bench.data.user_images import describe, image_size, list_images, read_rgb, require_folder
from datasets.degradations.blur import draw_kernel_blur
from datasets.degradations.holes import BANDS, DRAWN, check_generator, draw, parse_band, parse_bands
from datasets.photographs.packaged import Photograph, check_share, mix, photographs, random_crop, stand_in

LICENCE = "research use, no redistribution (no licence text is published)"
SIDE = 256  # pixels
FOLDERS = {"train": "train", "val": "val", "test": "test-dev"}  # the official folder of each split
COUNTS = {"train": 6471, "val": 548, "test": 1610}  # photographs of DET
CLIPS = {"train": 56, "val": 7, "test": 17}  # clips of VID
FRAMES = {"train": 24201, "val": 2819}  # frames of VID; the page gives none for test-dev alone


def to_square(image: np.ndarray) -> np.ndarray:
    """Bring (H, W, 3) uint8 to 256x256 whatever its aspect, as the authors' scripts do with imresize.

    Pillow's bicubic filter: a = -1/2 and widened when it reduces, like imresize's; only the rim can differ.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def degrade(image: np.ndarray, scene: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Blur and mask a sharp 256x256 image; the blur is drawn first, so that the bands do not move it."""
    blurred, drawn = draw_kernel_blur(image, rng)
    mask, condition = draw(rng, image.shape[:2], generator, parse_band(band))
    images = {"target": image, "blurred": blurred, "mask": mask}
    return Made(images, drawn, {"scene": scene, "severity": drawn["length"], **condition})


def photographs_of(root: Path, split: str) -> dict[str, Path]:
    """List the photographs of one DET folder by name. Raises DataError when two share a name."""
    found: dict[str, Path] = {}
    for path in list_images(root / f"VisDrone2019-DET-{FOLDERS[split]}" / "images"):
        if path.stem in found:
            raise DataError(f"{path}: found a second file named {path.stem}, expected one; remove the wrong one")
        found[path.stem] = path
    return found


def frames_of(root: Path, split: str) -> dict[str, Path]:
    """List the frames of one VID folder by <clip>-<frame>. Raises DataError for a clip without frames."""
    found = {}
    for clip in sorted(require_folder(root / f"VisDrone2019-VID-{FOLDERS[split]}" / "sequences").iterdir()):
        if clip.is_dir() and not clip.name.startswith("."):
            if not (frames := list_images(clip)):
                raise DataError(f"{clip}: found no frame, expected NNNNNNN.jpg; unpack the archive again")
            found.update({f"{clip.name}-{path.stem}": path for path in frames})
    return found


def check_counts(root: Path, part: str, found: dict[str, dict[str, Path]], partial: bool) -> None:
    """Compare what was found, by split, with the official counts.

    Raises:
        DataError: for more than the official count, for fewer unless `partial`, and for nothing at all.
    """
    told, exact, over = [], True, False
    for split, images in found.items():
        numbers = [("images", len(images), (COUNTS if part == "det" else FRAMES).get(split))]
        if part == "vid":
            numbers.append(("clips", len({path.parent for path in images.values()}), CLIPS[split]))
        for what, have, due in numbers:
            if due is not None:
                told.append(f"{have} of {due} {what} in {FOLDERS[split]}")
                exact, over = exact and have == due, over or have > due
    if not any(found.values()):
        raise DataError(f"{root}: found no image in VisDrone2019-{part.upper()}-*; {describe(root)}. Check the path")
    if over or not (exact or partial):
        first = next((split for split, images in found.items() if not images), None)
        absent = f"; VisDrone2019-{part.upper()}-{FOLDERS[first]} is absent or empty" if first else ""
        raise DataError(
            f"{root}: found {', '.join(told)}{absent}; expected the official counts; unpack the archives again"
            + ("" if over else ", or give --partial to use what is there")
        )


def read_photograph(path: Path, scene: str, band: str, generator: str, rng: np.random.Generator) -> Made:
    """Read, reduce, blur and mask one photograph. Raises DataError when the file is damaged."""
    return degrade(to_square(read_rgb(path)), scene, band, generator, rng)


def originals(
    root: Path, *, partial: bool = False, part: str = "det", bands: Sequence[str] = BANDS, generator: str = DRAWN
) -> list[Item]:
    """List the photographs of DET or the frames of VID.

    Args:
        root: the folder that holds VisDrone2019-DET-train and its like.
        partial: use the splits and images that are there.
        part: "det" for the photographs, "vid" for the video frames.
        bands: hole shares of the masks in percent, like "20-30"; images take them in turn.
        generator: what draws the masks: deepfill, rfr, lbam, edgeconnect-box, ca-box or square.

    Raises:
        DataError: when counts are not the official ones, or a header cannot be read.
        ParamsError: for an unknown part or generator, or a band that is none.
    """
    bands = parse_bands(bands)
    check_generator(generator, bands)
    if part not in ("det", "vid"):
        raise ParamsError(f"part: found {part!r}, expected 'det' (photographs) or 'vid' (video frames)")
    require_folder(root)
    found = {}
    for split, folder in FOLDERS.items():
        absent = partial and not (root / f"VisDrone2019-{part.upper()}-{folder}").is_dir()
        found[split] = {} if absent else photographs_of(root, split) if part == "det" else frames_of(root, split)
    check_counts(root, part, found, partial)
    items = []
    for split, images in found.items():
        for index, (name, path) in enumerate(images.items()):
            image_size(path)  # an empty or foreign file is found before the work starts
            scene = path.parent.name if part == "vid" else name.split("_")[0]  # the first number names the scene
            make = bind(read_photograph, path, scene, bands[index % len(bands)], generator)
            items.append(Item(name, split, make, path.relative_to(root).as_posix(), LICENCE, (path,)))
    return items


def square_of(photograph: Photograph, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, int]]:
    """Cut a random square of at least 256 pixels a side, reduced to (256, 256, 3) uint8, and where it was cut."""
    image = photograph.load()
    side = int(rng.integers(SIDE, min(image.shape[:2]) + 1))
    crop, (top, left) = random_crop(image, (side, side), rng)
    return to_square(crop), {"crop_top": top, "crop_left": left, "crop_side": side}


def crop_photograph(photograph: Photograph, band: str, generator: str, mixed: float, rng: np.random.Generator) -> Made:
    """Cut a square, mix it with another training photograph's with probability `mixed`, blur and mask it."""
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
    bands: Sequence[str] = BANDS,
    generator: str = DRAWN,
    mixed: float = 0.0,
) -> list[Item]:
    """Crops of the packages' photographs through the same blur and masks.

    Args:
        draws: images of each training photograph.
        test_draws: images of each validation and test photograph; a multiple of the bands gives each as many.
        bands: hole shares of the masks in percent, like "20-30"; the images of a photograph take them in turn.
        generator: what draws the masks, as in `originals`.
        mixed: probability that a training image is mixed of two training photographs.

    Raises:
        ParamsError: for a number out of range, an unknown generator, or a band that is none.
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
