"""My pairs: 100 training and 20 test photographs, sharp and blurred, the example of docs/add-a-dataset.md.

<root>/{train,test}/{sharp,blurred}/NAME.png        8 bits, RGB, the same name in both folders
"""

from __future__ import annotations

from functools import partial as bind
from pathlib import Path

import numpy as np

from bench.contracts import DataError, Dataset, Item, Made
from bench.data.image_folders import list_images
from bench.data.user_images import read_rgb, same_size
from bench.names import as_name
from datasets.degradations.blur import kernel_blur
from datasets.photographs.packaged import Photograph
from datasets.photographs.stand_in import stand_in

COUNTS = {"train": 100, "test": 20}


def read_pair(sharp: Path, blurred: Path, rng: np.random.Generator) -> Made:
    """Make one item from two files. Nothing is drawn."""
    images = {"target": read_rgb(sharp), "blurred": read_rgb(blurred)}
    same_size(sharp.name, images)
    return Made(images, {"kind": "captured"}, {"scene": sharp.stem})


def originals(root: Path, *, partial: bool = False) -> list[Item]:
    """List the pairs under `root`. Raises DataError unless they are all there, or some with `partial`."""
    items = []
    for split, count in COUNTS.items():
        sharp = list_images(root / split / "sharp")
        if len(sharp) != count and not partial:
            raise DataError(f"{root}: {len(sharp)} pairs in split {split!r}, expected {count}")
        for path in sharp:
            files = (path, root / split / "blurred" / path.name)
            source = path.relative_to(root).as_posix()
            items.append(Item(as_name(path.stem), split, bind(read_pair, *files), source, "my own photographs", files))
    return items


def blur_photograph(photograph: Photograph, rng: np.random.Generator) -> Made:
    """Make one item of the stand-in: a photograph with motion blur of a random angle."""
    sharp, angle = photograph.load(), int(rng.integers(180))
    blurred = kernel_blur(sharp, kernel_size=1, sigma=1.0, length=15, angle=angle)
    degradation = {"kind": "linear motion", "length": 15, "angle": angle}
    return Made({"target": sharp, "blurred": blurred}, degradation, {"scene": photograph.name})


def offline(*, draws: int = 2) -> list[Item]:
    """List the stand-in: `draws` images per training photograph, one per other photograph."""
    return stand_in(draws, 1, lambda photograph, split, draw: bind(blur_photograph, photograph))


dataset = Dataset(
    title="My pairs",
    tasks=("deblur",),
    fields=("target", "blurred"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source="My own photographs, on the disk in my drawer. A. Author, 2025. Not published.",
)
