"""The benchmark of Koehler et al.: camera shake recorded from hands and played back by a robot. For testing only.

Paper: R. Koehler, M. Hirsch, B. Mohler, B. Schoelkopf, S. Harmeling, "Recording and Playback of Camera Shake:
Benchmarking Blind Deconvolution with a Real-World Database", ECCV 2012. Research use; no licence text is published.
800x800, RGB, 8-bit PNG; 4 printed images, 12 trajectories, 48 blurred photographs:

    Blurry<I>_<K>.png                                   I = 1..4, K = 1..12
    Image<I>/Kernel<K>/GroundTruth<I>_<K>_<F>.png       F = 1..199 (198 or 200 for seven pairs), without leading zeros

The references are not the printed picture but the frames that the camera recorded along the trajectory: a result is
scored against each frame and the best score counts. (The official code also fits intensity and shift first, so plain
scores are lower than the published ones.) The middle frame, number (count + 1) // 2, is the `target`.
"""

from __future__ import annotations

import warnings
from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.image_folders import describe, list_images, require_folder
from bench.data.user_images import check_sizes, image_size, read_rgb, same_size
from datasets.degradations.blur import check_response, expose
from datasets.photographs.packaged import Photograph, photographs
from datasets.photographs.stand_in import check_least

LICENCE = "research use (no licence text is published)"
REFERENCES = {  # number of recorded frames by (image, trajectory)
    (image, kernel): {(2, 11): 200}.get(
        (image, kernel),
        198 if (image, kernel) in ((1, 10), (1, 12), (2, 10), (3, 7), (3, 12), (4, 12)) else 199,
    )
    for image in range(1, 5)
    for kernel in range(1, 13)
}
COUNTS = {"test": len(REFERENCES)}


def references(root: Path, image: int, kernel: int) -> list[Path]:
    """List the recorded frames of an image and a trajectory, by number.

    Raises:
        DataError: the folder is missing, or its frames are not 1 .. the official count.
    """
    folder = root / f"Image{image}" / f"Kernel{kernel}"
    stem = f"GroundTruth{image}_{kernel}_"
    numbers = {path.stem.removeprefix(stem): path for path in list_images(folder) if path.stem.startswith(stem)}
    frames = {int(number): path for number, path in numbers.items() if number.isdecimal()}
    expected = range(1, REFERENCES[image, kernel] + 1)
    if sorted(frames) != list(expected):
        missing = sorted(set(expected) - frames.keys())
        first = f"{stem}{missing[0]}.png is missing" if missing else f"{stem}{max(frames)}.png is not expected"
        raise DataError(
            f"{folder}: found {len(frames)} reference frames, expected {len(expected)}: {first}; the best score over "
            f"the frames needs all of them; unpack GroundTruth_pngs_Image{image}.zip again"
        )
    return [frames[number] for number in expected]


