"""PSNR and the errors per pixel: MSE, MAE, relative L1 and L2; over the image or over the hole.

Sources: the dual-pixel tables: Abuolaim and Brown, ECCV 2020, code Abdullah-Abuolaim/defocus-deblurring-dual-pixel.
CA: Yu et al., CVPR 2018, answers of JiahuiYu/generative_inpainting. EdgeConnect: Nazeri et al., ICCV workshops 2019,
code knazeri/edge-connect.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.contracts import DataError
from bench.scoring.metrics.measure import HoleMetric, Image, ImageMetric, Undefined
from bench.scoring.metrics.values import grey, in_8_bits, in_floats, luma, weighted

# What several metrics share -------------------------------------------------------------------------------------------


def mean_square(pred: Image, target: Image, mask: NDArray[np.uint8] | None = None) -> float:
    """Return the mean squared difference over pixels and channels, of the pixels where `mask` (H, W) is not 0.

    >>> mean_square(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]]))
    2.0
    """
    count = pred.size if mask is None else np.count_nonzero(mask) * (pred.size // mask.size)
    return cv2.norm(pred, target, cv2.NORM_L2SQR, mask) / count


def decibels(square: float, data_range: float) -> float:
    """Return 10 log10(data_range^2 / MSE) in dB; inf for an MSE of 0.

    >>> decibels(0.01, 1)
    20.0
    """
    return float("inf") if square == 0 else float(10 * np.log10(data_range**2 / square))


def hole(mask: Image, target: Image) -> NDArray[np.uint8]:
    """Return the mask (H, W) as uint8, 0 = known and 1 = hole.

    >>> hole(np.array([[0, 255]]), np.zeros((1, 2, 3))).tolist()
    [[0, 1]]

    Raises:
        Undefined: it has no hole.
        DataError: it has another size or other values.
    """
    if mask.shape != target.shape[:2]:
        raise DataError(f"the mask is {mask.shape}, the image {target.shape}: expected the image's (H, W)")
    top = mask.max()
    if top not in (0, 1, 255) or not ((mask == 0) | (mask == top)).all():
        raise DataError("the mask has other values than 0 = known and 255 (or 1) = hole")
    if top == 0:
        raise Undefined("the mask has no hole: a score of the hole has no pixels")
    return (mask != 0).astype(np.uint8)


def relative(error: float, size: float, name: str) -> float:
    """Return error / size. Raises Undefined for a truth that is black everywhere.

    >>> relative(1.0, 4.0, "l1-relative")
    0.25
    """
    if size == 0:
        raise Undefined(f"the truth is black throughout: {name} divides by its sum")
    return float(error / size)


# PSNR -----------------------------------------------------------------------------------------------------------------


def psnr_rgb8(pred: Image, target: Image) -> float:
    """Return 10 log10(255^2 / MSE) in dB of 8-bit images, the MSE over all pixels and channels together.

    >>> target = np.full((16, 16, 3), 100, np.uint8)
    >>> round(psnr_rgb8(target + np.uint8(1), target), 2)
    48.13
    """
    return decibels(mean_square(*in_8_bits(pred, target)), 255)


PSNR_RGB8 = ImageMetric(
    id="psnr-rgb8",
    title="PSNR",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_rgb8,
    protocol="10 log10(255^2 / MSE) of 8-bit RGB, one MSE over all pixels and channels, then the mean over images",
    notes="MATLAB's psnr of saved images; DeepDeblur and most inpainting code within 0.01 dB.",
    overview=10,
)


def psnr_float(pred: Image, target: Image) -> float:
    """Return 10 log10(1 / MSE) in dB of floats, float64, neither clipped nor rounded.

    >>> target = np.full((16, 16, 3), 0.5)
    >>> round(psnr_float(target + 0.1, target), 2)
    20.0
    """
    return decibels(mean_square(*in_floats(pred, target)), 1)


PSNR_FLOAT = ImageMetric(
    id="psnr-float",
    title="PSNR",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_float,
    protocol="10 log10(1 / MSE) of RGB floats in [0, 1], one MSE over all pixels and channels, of images in their "
    "dataset's depth",
    notes="DPDNet and the dual-pixel tables, whose saved files have 16 bits.",
)


def psnr_y(pred: Image, target: Image) -> float:
    """Return 10 log10(255^2 / MSE) in dB of `luma`. The peak is 255 although Y ends at 235, as in super-resolution.

    >>> target = np.full((16, 16, 3), 100, np.uint8)
    >>> round(psnr_y(target + np.uint8(1), target), 2)
    49.45
    """
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(luma(pred8), luma(target8)), 255)


PSNR_Y = ImageMetric(
    id="psnr-y",
    title="PSNR Y",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_y,
    protocol="PSNR of the luma alone (BT.601, [16, 235], of 8-bit RGB, not rounded, peak 255)",
    notes="Usual in super-resolution.",
)


def psnr_channels(pred: Image, target: Image) -> float:
    """Return the mean over channels of each one's 10 log10(255^2 / MSE) in dB, 8-bit images; inf if one is equal.

    >>> target = np.full((16, 16, 3), 100, np.uint8)
    >>> round(psnr_channels(target + np.array([1, 1, 10], np.uint8), target), 2)
    41.46
    """
    pairs = zip(*(cv2.split(image) for image in in_8_bits(pred, target)), strict=True)
    return float(np.mean([decibels(mean_square(*pair), 255) for pair in pairs]))


PSNR_CHANNELS = ImageMetric(
    id="psnr-channels",
    title="PSNR channel mean",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_channels,
    protocol="8-bit RGB, one PSNR per channel, peak 255, then the mean of the three",
)


def psnr_grey(pred: Image, target: Image) -> float:
    """Return 10 log10(255^2 / MSE) in dB of `grey`.

    >>> target = np.full((16, 16, 3), 100, np.uint8)
    >>> round(psnr_grey(target + np.uint8(1), target), 2)
    48.13
    """
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(grey(pred8), grey(target8)), 255)


PSNR_GREY = ImageMetric(
    id="psnr-grey",
    title="PSNR grey",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_grey,
    protocol="PSNR of 8-bit RGB turned grey by 0.2989, 0.5870, 0.1140 and rounded, peak 255",
    notes="MATLAB's psnr after rgb2gray.",
)


def psnr_rgb8_hole(pred: Image, target: Image, mask: Image) -> float:
    """Return `psnr_rgb8` over the hole's pixels alone.

    >>> target = np.full((16, 16, 3), 100, np.uint8)
    >>> mask = np.zeros((16, 16), np.uint8)
    >>> mask[4:8, 4:8] = 255
    >>> round(psnr_rgb8_hole(target + np.uint8(1), target, mask), 2)
    48.13
    """
    pred8, target8 = in_8_bits(pred, target)
    return decibels(mean_square(pred8, target8, hole(mask, target)), 255)


PSNR_RGB8_HOLE = HoleMetric(
    id="psnr-rgb8-hole",
    title="PSNR in the hole",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_rgb8_hole,
    protocol="as psnr-rgb8, the MSE over the pixels of the hole alone",
    overview=20,
)

# Errors ---------------------------------------------------------------------------------------------------------------


def mse(pred: Image, target: Image) -> float:
    """Return the mean of (pred - target)^2 over pixels and channels of floats in [0, 1].

    >>> target = np.full((16, 16, 3), 0.5)
    >>> round(mse(target + 0.1, target), 4)
    0.01
    """
    return mean_square(*in_floats(pred, target))


MSE = ImageMetric(
    id="mse",
    title="MSE",
    unit="",
    better="lower",
    decimals=5,
    compute=mse,
    protocol="mean squared error over pixels and channels, images in [0, 1]",
)


def mae(pred: Image, target: Image) -> float:
    """Return the mean of |pred - target| over pixels and channels of floats in [0, 1].

    >>> target = np.full((16, 16, 3), 0.5)
    >>> round(mae(target + 0.1, target), 4)
    0.1
    """
    return cv2.norm(*in_floats(pred, target), cv2.NORM_L1) / pred.size


MAE = ImageMetric(
    id="mae",
    title="MAE",
    unit="",
    better="lower",
    decimals=4,
    compute=mae,
    protocol="mean absolute error over pixels and channels, images in [0, 1]",
    notes="DPDNet; the L1 of inpainting papers that print about 0.01.",
    overview=50,
)


def mae_hole(pred: Image, target: Image, mask: Image) -> float:
    """Return `mae` over the hole's pixels alone.

    >>> target = np.full((16, 16, 3), 0.5)
    >>> mask = np.zeros((16, 16), np.uint8)
    >>> mask[4:8, 4:8] = 255
    >>> round(float(mae_hole(target + 0.1 * (mask > 0)[..., None], target, mask)), 4)
    0.1
    """
    inside = hole(mask, target)
    count = np.count_nonzero(inside) * (pred.size // inside.size)
    return cv2.norm(*in_floats(pred, target), cv2.NORM_L1, inside) / count


MAE_HOLE = HoleMetric(
    id="mae-hole",
    title="MAE in the hole",
    unit="",
    better="lower",
    decimals=4,
    compute=mae_hole,
    protocol="as mae, over the pixels of the hole alone",
)


def l1_relative(pred: Image, target: Image) -> float:
    """Return 100 sum|pred - target| / sum(target), in percent.

    >>> target = np.full((16, 16, 3), 0.5)
    >>> round(l1_relative(target + 0.1, target), 2)
    20.0
    """
    pred1, target1 = in_floats(pred, target)
    return 100 * relative(cv2.norm(pred1, target1, cv2.NORM_L1), target1.sum(), "l1-relative")


L1_RELATIVE = ImageMetric(
    id="l1-relative",
    title="relative L1",
    unit="%",
    better="lower",
    decimals=2,
    compute=l1_relative,
    protocol="the sum of absolute differences over the sum of the target, in percent",
    notes="CA's authors.",
)


def l2_relative(pred: Image, target: Image) -> float:
    """Return 100 sum (pred - target)^2 / sum(target^2), in percent.

    Our reading: CA's authors say "squared relative L2 error", so both sums are of squares and no root is taken.

    >>> target = np.full((16, 16, 3), 0.5)
    >>> round(l2_relative(target + 0.1, target), 2)
    4.0
    """
    pred1, target1 = in_floats(pred, target)
    squares = cv2.norm(target1, cv2.NORM_L2SQR)
    return 100 * relative(cv2.norm(pred1, target1, cv2.NORM_L2SQR), squares, "l2-relative")


L2_RELATIVE = ImageMetric(
    id="l2-relative",
    title="relative L2",
    unit="%",
    better="lower",
    decimals=2,
    compute=l2_relative,
    protocol="the sum of squared differences over the sum of the squared target, in percent",
    notes="CA's authors.",
)


def mae_edgeconnect(pred: Image, target: Image) -> float:
    """Return sum|pred - target| / sum(pred + target) of 8-bit images turned grey: about half of `l1_relative` / 100.

    EdgeConnect turns grey with scikit-image's weights, 0.2125, 0.7154 and 0.0721; a grey image stays as it is.

    >>> target = np.full((16, 16), 100, np.uint8)
    >>> round(mae_edgeconnect(target + np.uint8(10), target), 4)
    0.0476
    """
    pair = in_8_bits(pred, target)
    pred1, target1 = (weighted(image, (0.2125, 0.7154, 0.0721)) for image in pair)
    return relative(cv2.norm(pred1, target1, cv2.NORM_L1), (pred1 + target1).sum(), "mae-edgeconnect")


MAE_EDGECONNECT = ImageMetric(
    id="mae-edgeconnect",
    title="MAE EdgeConnect",
    unit="",
    better="lower",
    decimals=4,
    compute=mae_edgeconnect,
    protocol="8-bit RGB turned grey, the sum of absolute differences over the sum of result and target",
    notes="EdgeConnect's evaluation script; about half of l1-relative / 100.",
)
