"""GOPRO: motion blur as the average of 7 to 13 frames of a 240 fps video.

Paper: S. Nah, T. H. Kim, K. M. Lee, "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring",
CVPR 2017. Licence CC BY 4.0. 1280x720, RGB, 8-bit PNG; 2,103 pairs for training, 1,111 for testing:

    GOPRO_Large/{train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png
    GOPRO_Large_all/{train,test}/<sequence>/NNNNNN.png          the raw frames

`blur` is the plain mean of the frames, `blur_gamma` the mean of their light (gamma 2.2), and the choice moves every
number: the authors' own code uses `blur_gamma`; SRN, MPRNet, Restormer and most others `blur`.

The sequence GOPRaaaa_NN_zz averages NN frames: image k is made of the frames NN (k - 1) + 1 .. NN k, and the middle one
is its truth. Pairs rebuilt from the frames are close to the shipped ones (below one grey level), not equal; of
GOPR0384_11_05 users report missing raw frames, which shift its windows against the shipped images.

There is no validation split: the published set has none and every paper trains on all 22 sequences. The stand-in
has one.
"""

from __future__ import annotations

import warnings
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.user_images import check_sizes, describe, image_size, list_images, read_rgb, require_folder, same_size
from datasets.degradations.blur import average, check_response, expose
from datasets.photographs.crops import random_crop
from datasets.photographs.packaged import Photograph
from datasets.photographs.stand_in import check_least, stand_in

LICENCE = "CC BY 4.0"
Images = dict[int, tuple[Path, ...]]
"""The files of each image of a sequence, by its number: (blurred, sharp), or the raw frames of its window."""

FOLDERS = {"linear": "blur", "gamma": "blur_gamma"}  # by the camera's response
GAMMA = 2.2

# The first image's number and the images of each sequence; numbers run without gaps. The lists in circulation name the
# first number of every training sequence but of three test sequences alone; None where it is not known.
SEQUENCES: dict[str, dict[str, tuple[int | None, int]]] = {
    "train": {
        "GOPR0372_07_00": (47, 100),
        "GOPR0372_07_01": (601, 75),
        "GOPR0374_11_00": (1, 150),
        "GOPR0374_11_01": (203, 80),
        "GOPR0374_11_02": (541, 100),
        "GOPR0374_11_03": (2481, 48),
        "GOPR0378_13_00": (41, 110),
        "GOPR0379_11_00": (188, 100),
        "GOPR0380_11_00": (134, 60),
        "GOPR0384_11_01": (951, 100),
        "GOPR0384_11_02": (1301, 100),
        "GOPR0384_11_03": (2101, 100),
        "GOPR0384_11_04": (2801, 100),
        "GOPR0385_11_00": (101, 100),
        "GOPR0386_11_00": (247, 100),
        "GOPR0477_11_00": (1, 80),
        "GOPR0857_11_00": (1, 100),
        "GOPR0868_11_01": (221, 100),
        "GOPR0868_11_02": (681, 100),
        "GOPR0871_11_01": (181, 100),
        "GOPR0881_11_00": (1, 100),
        "GOPR0884_11_00": (186, 100),
    },
    "test": {
        "GOPR0384_11_00": (1, 100),
        "GOPR0384_11_05": (4001, 100),
        "GOPR0385_11_01": (3011, 100),
        "GOPR0396_11_00": (None, 100),
        "GOPR0410_11_00": (None, 134),
        "GOPR0854_11_00": (None, 100),
        "GOPR0862_11_00": (None, 77),
        "GOPR0868_11_00": (None, 100),
        "GOPR0869_11_00": (None, 100),
        "GOPR0871_11_00": (None, 100),
        "GOPR0881_11_01": (None, 100),
    },
}
COUNTS = {split: sum(count for _, count in sequences.values()) for split, sequences in SEQUENCES.items()}


def frames_averaged(sequence: str) -> int:
    """NN of the sequence GOPRaaaa_NN_zz: how many raw frames each of its images averages."""
    return int(sequence.split("_")[1])


def window(sequence: str, number: int) -> range:
    """The numbers of the raw frames that image `number` of `sequence` averages, from 1; the middle one is the truth."""
    count = frames_averaged(sequence)
    return range(count * (number - 1) + 1, count * number + 1)


def numbered(folder: Path) -> dict[int, Path]:
    """List the images of `folder` by number. Raises DataError for a name that is no number."""
    found = {}
    for path in list_images(folder):
        if not path.stem.isdecimal():
            raise DataError(f"{path}: found a name that is no number, expected NNNNNN.png; remove the file")
        found[int(path.stem)] = path
    return found