def read_frame(shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Read a reference frame (H, W, 3) uint8. Raises DataError when it is damaged or not of the size of `shape`.

    Args:
        shape: (H, W, 3) of the blurred image.
        path: the frame's file.
    """
    frame = read_rgb(path)
    check_sizes(str(path), {"blurred": shape, "reference": frame.shape})
    return frame


def read_recording(blurred: Path, frames: tuple[Path, ...], rng: np.random.Generator) -> Made:
    """Make one item: a blurred photograph and its frames, which are read one by one. Nothing is drawn."""
    middle = frames[(len(frames) + 1) // 2 - 1]
    images = {"target": read_rgb(middle), "blurred": read_rgb(blurred)}
    same_size(str(blurred), images)
    image, kernel = blurred.stem.removeprefix("Blurry").split("_")
    degradation = {"kind": "recorded camera shake", "trajectory": int(kernel), "num_frames": len(frames)}
    condition = {"scene": f"image {image}"}
    return Made(images, degradation, condition, map(bind(read_frame, images["blurred"].shape), frames))


def originals(root: Path, *, partial: bool = False) -> list[Item]:
    """List the blurred photographs, each with all its recorded frames.

    Args:
        root: the folder with Blurry<I>_<K>.png and Image<I>/.
        partial: use the complete pairs. A blurred photograph without a folder of frames is left out with a warning. A
            folder with fewer frames than recorded, or without its photograph, remains an error.

    Raises:
        DataError: files are missing or of different sizes, or no pair is complete.
    """
    items = []
    without_frames = []
    absent = []
    for image, kernel in REFERENCES:
        blurred = require_folder(root) / f"Blurry{image}_{kernel}.png"
        folder = root / f"Image{image}" / f"Kernel{kernel}"
        if not blurred.is_file():
            if folder.is_dir():
                raise DataError(f"{folder}: found frames without {blurred.name}; unpack BlurryImages.zip into {root}")
            absent.append(blurred.name)
        elif not folder.is_dir():
            without_frames.append(f"{folder.relative_to(root)}/GroundTruth{image}_{kernel}_1.png")
        else:
            files = (blurred, *references(root, image, kernel))
            check_sizes(str(blurred), {path.name: image_size(path) for path in files})
            make = bind(read_recording, blurred, files[1:])
            items.append(Item(f"{image}_{kernel}", "test", make, blurred.name, LICENCE, files))
    counts = f"{root}: found {len(items)} of {COUNTS['test']} blurred photographs with their reference frames"
    if without_frames:
        counts += f"; {len(without_frames)} without frames, the first missing is {without_frames[0]}"
    if absent:
        counts += f"; {len(absent)} absent, the first is {absent[0]}"
    if not items:
        raise DataError(f"{counts}; {describe(root)}. Unpack BlurryImages.zip and GroundTruth_pngs_Image1..4.zip there")
    if (without_frames or absent) and not partial:
        raise DataError(f"{counts}; unpack the archives again, or give --partial to use the complete pairs")
    if without_frames:
        warnings.warn(f"left out: {counts}", stacklevel=2)
    return items


def shake(photograph: Photograph, num_frames: range, step: float, response: str, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a photograph blurred along a camera path, whose frames are the references.

    Args:
        photograph: the one to blur.
        num_frames: possible numbers of frames, of which one is drawn.
        step: longest camera path, in pixels per frame after the first.
        response: "gamma" averages light, "linear" stored values.
        rng: the item's own generator.
    """
    blurred, frames, exposure = expose(photograph.load(), num_frames, step, response, rng)
    images = {"target": frames[(len(frames) + 1) // 2 - 1], "blurred": blurred}
    return Made(images, exposure, {"scene": photograph.name, "severity": exposure["length"]}, frames)


def offline(
    *, draws: int = 3, min_frames: int = 9, max_frames: int = 15, step: float = 2.0, response: str = "gamma"
) -> list[Item]:
    """List the packages' test photographs with camera shake, with the frames along the path as references.

    Our reading: each image has its own path, while the benchmark plays back the same twelve paths for each picture.

    Args:
        draws: images per photograph.
        min_frames: smallest number of frames; the number is drawn uniformly.
        max_frames: largest number of frames.
        step: longest camera path, in pixels per frame after the first.
        response: "gamma" averages light, "linear" stored values.

    Raises:
        ParamsError: a number out of range or an unknown response.
    """
    check_response(response)
    check_least("draws", draws, 1)
    check_least("min_frames", min_frames, 2)
    check_least("max_frames", max_frames, min_frames)
    check_least("step", step, 0.0)
    return [
        Item(
            f"{photograph.name}-{draw:03d}",
            "test",
            bind(shake, photograph, range(min_frames, max_frames + 1), step, response),
            photograph.source,
            photograph.licence,
        )
        for photograph in photographs("test")
        for draw in range(draws)
    ]


dataset = Dataset(
    title="Koehler",
    tasks=("deblur",),
    fields=("target", "blurred"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "BlurryImages.zip and GroundTruth_pngs_Image1.zip .. GroundTruth_pngs_Image4.zip from "
        "https://webdav.tuebingen.mpg.de/pixel/benchmark4camerashake/. R. Koehler et al.: Recording and Playback of "
        "Camera Shake, ECCV 2012. Research use; no licence text is published."
    ),
    scoring="best-reference",
)
