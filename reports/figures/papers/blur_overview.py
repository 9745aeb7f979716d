"""Overview of the data's blur: one sharp photograph, and what each parameter of the degradation does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.manifest import NAME, BuiltSet, read
from reports.figures.papers.blur_variants import VARIED, Variant, median_row, stored_image, variants
from reports.figures.papers.sources import Drawn, Entry, Sources
from reports.figures.sheets import WIDTH, Picture, Strip, save_sheet
from reports.figures.windows import Window, enlarge, worst_windows
from reports.scores.reading import ORIGINALS

NAMES = {
    "kernel_size": ("Blur kernel size", "Gaussian"),
    "sigma": ("Blur sigma", "Gaussian"),
    "angle": ("Shaking angle", "linear motion"),
    "length": ("Shaking length", "linear motion"),
}
"""By parameter of the blur: its name in the papers, and the kernel that it belongs to."""
LABELS = {
    "deviation": "{:g} grey levels of 255",
    "kernel_size": "kernel size {:g} px",
    "sigma": "sigma {:g} px",
    "angle": "angle {:g}°",
    "length": "length {:g} px",
}
"""The label of a picture by the parameter that is varied."""
SHARE = 0.45
"""Share of the image's sides that a detail shows: a blur of a few pixels is invisible in the whole image."""
MOTION_DATASET = "gopro"
"""The dataset of real motion blur in the papers."""


def describe(values: Mapping[str, Any]) -> str:
    """The parameters of a blur in words.

    >>> describe({"length": 20, "angle": 45})
    'length 20 px, angle 45°'
    """
    return ", ".join(LABELS[name].format(value) for name, value in values.items())


def place(built: BuiltSet, row: Mapping[str, Any]) -> str:
    """The dataset and the image in a title, with the name of the stand-in where it is one."""
    origin = str(built.about["origin"])
    return f"{built.about['title']}{f' ({origin})' if origin != ORIGINALS else ''}, {row['name']}"


def details(heading: str, pictures: Sequence[tuple[str, np.ndarray]], window: Window) -> Strip:
    """The same enlarged window of several images of one size, with a label each."""
    tiles = (Picture(label, enlarge(Image.fromarray(image), window, WIDTH)) for label, image in pictures)
    return Strip(heading, tuple(tiles))


def motion_strip(sources: Sources) -> tuple[Strip, str] | None:
    """Sharp and blurred image of the set of real motion blur, and its origin; None where it was not built."""
    if not (sources.data / MOTION_DATASET / NAME).is_file():
        return None
    built = read(sources.data / MOTION_DATASET)
    row = median_row(built)
    sharp, blurred = (Image.fromarray(stored_image(built, row, field)) for field in ("target", "blurred"))
    window = worst_windows([blurred], sharp, 1)[0]
    tiles = []
    for label, image in (("sharp", sharp), ("motion blur", blurred)):
        tiles += [Picture(label, image, (window,)), Picture(label, enlarge(image, window, WIDTH), frame=0)]
    heading = f"Motion blur as an average of frames: {place(built, row)}"
    return Strip(heading, tuple(tiles)), str(built.about["origin"])


def parameter_strips(by_parameter: Mapping[str, Sequence[Variant]], window: Window) -> list[Strip]:
    """A strip per parameter, in which it alone is varied."""
    headings = {"deviation": "Random deviation: Gaussian noise on the blurred image"}
    headings |= {
        name: f"{title}: {kernel} alone, {describe(VARIED[name][0])}" for name, (title, kernel) in NAMES.items()
    }
    strips = []
    for name, heading in headings.items():
        labelled = [(LABELS[name].format(variant.values[name]), variant.image) for variant in by_parameter[name]]
        strips.append(details(heading, labelled, window))
    return strips


def draw_blur_overview(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw one sharp image and its degraded versions, one parameter varied at a time.

    Returns:
        the figure, or which dataset is not built.
    Raises:
        DataError: a built set that is damaged.
    """
    folder = sources.data / entry.datasets[0]
    if not (folder / NAME).is_file():
        return f"The dataset {entry.datasets[0]} is not built. This figure needs its images, and no run."
    built = read(folder)
    row = median_row(built)
    whole = Image.fromarray(stored_image(built, row, "target"))
    by_parameter = variants(built)
    drawn = by_parameter["drawn"][0]
    blurred = Image.fromarray(drawn.image)
    window = worst_windows([blurred], whole, 1, SHARE)[0]
    first = (
        Picture("sharp", whole, (window,)),
        Picture("sharp, detail", enlarge(whole, window, WIDTH), frame=0),
        Picture("blurred as drawn, detail", enlarge(blurred, window, WIDTH), frame=0),
    )
    strips = [Strip(place(built, row), first), *parameter_strips(by_parameter, window)]
    text = (
        f"The photograph {row['name']} of {built.about['title']}, degraded by the dataset's own code, one parameter "
        f"varied at a time. For the test set it was drawn with {describe(drawn.values)}. The standard deviation of the "
        "noise is the absolute value of a normal number, drawn for every training image, in grey levels: our reading."
    )
    absent, origins = [], [str(built.about["origin"])]
    if real := motion_strip(sources):
        strips.append(real[0])
        origins.append(real[1])
    else:
        absent.append(f"motion blur (the dataset {MOTION_DATASET} is not built)")
    return Drawn(save_sheet(title, strips, path), text, (), tuple(absent), tuple(origins))
