"""Variants of one blurred photograph: degraded again and again, one parameter of the blur varied at a time.

The dataset's own code makes them, so that a figure shows what the networks were given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.contracts import DataError
from bench.data import augment
from bench.data.manifest import NAME, BuiltSet
from datasets.degradations.blur import kernel_blur

UNCHANGED = {"kernel_size": 1, "sigma": 1.0, "length": 1, "angle": 0}
"""The arguments of `kernel_blur` that leave an image as it is: both kernels are one pixel."""
VARIED: Mapping[str, tuple[Mapping[str, float], tuple[float, ...]]] = {
    "kernel_size": ({"sigma": 1.0}, (1, 2, 3, 4, 5)),
    "sigma": ({"kernel_size": 5}, (0.1, 0.4, 0.6, 0.8, 1.0)),
    "angle": ({"length": 20}, (0, 30, 60, 90, 135)),
    "length": ({"angle": 45}, (5, 10, 15, 20, 30)),
}
"""By parameter: the others where they are not UNCHANGED, and its values, all of which the recipe can draw."""
DEVIATIONS = (0.5, 1.0, 2.0, 3.0)
"""Standard deviations of the noise in 8-bit grey levels: |N(0, 1)| is below 3 in 997 of 1,000 draws."""


@dataclass(frozen=True)
class Variant:
    """One degraded photograph."""

    values: Mapping[str, Any]
    """Its parameters: kernel_size, sigma and length in pixels, angle in degrees; or deviation in 8-bit grey levels."""
    image: np.ndarray
    """(H, W, 3) uint8."""


def median_row(built: BuiltSet) -> Mapping[str, Any]:
    """The test image of the median input, by the rule that also chooses the kept images of every run."""
    rows = built.split("test").sort_values(["input_psnr", "name"])
    return dict(rows.iloc[len(rows) // 2])


def stored_image(built: BuiltSet, row: Mapping[str, Any], field: str) -> np.ndarray:
    """Read one image of a built set, (H, W, 3) uint8. Raises DataError: no such field, or a file that has changed."""
    image = built.image(row, field)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise DataError(
            f"{built.folder}: {field} of {row['name']}: found {image.dtype} {image.shape}, expected 8-bit RGB"
        )
    return image


def noisy(image: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    """Add the noise of training's augmentation, with a given standard deviation in place of a drawn one.

    Args:
        image: (H, W, 3) uint8.
        deviation: 8-bit grey levels.

    Returns:
        (H, W, 3) uint8, rounded.
    """
    drawn = abs(np.random.default_rng(seed).normal())  # what the augmentation will draw for a sigma of 1
    sample = {"x": image.astype(np.float32) / 255}
    degraded = augment.noise(sample, np.random.default_rng(seed), sigma=deviation / drawn)["x"]
    return (degraded * 255).round().astype(np.uint8)


def drawn_values(built: BuiltSet, row: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were drawn for an image's blur. Raises DataError when `draw_kernel_blur` did not make it."""
    values = json.loads(row["degradation"])
    if missing := sorted(set(UNCHANGED) - set(values)):
        raise DataError(
            f"{built.folder / NAME}: image {row['name']}: the degradation has no {', '.join(missing)}; expected the "
            "parameters of a Gaussian and a motion kernel; build the dataset again"
        )
    return {name: values[name] for name in UNCHANGED}


def variants(built: BuiltSet) -> dict[str, list[Variant]]:
    """Degrade the median test image of a dataset that `draw_kernel_blur` has blurred.

    Returns:
        "drawn": the blurred image as it is stored; "deviation": this image with noise; and for each key of VARIED the
        sharp image blurred with this parameter varied.

    Raises:
        DataError: a set of another blur, or a file that is missing or damaged.
    """
    row = median_row(built)
    drawn = drawn_values(built, row)
    sharp, blurred = stored_image(built, row, "target"), stored_image(built, row, "blurred")
    by_parameter = {
        "drawn": [Variant(drawn, blurred)],
        "deviation": [Variant({"deviation": value}, noisy(blurred, value)) for value in DEVIATIONS],
    }
    for name, (others, values) in VARIED.items():
        steps: list[dict[str, Any]] = [{**UNCHANGED, **others, name: value} for value in values]
        by_parameter[name] = [Variant(step, kernel_blur(sharp, **step)) for step in steps]
    return by_parameter
