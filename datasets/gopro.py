"""GOPRO: motion blur as the average of 7 to 13 frames of a 240 fps video.

Paper: S. Nah, T. H. Kim, K. M. Lee, "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring",
CVPR 2017. Licence CC BY 4.0. 1280x720, RGB, 8-bit PNG; 2,103 pairs for training, 1,111 for testing:

    GOPRO_Large/{train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png
    GOPRO_Large_all/{train,test}/<sequence>/NNNNNN.png          the raw frames

`blur` is the mean of the frames, `blur_gamma` the mean of their light (gamma 2.2), and the choice changes all scores.
The authors' code uses `blur_gamma`; SRN, MPRNet, Restormer and most others use `blur`.

The sequence GOPRaaaa_NN_zz averages NN frames: image k is made of the frames NN (k - 1) + 1 .. NN k, and the middle one
is its target. Pairs rebuilt from the frames are close to the published ones (below one grey level), not equal. Users
report missing raw frames in GOPR0384_11_05, which shift its windows against the published images.

There is no validation split: the published set has none and all papers train on all 22 sequences. The stand-in has one.
"""

from __future__ import annotations

import warnings
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.image_folders import describe, list_folders, list_images, require_folder
from bench.data.user_images import check_sizes, image_size, read_rgb, same_size
from bench.names import as_name
from datasets.degradations.blur import average, check_response, expose
from datasets.photographs.crops import random_crop
from datasets.photographs.packaged import Photograph
from datasets.photographs.stand_in import check_least, stand_in

LICENCE = "CC BY 4.0"
Images = dict[int, tuple[Path, ...]]
"""The files of the images of a sequence, by number: (blurred, sharp), or the raw frames of a window."""

FOLDERS = {"linear": "blur", "gamma": "blur_gamma"}
"""The folder of the blurred images, by the camera's response."""
GAMMA = 2.2

# The number of the first image and the number of images of each sequence; numbers have no gaps. Published lists have
# the first numbers of all training sequences, but of three test sequences only; the others are None.
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
    """Return the number of raw frames per image, NN of the sequence GOPRaaaa_NN_zz.

    >>> frames_averaged("GOPR0372_07_00")
    7
    """
    return int(sequence.split("_")[1])


def window(sequence: str, number: int) -> range:
    """Return the numbers of the raw frames, from 1, that an image averages; the middle one is the target.

    Args:
        sequence: its name, GOPRaaaa_NN_zz.
        number: of the image, from 1.

    >>> list(window("GOPR0372_07_00", 2))
    [8, 9, 10, 11, 12, 13, 14]
    """
    count = frames_averaged(sequence)
    return range(count * (number - 1) + 1, count * number + 1)


def numbered(folder: Path) -> dict[int, Path]:
    """List the images of a folder by number. Raises DataError for another name."""
    by_number = {}
    for path in list_images(folder):
        if not path.stem.isdecimal():
            raise DataError(f"{path}: found this name, expected NNNNNN.png; remove the file")
        by_number[int(path.stem)] = path
    return by_number


def published_pairs(folder: Path, response: str) -> Images:
    """List (blurred, sharp) by number in a sequence's folder. Raises DataError when one of a pair is missing."""
    blurred, sharp = numbered(folder / FOLDERS[response]), numbered(folder / "sharp")
    if alone := sorted(blurred.keys() ^ sharp.keys()):
        present, absent = (FOLDERS[response], "sharp") if alone[0] in blurred else ("sharp", FOLDERS[response])
        raise DataError(
            f"{folder}: found {len(alone)} images without a partner, expected the same names in {FOLDERS[response]} "
            f"and sharp; {present} has {alone[0]:06d}, {absent} does not; unpack the archive again"
        )
    return {number: (blurred[number], sharp[number]) for number in blurred}


