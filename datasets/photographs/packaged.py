"""Photographs inside scikit-image and scikit-learn, from which the stand-ins of datasets are made without a download.

They are split by picture, never by crop. `pictures.yaml` lists them with the SHA-256 of each array: a package may
exchange a picture (scikit-image 0.18 exchanged `camera`), and scores on different pictures must not be mixed.

The JPEG pictures (china, flower, rocket) are used at full size. Halving them would remove their block noise, but the
step across the 8-pixel grid is only 1.00 (china), 1.05 (flower) and 1.09 (rocket) times the step elsewhere, and the
256x256 crops of several stand-ins do not fit into the half size (320x213).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import yaml

from bench.contracts import DataError

PICTURES = Path(__file__).with_name("pictures.yaml")
DISPARITY_SHA256 = "f2c0a477374eb7465e98bca1674c0adb6c536c1c3e05999fb16c68472dc798aa"

# Calibration of the motorcycle pair at 741x500, from skimage.data.stereo_motorcycle.
FOCAL_LENGTH = 994.978  # pixels
BASELINE = 0.193001  # metres
OFFSET = 31.086  # pixels, between the principal points


class Picture(TypedDict):
    """A picture of `pictures.yaml`, with the facts that its first lines list."""

    split: str
    package: str
    licence: str
    grey: bool
    sha256: str


@dataclass(frozen=True)
class Photograph:
    """One photograph inside an installed package.

    Args:
        name: its name in the package.
        split: "train", "val" or "test".
        source: the package and the picture.
        licence: the terms, with the credit if one is required.
        grey: whether it has one channel, copied to three.
        load: called without arguments, returns uint8 (H, W, 3). Raises DataError when the package exchanged it.
    """

    name: str
    split: str
    source: str
    licence: str
    grey: bool
    load: Callable[[], np.ndarray]


@cache
def pictures() -> dict[str, Picture]:
    """Read the list of the pictures, by name, in the order of the stand-ins' items."""
    return yaml.safe_load(PICTURES.read_text(encoding="utf-8"))


def verified(name: str, package: str, array: np.ndarray, sha256: str) -> np.ndarray:
    """Return `array` if its bytes have the recorded hash. Raises DataError otherwise."""
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    if digest != sha256:
        raise DataError(
            f"{package}'s picture {name}: found SHA-256 {digest[:16]}... of {array.shape} {array.dtype}, expected "
            f"{sha256[:16]}...; the package exchanged the picture or its decoder: install the version in "
            f"constraints.txt"
        )
    return array


def load(name: str) -> np.ndarray:
    """Read a photograph by name: uint8 (H, W, 3), grey copied to three channels. Raises DataError as `verified`."""
    picture = pictures()[name]
    if picture["package"] == "scikit-learn":
        from sklearn.datasets import load_sample_image

        array = load_sample_image(f"{name}.jpg")
    else:
        from skimage import data

        array = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    array = verified(name, picture["package"], array, picture["sha256"])
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else np.ascontiguousarray(array)


def photographs(split: str) -> list[Photograph]:
    """List the photographs of a split ("train", "val" or "test") without reading them."""
    return [
        Photograph(
            name, split, f"{picture['package']}: {name}", picture["licence"], picture["grey"], partial(load, name)
        )
        for name, picture in pictures().items()
        if picture["split"] == split
    ]


def fill_from_far(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill each run of invalid pixels in a row with the farther of its two neighbours.

    The part of a scene that is hidden from one of two views is behind the edge that hides it, hence the far side.

    Args:
        values: (H, W) depth, larger is farther; values that are not valid are ignored.
        valid: (H, W) bool; every row has a valid pixel.

    Returns:
        (H, W) depth; valid pixels are unchanged.

    >>> fill_from_far(np.array([[2.0, 0.0, 5.0, 0.0]]), np.array([[True, False, True, False]])).tolist()
    [[2.0, 5.0, 5.0, 5.0]]
    """
    columns = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, columns, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    from_left = np.take_along_axis(values, last.clip(0), axis=1)
    from_right = np.take_along_axis(values, after.clip(max=values.shape[1] - 1), axis=1)
    far = np.maximum(np.where(last >= 0, from_left, -np.inf), np.where(after < values.shape[1], from_right, -np.inf))
    return np.where(valid, values, far)


def motorcycle_depth() -> tuple[np.ndarray, np.ndarray]:
    """Return the depth of the photograph `motorcycle_left`, computed from the disparity that comes with it.

    depth = baseline * focal length / (disparity + offset), with the calibration in the docstring of
    `skimage.data.stereo_motorcycle`. The disparity is that of the left picture: left[y, x] and
    right[y, x - disparity[y, x]] are the same point.

    Returns:
        depth (500, 741) float32 in metres, 2.1 to 5.0, invalid pixels filled from the far side;
        valid (500, 741) bool, 92.7 % true: where the disparity was measured.

    Raises:
        DataError: the package exchanged the disparity.
    """
    from skimage import data

    disparity = verified("motorcycle disparity", "scikit-image", data.stereo_motorcycle()[2], DISPARITY_SHA256)
    valid = np.isfinite(disparity)
    depth = BASELINE * FOCAL_LENGTH / (np.where(valid, disparity, 0).astype(np.float64) + OFFSET)
    return fill_from_far(depth, valid).astype(np.float32), valid