def shipped(folder: Path, response: str) -> Images:
    """List (blurred, sharp) by number in one sequence's folder. Raises DataError when one of a pair is missing."""
    blurred, sharp = numbered(folder / FOLDERS[response]), numbered(folder / "sharp")
    if alone := sorted(blurred.keys() ^ sharp.keys()):
        have, lack = (FOLDERS[response], "sharp") if alone[0] in blurred else ("sharp", FOLDERS[response])
        raise DataError(
            f"{folder}: found {len(alone)} images without a partner, expected the same names in {FOLDERS[response]} "
            f"and sharp; {have} has {alone[0]:06d}, {lack} does not; unpack the archive again"
        )
    return {number: (blurred[number], sharp[number]) for number in blurred}


def rebuilt(folder: Path) -> Images:
    """List the raw frames of every whole official window, by image number, in one sequence's folder.

    Where the sequence's first number is not known every whole window counts as official.
    """
    frames = numbered(folder)
    size = frames_averaged(folder.name)
    first, count = SEQUENCES[folder.parent.name][folder.name]
    numbers_found = {(frame - 1) // size + 1 for frame in frames}
    official = numbers_found if first is None else numbers_found & set(range(first, first + count))
    windows = {number: window(folder.name, number) for number in official}
    return {
        number: tuple(frames[frame] for frame in numbers)
        for number, numbers in sorted(windows.items())
        if all(frame in frames for frame in numbers)
    }


def sequence_folders(folder: Path, split: str, partial: bool) -> list[Path]:
    """List the folders of one split's sequences; with `partial` the split may be absent.

    Raises:
        DataError: when the split is missing, or has a folder that is none of its official sequences.
    """
    if partial and not (folder / split).is_dir():
        return []
    paths = sorted(path for path in require_folder(folder / split).iterdir() if path.is_dir())
    for path in paths:
        if path.name not in SEQUENCES[split] and not path.name.startswith("."):
            place = next((other for other in SEQUENCES if path.name in SEQUENCES[other]), "no split")
            raise DataError(
                f"{path}: found a sequence that the official list has in {place}, expected the "
                f"{len(SEQUENCES[split])} sequences of {split}; unpack the archive again"
            )
    return [path for path in paths if path.name in SEQUENCES[split]]


def check_official(folder: Path, found: dict[str, dict[str, Images]], partial: bool) -> None:
    """Compare the images found, by split and sequence, with the official list.

    Raises:
        DataError: for a number that is not of the list; for fewer images, unless `partial`; for none at all.
    """
    missing = []
    for split, sequences in SEQUENCES.items():
        for sequence, (first, count) in sequences.items():
            numbers = set(found[split].get(sequence, ()))
            official = set(range(first, first + count)) if first is not None else numbers
            if (extra := sorted(numbers - official)) or len(numbers) > count:
                raise DataError(
                    f"{folder / split / sequence}: found {len(numbers)} images up to {max(extra or numbers):06d}, "
                    f"expected {count}" + (f" from {first:06d}" if first else "") + "; unpack the archive again"
                )
            if len(numbers) < count:
                lacks = f", without {min(official - numbers):06d}" if official > numbers else ""
                missing.append(f"{split}/{sequence} ({len(numbers)} of {count} images{lacks})")
    totals = {split: sum(map(len, sequences.values())) for split, sequences in found.items()}
    told = ", ".join(f"{totals[split]} of {COUNTS[split]} images in {split}" for split in SEQUENCES)
    if not any(totals.values()):
        raise DataError(f"{folder}: found {told}; {describe(folder)}. Check the path and that the archive is unpacked")
    if missing and not partial:
        raise DataError(
            f"{folder}: found {told}; the first short sequence is {missing[0]}; unpack the archive again, or give "
            f"--partial to use what is there"
        )


def read_pair(files: tuple[Path, ...], response: str, rng: np.random.Generator) -> Made:
    """Read one shipped (blurred, sharp) pair; nothing is drawn. Raises DataError for damaged or unequal files."""
    blurred, sharp = files
    images = {"target": read_rgb(sharp), "blurred": read_rgb(blurred)}
    same_size(str(blurred), images)
    sequence = sharp.parents[1].name
    degradation = {"kind": "frame average", "num_frames": frames_averaged(sequence), "response": response}
    return Made(images, degradation, {"scene": sequence})


def average_window(frames: tuple[Path, ...], response: str, rng: np.random.Generator) -> Made:
    """Rebuild one pair from its raw frames; nothing is drawn. Raises DataError for damaged files or unequal sizes."""
    pixels = {path.name: read_rgb(path) for path in frames}
    same_size(str(frames[0].parent), pixels)
    middle = frames[len(frames) // 2]
    images = {"target": pixels[middle.name], "blurred": average(pixels.values(), response, GAMMA)}
    degradation = {
        "kind": "frame average",
        "num_frames": len(frames),
        "first_frame": int(frames[0].stem),
        "response": response,
        "rebuilt": True,
    }
    return Made(images, degradation, {"scene": middle.parent.name})


def originals(root: Path, *, partial: bool = False, response: str = "linear", from_frames: bool = False) -> list[Item]:
    """List the pairs of GOPRO_Large, or the windows of GOPRO_Large_all.

    Args:
        root: the folder that holds GOPRO_Large (or GOPRO_Large_all), or that folder itself.
        partial: use the sequences and images that are there. Sequences without the folder of the response are left
            out with a warning; a missing partner is an error all the same.
        response: "linear" for `blur`, "gamma" for `blur_gamma`.
        from_frames: rebuild both from the raw frames. Where a sequence's first number is not known, its whole windows
            are taken, which must be as many as the official images.

    Raises:
        DataError: when the layout, the counts, the pairs or the sizes in the headers are not the official ones.
        ParamsError: for an unknown response.
    """
    check_response(response)
    folder = require_folder(root) / ("GOPRO_Large_all" if from_frames else "GOPRO_Large")
    folder = folder if folder.is_dir() else root
    found: dict[str, dict[str, Images]] = {split: {} for split in SEQUENCES}
    for split in SEQUENCES:
        for path in sequence_folders(folder, split, partial):
            if from_frames:
                found[split][path.name] = rebuilt(path)
            elif (path / FOLDERS[response]).is_dir():
                found[split][path.name] = shipped(path, response)
            else:
                message = (
                    f"{path}: no folder {FOLDERS[response]}, which response {response!r} needs; {describe(path)}. "
                    f"Fetch the whole archive, or choose the other response"
                )
                if not partial:
                    raise DataError(message)
                warnings.warn(f"left out: {message}", stacklevel=2)
    check_official(folder, found, partial)
    items = []
    for split, sequences in found.items():
        for sequence, images in sequences.items():
            for number, files in images.items():
                check_sizes(
                    f"{folder / split / sequence} {number:06d}", {str(path): image_size(path) for path in files}
                )
                make = bind(average_window if from_frames else read_pair, files, response)
                source = (files[len(files) // 2] if from_frames else files[0]).relative_to(root).as_posix()
                items.append(Item(f"{sequence}-{number:06d}", split, make, source, LICENCE, files))
    return items


def shake(photograph: Photograph, max_side: int | None, step: float, response: str, rng: np.random.Generator) -> Made:
    """Blur a photograph, or a random crop of at most `max_side` pixels a side, along a path of 7 to 13 frames."""
    image, drawn = photograph.load(), {}
    if max_side is not None:
        size = min(max_side, image.shape[0]), min(max_side, image.shape[1])
        image, (top, left) = random_crop(image, size, rng)
        drawn = {"crop_top": top, "crop_left": left}
    blurred, frames, exposure = expose(image, range(7, 14), step, response, rng)
    images = {"target": frames[(len(frames) - 1) // 2], "blurred": blurred}
    return Made(images, {**exposure, **drawn}, {"scene": photograph.name, "severity": exposure["length"]})


def offline(
    *, draws: int = 8, test_draws: int = 4, max_side: int = 384, step: float = 2.0, response: str = "gamma"
) -> list[Item]:
    """Frame averages of the packages' photographs: DFFNet, eq. 1, over 7 to 13 frames of a shaking camera.

    The middle frame is the truth, as in GOPRO. Training images are random crops, the others are whole photographs less
    the rim that the path needs.

    Args:
        draws: images of each training photograph.
        test_draws: images of each validation and test photograph.
        max_side: longest side of a training crop, in pixels, before the rim is cut.
        step: the longest camera path, in pixels for each frame after the first.
        response: "gamma" averages light, "linear" stored values.

    Raises:
        ParamsError: for a number out of range or an unknown response.
    """
    check_response(response)
    check_least("max_side", max_side, 64)
    check_least("step", step, 0.0)
    return stand_in(
        draws,
        test_draws,
        lambda photo, split, draw: bind(shake, photo, max_side if split == "train" else None, step, response),
    )


dataset = Dataset(
    title="GOPRO",
    tasks=("deblur",),
    fields=("target", "blurred"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "GOPRO_Large.zip (about 9 GB; raw frames: GOPRO_Large_all.zip, about 35 GB) from "
        "https://seungjunnah.github.io/Datasets/gopro. S. Nah, T. H. Kim, K. M. Lee: Deep Multi-scale Convolutional "
        "Neural Network for Dynamic Scene Deblurring, CVPR 2017. CC BY 4.0."
    ),
)
