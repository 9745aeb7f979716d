"""The overview of the data's degradations: one sharp photograph, and what each parameter does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reports.figures.papers.sheet import Picture, Strip, Window, enlarge, save_sheet, worst_windows
from reports.figures.papers.store import Drawn, Entry, Store
from reports.scores.reading import ORIGINALS

NAMES = {
    "kernel_size": ("Blur kernel size", "Gaussian"),
    "sigma": ("Blur sigma", "Gaussian"),
    "angle": ("Shaking angle", "linear motion"),
    "length": ("Shaking length", "linear motion"),
}
"""By parameter of the blur: what the papers call it, and which of the two kernels has it."""
LABELS = {
    "deviation": "{:g} grey levels of 255",
    "kernel_size": "kernel size {:g} px",
    "sigma": "sigma {:g} px",
    "angle": "angle {:g}°",
    "length": "length {:g} px",
}
SHARE = 0.45
"""Of the image's sides that a detail shows: the blur is a few pixels wide, and would vanish in the whole image."""
MOTION = "gopro"
"""The dataset of real motion blur in the papers."""


def describe(values: Mapping[str, Any]) -> str:
    """The parameters of a blur in words."""
    return ", ".join(LABELS[name].format(value) for name, value in values.items())


def details(heading: str, pictures: Sequence[tuple[str, np.ndarray]], window: Window) -> Strip:
    """The same detail of several images of one size under their labels."""
    return Strip(heading, tuple(Picture(label, enlarge(Image.fromarray(image), window)) for label, image in pictures))


def motion(store: Store) -> tuple[Strip, str] | None:
    """Sharp and blurred image of the set of real motion blur, and its origin; None where it was not built."""
    from bench.data.manifest import NAME, read
    from reports.figures.papers import versions

    if not (store.data / MOTION / NAME).is_file():
        return None
    built = read(store.data / MOTION)
    row = versions.median_row(built)
    sharp, blurred = (versions.stored(built, row, field) for field in ("target", "blurred"))
    images = [Image.fromarray(image) for image in (sharp, blurred)]
    window = worst_windows(images[1:], images[0], 1)[0]
    pictures = [
        Picture(label, shown, (window,) if whole else (), None if whole else 0)
        for label, image in zip(("sharp", "motion blur"), images, strict=True)
        for whole, shown in ((True, image), (False, enlarge(image, window)))
    ]
    origin = str(built.about["origin"])
    where = f"{built.about['title']}{f' ({origin})' if origin != ORIGINALS else ''}, {row['name']}"
    return Strip(f"Motion blur as an average of frames: {where}", tuple(pictures)), origin


def overview(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """Draw one sharp image and its degraded versions, each parameter varied in turn.

    Returns:
        the figure, or which built set is missing.
    Raises:
        DataError: a built set that is damaged.
    """
    from bench.data.manifest import NAME, read
    from reports.figures.papers import versions

    folder = store.data / entry.datasets[0]
    if not (folder / NAME).is_file():
        return f"The dataset {entry.datasets[0]} is not built: it needs no run, but its images."
    built = read(folder)
    row = versions.median_row(built)
    sharp = versions.stored(built, row, "target")
    found = versions.versions(built)
    drawn = found["drawn"][0]
    whole = Image.fromarray(sharp)
    window = worst_windows([Image.fromarray(drawn.image)], whole, 1, SHARE)[0]
    origin = str(built.about["origin"])
    where = f"{built.about['title']}{f' ({origin})' if origin != ORIGINALS else ''}, {row['name']}"
    strips = [
        Strip(
            where,
            (
                Picture("sharp", whole, (window,)),
                Picture("sharp, detail", enlarge(whole, window), frame=0),
                Picture("blurred as drawn, detail", enlarge(Image.fromarray(drawn.image), window), frame=0),
            ),
        )
    ]
    headings = {"deviation": "Random deviation: Gaussian noise on the blurred image"} | {
        name: f"{called}: {kernel} alone, {describe(versions.VARIED[name][0])}"
        for name, (called, kernel) in NAMES.items()
    }
    for name, heading in headings.items():
        labelled = [(LABELS[name].format(one.values[name]), one.image) for one in found[name]]
        strips.append(details(heading, labelled, window))
    text = (
        f"The photograph {row['name']} of {built.about['title']} under the code that degrades the dataset, one "
        f"parameter varied in turn. As drawn for the test set it has {describe(drawn.values)}. The standard deviation "
        "of the noise is drawn for every training image as the amount of a normal number, in grey levels: our reading."
    )
    absent = []
    origins = [origin]
    if real := motion(store):
        strips.append(real[0])
        origins.append(real[1])
    else:
        absent.append(f"motion blur (the dataset {MOTION} is not built)")
    return Drawn(save_sheet(title, strips, path), text, (), tuple(absent), tuple(origins))
