"""Pixel values and colours: rounding to 8 bits, [0, 1] floats, luma and grey, and the checks of images.

Images are RGB (H, W, 3) or grey (H, W): uint8, uint16, or floats in [0, 1]. A restored float image may overshoot
[0, 1], the truth may not. A grey image counts as three equal channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.contracts import DataError
from bench.scoring.metrics.measure import Floats, Image


def quantise(image: Image) -> NDArray[np.uint8]:
    """Return the image in 8 bits: floats are clipped to [0, 1], times 255, rounded; 16 bits divided by 257, rounded.

    A half goes to the even neighbour (IEEE 754; NumPy's and OpenCV's rule). 8 bits come back as they are.

    >>> quantise(np.array([[-0.2, 0.5, 1.7]])).tolist()
    [[0, 128, 255]]

    Raises:
        DataError: when the image has another type, or a value that is NaN or infinite.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    check_floats(image)
    scaled = np.clip(image, 0, 1)
    scaled *= 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


def unit(image: Image) -> Floats:
    """Return the image as float64, 0 black and 1 white, neither clipped nor rounded.

    >>> unit(np.array([[0, 51, 255]], np.uint8)).tolist()
    [[0.0, 0.2, 1.0]]

    Raises:
        DataError: as `quantise`.
    """
    if image.dtype == np.uint8:
        return image / 255.0
    if image.dtype == np.uint16:
        return image / 65535.0
    check_floats(image)
    return image.astype(np.float64, copy=False)


def check_floats(image: Image) -> None:
    """Raise DataError unless the image has floats, all of them finite."""
    if image.dtype.kind != "f":
        raise DataError(f"an image of type {image.dtype}: expected uint8, uint16 or floats in [0, 1]")
    if not np.isfinite(image).all():
        raise DataError(
            f"an image of shape {image.shape} holds {np.count_nonzero(~np.isfinite(image))} values that are "
            "NaN or infinite: it cannot be scored"
        )


def check(pred: Image, target: Image) -> None:
    """Raise DataError unless both images have one shape, (H, W) or (H, W, 3), and a float target is in [0, 1]."""
    if pred.shape != target.shape:
        raise DataError(f"the restored image is {pred.shape}, the truth {target.shape}: expected one shape")
    if pred.ndim not in (2, 3) or pred.size == 0 or pred.shape[2:] not in ((), (3,)):
        raise DataError(f"images of shape {pred.shape}: expected (H, W) or (H, W, 3)")
    if target.dtype.kind == "f":
        low, high = target.min(), target.max()
        if not (low >= 0 and high <= 1):  # NaN too
            raise DataError(f"the truth reaches from {low:g} to {high:g}: expected floats in [0, 1]")


def in_8_bits(pred: Image, target: Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Check both images and return them in 8 bits.

    >>> [image.tolist() for image in in_8_bits(np.array([[0.2]]), np.array([[1.0]]))]
    [[[51]], [[255]]]
    """
    check(pred, target)
    return quantise(pred), quantise(target)


def in_floats(pred: Image, target: Image) -> tuple[Floats, Floats]:
    """Check both images and return them as float64 with white at 1.

    >>> [image.tolist() for image in in_floats(np.array([[51]], np.uint8), np.array([[1.0]]))]
    [[[0.2]], [[1.0]]]
    """
    check(pred, target)
    return unit(pred), unit(target)


def weighted(image: Image, weights: Sequence[float]) -> Floats:
    """Return the weighted sum of R, G and B, (H, W) float64. A grey image counts as three equal channels.

    >>> weighted(np.array([[[10, 20, 30]]], np.uint8), (0.5, 0.25, 0.25)).tolist()
    [[17.5]]
    """
    values = image.astype(np.float64)
    if image.ndim == 2:
        return values * sum(weights)
    return cv2.transform(values, np.array([weights]))


def luma(image8: NDArray[np.uint8]) -> Floats:
    """Return Y of BT.601 in studio swing, [16, 235], from 8-bit RGB; not rounded.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255. Our reading: not rounded, as BasicSR does; MATLAB's rgb2ycbcr of a
    uint8 image rounds, which moves a PSNR by some thousandths of a dB.

    >>> luma(np.array([[[255, 0, 0]]], np.uint8)).round(3).tolist()
    [[81.481]]
    """
    return 16 + weighted(image8, (65.481 / 255, 128.553 / 255, 24.966 / 255))


def grey(image8: NDArray[np.uint8]) -> Floats:
    """Return 0.2989 R + 0.5870 G + 0.1140 B, rounded to whole levels: MATLAB's rgb2gray of a uint8 image.

    >>> grey(np.array([[[255, 0, 0]]], np.uint8)).tolist()
    [[76.0]]
    """
    return np.rint(weighted(image8, (0.2989, 0.5870, 0.1140)))
