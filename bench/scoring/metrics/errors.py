"""PSNR and the errors per pixel: MSE, MAE, relative L1 and L2; over the image or over the hole."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.contracts import DataError
from bench.scoring.metrics.measure import Image, Undefined
from bench.scoring.metrics.values import grey, in_8_bits, in_floats, luma, weighted

# PSNR and errors ------------------------------------------------------------------------------------------------------


def mean_square(pred: Image, target: Image, mask: NDArray[np.uint8] | None = None) -> float:
    """The mean squared difference over pixels and channels, of the pixels where `mask` (H, W) is not 0."""
    count = pred.size if mask is None else np.count_nonzero(mask) * (pred.size // mask.size)
    return cv2.norm(pred, target, cv2.NORM_L2SQR, mask) / count


def decibels(square: float, data_range: float) -> float:
    """10 log10(data_range^2 / MSE) in dB; inf for an MSE of 0."""
    return float("inf") if square == 0 else float(10 * np.log10(data_range**2 / square))


def hole(mask: Image | None, target: Image) -> NDArray[np.uint8]:
    """The mask (H, W) as uint8 0 and 1 = hole.

    Raises:
        Undefined: it has no hole.
        DataError: it is missing, of another size, or has other values.
    """
    if mask is None:
        raise DataError("a score of the hole needs the image's mask, and there is none")
    if mask.shape != target.shape[:2]:
        raise DataError(f"the mask is {mask.shape}, the image {target.shape}: expected the image's (H, W)")
    top = mask.max()
    if top not in (0, 1, 255) or not ((mask == 0) | (mask == top)).all():
        raise DataError("the mask has other values than 0 = known and 255 (or 1) = hole")
    if top == 0:
        raise Undefined("the mask has no hole: a score of the hole has no pixels")
    return (mask != 0).astype(np.uint8)


def psnr_rgb8(pred: Image, target: Image, mask: Image | None = None) -> float:
    """10 log10(255^2 / MSE) in dB of 8-bit images, the MSE over all pixels and channels together."""
    return decibels(mean_square(*in_8_bits(pred, target)), 255)


def psnr_float(pred: Image, target: Image, mask: Image | None = None) -> float:
    """10 log10(1 / MSE) in dB of floats, float64, neither clipped nor rounded."""
    return decibels(mean_square(*in_floats(pred, target)), 1)


def psnr_y(pred: Image, target: Image, mask: Image | None = None) -> float:
    """10 log10(255^2 / MSE) in dB of `luma`. The peak is 255 although Y ends at 235: so does super-resolution."""
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(luma(pred8), luma(target8)), 255)


def psnr_grey(pred: Image, target: Image, mask: Image | None = None) -> float:
    """10 log10(255^2 / MSE) in dB of `grey`."""
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(grey(pred8), grey(target8)), 255)


def psnr_channels(pred: Image, target: Image, mask: Image | None = None) -> float:
    """The mean over channels of each one's 10 log10(255^2 / MSE) in dB, 8-bit images; inf if one channel is equal."""
    pairs = zip(*(cv2.split(image) for image in in_8_bits(pred, target)), strict=True)
    return float(np.mean([decibels(mean_square(*pair), 255) for pair in pairs]))


def psnr_rgb8_hole(pred: Image, target: Image, mask: Image | None = None) -> float:
    """`psnr_rgb8` over the hole's pixels alone."""
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(pred8, target8, hole(mask, target)), 255)


def mse(pred: Image, target: Image, mask: Image | None = None) -> float:
    """The mean of (pred - target)^2 over pixels and channels of floats in [0, 1]."""
    return mean_square(*in_floats(pred, target))


def mae(pred: Image, target: Image, mask: Image | None = None) -> float:
    """The mean of |pred - target| over pixels and channels of floats in [0, 1]."""
    return cv2.norm(*in_floats(pred, target), cv2.NORM_L1) / pred.size


def mae_hole(pred: Image, target: Image, mask: Image | None = None) -> float:
    """`mae` over the hole's pixels alone."""
    inside = hole(mask, target)
    count = np.count_nonzero(inside) * (pred.size // inside.size)
    return cv2.norm(*in_floats(pred, target), cv2.NORM_L1, inside) / count


def relative(error: float, size: float, name: str) -> float:
    """error / size. Raises Undefined for a truth that is black throughout."""
    if size == 0:
        raise Undefined(f"the truth is black throughout: {name} divides by its sum")
    return float(error / size)


def l1_relative(pred: Image, target: Image, mask: Image | None = None) -> float:
    """100 sum|pred - target| / sum(target), in percent."""
    pred1, target1 = in_floats(pred, target)
    return 100 * relative(cv2.norm(pred1, target1, cv2.NORM_L1), target1.sum(), "l1-relative")


def l2_relative(pred: Image, target: Image, mask: Image | None = None) -> float:
    """100 sum (pred - target)^2 / sum(target^2), in percent.

    Our reading: CA's authors say "squared relative L2 error", so both sums are of squares and no root is drawn.
    """
    pred1, target1 = in_floats(pred, target)
    squares = cv2.norm(target1, cv2.NORM_L2SQR)
    return 100 * relative(cv2.norm(pred1, target1, cv2.NORM_L2SQR), squares, "l2-relative")


def mae_edgeconnect(pred: Image, target: Image, mask: Image | None = None) -> float:
    """sum|pred - target| / sum(pred + target) of 8-bit images turned grey: about half of `l1-relative` / 100.

    EdgeConnect turns grey with scikit-image's weights, 0.2125, 0.7154 and 0.0721; a grey image stays as it is.
    """
    pair = in_8_bits(pred, target)
    pred1, target1 = (weighted(image, (0.2125, 0.7154, 0.0721)) for image in pair)
    return relative(cv2.norm(pred1, target1, cv2.NORM_L1), (pred1 + target1).sum(), "mae-edgeconnect")