def complete_windows(folder: Path) -> Images:
    """List the raw frames of the complete official windows in a sequence's folder, by image number.

    If the sequence's first number is not known, all complete windows are official.
    """
    frames = numbered(folder)
    size = frames_averaged(folder.name)
    first, count = SEQUENCES[folder.parent.name][folder.name]
    begun = {(frame - 1) // size + 1 for frame in frames}
    official = begun if first is None else begun & set(range(first, first + count))
    windows = {number: window(folder.name, number) for number in official}
    return {
        number: tuple(frames[frame] for frame in numbers)
        for number, numbers in sorted(windows.items())
        if all(frame in frames for frame in numbers)
    }


def sequence_folders(folder: Path, split: str, partial: bool) -> list[Path]:
    """List the folders of a split's sequences; with `partial` the split may be missing.

    Raises:
        DataError: the split is missing, or one of its folders is not an official sequence.
    """
    if partial and not (folder / split).is_dir():
        return []
    paths = list_folders(folder / split)
    for path in paths:
        if path.name not in SEQUENCES[split]:
            listed_in = next((other for other in SEQUENCES if path.name in SEQUENCES[other]), "no split")
            raise DataError(
                f"{path}: found a sequence that the official list has in {listed_in}, expected the "
                f"{len(SEQUENCES[split])} sequences of {split}; unpack the archive again"
            )
    return paths


def check_official(folder: Path, listed: dict[str, dict[str, Images]], partial: bool) -> None:
    """Compare the images, by split and sequence, with the official list.

    Raises:
        DataError: a number that is not in the list; fewer images, unless `partial`; no images.
    """
    missing = []
    for split, sequences in SEQUENCES.items():
        for sequence, (first, count) in sequences.items():
            numbers = set(listed[split].get(sequence, ()))
            official = set(range(first, first + count)) if first is not None else numbers
            if (extra := sorted(numbers - official)) or len(numbers) > count:
                raise DataError(
                    f"{folder / split / sequence}: found {len(numbers)} images up to {max(extra or numbers):06d}, "
                    f"expected {count}" + (f" from {first:06d}" if first else "") + "; unpack the archive again"
                )
            if len(numbers) < count:
                lacks = f", without {min(official - numbers):06d}" if official > numbers else ""
                missing.append(f"{split}/{sequence} ({len(numbers)} of {count} images{lacks})")
    totals = {split: sum(map(len, sequences.values())) for split, sequences in listed.items()}
    counts = ", ".join(f"{totals[split]} of {COUNTS[split]} images in {split}" for split in SEQUENCES)
    if not any(totals.values()):
        raise DataError(
            f"{folder}: found {counts}; {describe(folder)}. Check the path and that the archive is unpacked"
        )
    if missing and not partial:
        raise DataError(
            f"{folder}: found {counts}; the first short sequence is {missing[0]}; unpack the archive again, or give "
            "--partial to use the images that are there"
        )


def read_pair(files: tuple[Path, ...], response: str, rng: np.random.Generator) -> Made:
    """Make one item: a published (blurred, sharp) pair. Nothing is drawn. Raises DataError for damaged files."""
    blurred, sharp = files
    images = {"target": read_rgb(sharp), "blurred": read_rgb(blurred)}
    same_size(str(blurred), images)
    sequence = sharp.parents[1].name
    degradation = {"kind": "frame average", "num_frames": frames_averaged(sequence), "response": response}
    return Made(images, degradation, {"scene": sequence})


def average_window(frames: tuple[Path, ...], response: str, rng: np.random.Generator) -> Made:
    """Make one item: a pair rebuilt from its raw frames. Nothing is drawn. Raises DataError for damaged files."""
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
        root: the folder with GOPRO_Large (or GOPRO_Large_all), or that folder itself.
        partial: accept missing sequences and images. Sequences without the folder of the response are left out with a
            warning. A missing image of a pair remains an error.
        response: "linear" for `blur`, "gamma" for `blur_gamma`.
        from_frames: rebuild blurred and sharp images from the raw frames. If a sequence's first number is not known,
            its complete windows are used, which must be as many as the official images.

    Raises:
        DataError: the layout, the counts, the pairs or the sizes in the headers are not the official ones.
        ParamsError: an unknown response.
    """
    check_response(response)
    folder = require_folder(root) / ("GOPRO_Large_all" if from_frames else "GOPRO_Large")
    folder = folder if folder.is_dir() else root
    listed: dict[str, dict[str, Images]] = {split: {} for split in SEQUENCES}
    for split in SEQUENCES:
        for path in sequence_folders(folder, split, partial):
            if from_frames:
                listed[split][path.name] = complete_windows(path)
            elif (path / FOLDERS[response]).is_dir():
                listed[split][path.name] = published_pairs(path, response)
            else:
                message = (
                    f"{path}: no folder {FOLDERS[response]}, which response {response!r} needs; {describe(path)}. "
                    f"Fetch the whole archive, or choose the other response"
                )
                if not partial:
                    raise DataError(message)
                warnings.warn(f"left out: {message}", stacklevel=2)
    check_official(folder, listed, partial)
    items = []
    for split, sequences in listed.items():
        for sequence, images in sequences.items():
            for number, files in images.items():
                check_sizes(
                    f"{folder / split / sequence} {number:06d}", {str(path): image_size(path) for path in files}
                )
                make = bind(average_window if from_frames else read_pair, files, response)
                source = (files[len(files) // 2] if from_frames else files[0]).relative_to(root).as_posix()
                items.append(Item(as_name(f"{sequence}-{number:06d}"), split, make, source, LICENCE, files))
    return items


def shake(photograph: Photograph, max_side: int | None, step: float, response: str, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a photograph, or a crop of it, averaged over 7 to 13 frames of a camera path.

    Args:
        photograph: the one to blur.
        max_side: longest side of a random crop in pixels, including the rim; None for the whole photograph.
        step: longest camera path, in pixels per frame after the first.
        response: "gamma" averages light, "linear" stored values.
        rng: the item's own generator.
    """
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
    """List frame averages of the packages' photographs: DFFNet, eq. 1, over 7 to 13 frames of a shaking camera.

    The middle frame is the target, as in GOPRO. Training images are random crops. Other images are whole photographs
    without the rim that the path needs.

    Args:
        draws: images per training photograph.
        test_draws: images per validation and test photograph.
        max_side: longest side of a training crop in pixels, including the rim.
        step: longest camera path, in pixels per frame after the first.
        response: "gamma" averages light, "linear" stored values.

    Raises:
        ParamsError: a number out of range or an unknown response.
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
