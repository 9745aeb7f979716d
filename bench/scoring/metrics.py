"""Scores of a restored image against the truth, each by an id that names one convention completely.

Images are RGB (H, W, 3) or grey (H, W): uint8, uint16, or floats in [0, 1]. A restored float image may overshoot
[0, 1], the truth may not. A grey image counts as three equal channels. A mask is (H, W), 255 (or 1) = hole.

Sources, where a docstring names none: SSIM: Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 2004. Dual-pixel tables: Abuolaim and Brown, ECCV 2020, code
Abdullah-Abuolaim/defocus-deblurring-dual-pixel. CA: Yu et al., CVPR 2018, answers of JiahuiYu/generative_inpainting.
EdgeConnect: Nazeri et al., ICCV workshops 2019, code knazeri/edge-connect. Koehler et al., "Recording and playback of
camera shake", ECCV 2012, and its evaluation scripts; multi-scale SSIM: Wang et al., Asilomar 2003, as the package
MeTriX MuX of those scripts computes it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.contracts import DataError, UserError

Image = NDArray[Any]
"""uint8, uint16 or floats, (H, W, 3) or (H, W)."""
Floats = NDArray[Any]
"""float64 of the same shapes; OpenCV's own types do not tell."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a table must know of a number.

    Args:
        id: names the convention completely; a table prints it.
        title: a column's head.
        version: rises when the same images would give another value.
        unit: "dB", "%", "s", "" for a plain number, ...
        better: which direction wins.
        decimals: how many a table prints.
        protocol: one sentence on how it is measured and who measures so.
    """

    id: str
    title: str
    version: int = 1
    unit: str
    better: Literal["higher", "lower"]
    decimals: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A measure of one restored image.

    Args:
        compute: (pred, target, mask=None) to the value. Raises DataError for images that cannot be compared.
        region: the pixels that count; a metric of the hole needs a mask.
        many_targets: the truth is many reference frames and the best one counts; `compute` takes one of them.
    """

    compute: Callable[..., float]
    region: Literal["image", "hole"] = "image"
    many_targets: bool = False


@dataclass(frozen=True)
class NotMeasured:
    """A score that could not be taken.

    Args:
        metric: its id.
        reason: why, and what to do where something can be done.
    """

    metric: str
    reason: str


class Undefined(DataError):
    """Images that can be compared, but for which a metric's formula has no value."""


# Values and colours ---------------------------------------------------------------------------------------------------


def quantise(image: Image) -> NDArray[np.uint8]:
    """The image in 8 bits: floats are clipped to [0, 1], times 255, rounded; 16 bits are divided by 257, rounded.

    A half goes to the even neighbour (IEEE 754; NumPy's and OpenCV's rule). 8 bits come back as they are.

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
    """The image as float64, 0 black and 1 white, neither clipped nor rounded. Raises DataError as `quantise` does."""
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
    """Raise DataError unless both images have one shape, (H, W) or (H, W, 3), and a float target lies in [0, 1]."""
    if pred.shape != target.shape:
        raise DataError(f"the restored image is {pred.shape}, the truth {target.shape}: expected one shape")
    if pred.ndim not in (2, 3) or pred.size == 0 or pred.shape[2:] not in ((), (3,)):
        raise DataError(f"images of shape {pred.shape}: expected (H, W) or (H, W, 3)")
    if target.dtype.kind == "f":
        low, high = target.min(), target.max()
        if not (low >= 0 and high <= 1):  # NaN too
            raise DataError(f"the truth reaches from {low:g} to {high:g}: expected floats in [0, 1]")


def in_8_bits(pred: Image, target: Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both images checked, in 8 bits."""
    check(pred, target)
    return quantise(pred), quantise(target)


def in_floats(pred: Image, target: Image) -> tuple[Floats, Floats]:
    """Both images checked, as float64 with white at 1."""
    check(pred, target)
    return unit(pred), unit(target)


def weighted(image: Image, weights: Sequence[float]) -> Floats:
    """The weighted sum of R, G and B, (H, W) float64. A grey image counts as three equal channels."""
    values = image.astype(np.float64)
    if image.ndim == 2:
        return values * sum(weights)
    return cv2.transform(values, np.array([weights]))


def luma(image8: NDArray[np.uint8]) -> Floats:
    """Y of BT.601 in studio swing, [16, 235], from 8-bit RGB; not rounded.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255. Our reading: not rounded, as BasicSR does; MATLAB's rgb2ycbcr of a
    uint8 image rounds, which moves a PSNR by some thousandths of a dB.
    """
    return 16 + weighted(image8, (65.481 / 255, 128.553 / 255, 24.966 / 255))


def grey(image8: NDArray[np.uint8]) -> Floats:
    """0.2989 R + 0.5870 G + 0.1140 B, rounded to whole levels: MATLAB's rgb2gray of a uint8 image."""
    return np.rint(weighted(image8, (0.2989, 0.5870, 0.1140)))


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


# SSIM -----------------------------------------------------------------------------------------------------------------

GAUSSIAN = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)
"""The window of Wang et al.: 11 taps, sigma 1.5 pixels, sum 1."""


def gaussian_window(image: Floats) -> Floats:
    """The local mean under `GAUSSIAN` where the window lies inside the image: 5 pixels less on each side."""
    return cv2.sepFilter2D(image, -1, GAUSSIAN, GAUSSIAN, borderType=cv2.BORDER_REFLECT)[5:-5, 5:-5]


def uniform_window(image: Floats) -> Floats:
    """The local mean of 7x7 pixels where the window lies inside the image: 3 pixels less on each side."""
    return cv2.boxFilter(image, -1, (7, 7), borderType=cv2.BORDER_REFLECT)[3:-3, 3:-3]


def volume_window(image: Floats) -> Floats:
    """The local mean under an 11x11x11 Gaussian of an RGB array taken as a volume, borders repeated on all sides.

    Three planes repeated at both ends turn the third axis into a 3x3 mixture of the channels.
    """
    if image.ndim == 3:
        mixture = np.zeros((3, 3))
        for plane in range(3):
            for tap in range(11):
                mixture[plane, min(max(plane + tap - 5, 0), 2)] += GAUSSIAN[tap, 0]
        image = cv2.transform(image, mixture)
    return cv2.sepFilter2D(image, -1, GAUSSIAN, GAUSSIAN, borderType=cv2.BORDER_REPLICATE)


def structural_similarity(
    pred: Floats, target: Floats, window: Callable[[Floats], Floats], data_range: float, unbiased: float = 1.0
) -> float:
    """The mean over pixels and channels of SSIM (Wang et al. 2004, eq. 13), K1 = 0.01 and K2 = 0.03.

    (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)) with C = (K data_range)^2. The variances
    stand only as a sum, so four local means are enough: of x, y, x^2 + y^2 and x y.

    Args:
        pred: (H, W) or (H, W, C) in [0, data_range].
        target: the same shape.
        window: an image to its local means.
        data_range: the largest value a pixel can hold.
        unbiased: factor on the covariances: n / (n - 1) for those of a sample of n pixels, 1 for a population's.
    Raises:
        DataError: when a side is shorter than 11 pixels, the longest window.
    """
    if min(pred.shape[:2]) < 11:
        raise DataError(f"images of {pred.shape[1]}x{pred.shape[0]} pixels: SSIM needs sides of 11 or more")
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = window(pred), window(target)
    squares, product = window(pred * pred + target * target), window(pred * target)
    means = mean_x * mean_y
    mean_squares = mean_x * mean_x + mean_y * mean_y
    similar = (2 * means + c1) * (2 * unbiased * (product - means) + c2)
    similar /= (mean_squares + c1) * (unbiased * (squares - mean_squares) + c2)
    return float(similar.mean())


def ssim_gauss11(pred: Image, target: Image, mask: Image | None = None) -> float:
    """SSIM of 8-bit images, Gaussian window, population covariance, valid area, mean over channels."""
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(pred8.astype(np.float64), target8.astype(np.float64), gaussian_window, 255)


def ssim_uniform7(pred: Image, target: Image, mask: Image | None = None) -> float:
    """SSIM of floats in [0, 1], 7x7 uniform window, sample covariance, valid area, mean over channels."""
    return structural_similarity(*in_floats(pred, target), uniform_window, 1, unbiased=49 / 48)


def ssim_y(pred: Image, target: Image, mask: Image | None = None) -> float:
    """SSIM of `luma`, range 255, Gaussian window, population covariance, valid area."""
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(luma(pred8), luma(target8), gaussian_window, 255)


def ssim_matlab_rgb(pred: Image, target: Image, mask: Image | None = None) -> float:
    """SSIM of 8-bit RGB taken as a volume, as MATLAB's `ssim` does when it is given an RGB array.

    An 11x11x11 Gaussian, sigma 1.5, borders repeated, population covariance, the mean over the whole map. A grey image
    is the ordinary two-dimensional case with repeated borders.
    """
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(pred8.astype(np.float64), target8.astype(np.float64), volume_window, 255)


# Koehler: the best of many reference frames ---------------------------------------------------------------------------


def align(pred: Image, frame: Image) -> tuple[Floats, Floats]:
    """Fit the restored image to a reference frame as Koehler's evaluation script does.

    1. The intensity: pred is multiplied by sum(pred frame) / sum(pred^2) over all pixels and channels.
    2. The shift: the peak of the circular cross-correlation of both images' channel means, in whole pixels (the script
       calls its registration with an upsampling of 1; the paper says no more than "translation").
    3. Pixels that the shift brings in are 0 in both images, and count.

    Returns:
        the fitted restored image and the frame, float64 in [0, 255], of `pred`'s shape.
    Raises:
        Undefined: when the restored image is black.
        DataError: when the images do not match.
    """
    pred8, frame8 = in_8_bits(pred, frame)
    x, z = frame8.astype(np.float64), pred8.astype(np.float64)
    energy = (z * z).sum()
    if energy == 0:
        raise Undefined("the restored image is black throughout: its intensity cannot be fitted to a reference frame")
    z *= (x * z).sum() / energy
    rows, columns = shift(z, x)
    height, width = z.shape[:2]
    fitted, kept = np.zeros_like(z), np.zeros_like(x)
    inside = (slice(max(rows, 0), height + min(rows, 0)), slice(max(columns, 0), width + min(columns, 0)))
    origin = (slice(max(-rows, 0), height - max(rows, 0)), slice(max(-columns, 0), width - max(columns, 0)))
    fitted[inside], kept[inside] = z[origin], x[inside]
    return fitted, kept


def shift(image: Floats, reference: Floats) -> tuple[int, int]:
    """Rows and columns, in whole pixels, by which `image` must move to lie on `reference`: the correlation's peak."""
    x, z = (cv2.dft(plane.mean(axis=2) if plane.ndim == 3 else plane) for plane in (reference, image))
    correlation = cv2.dft(cv2.mulSpectrums(x, z, 0, conjB=True), flags=cv2.DFT_INVERSE)
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    row, column = (int(at) - side if at >= side // 2 else int(at) for at, side in zip(peak, image.shape, strict=False))
    return row, column


def full_luma(image: Floats) -> Floats:
    """0.299 R + 0.587 G + 0.114 B, not rounded: what the evaluation's metric package sees of a colour image."""
    return weighted(image, (0.299, 0.587, 0.114))


def psnr_kohler(pred: Image, target: Image, mask: Image | None = None) -> float:
    """10 log10(255^2 / MSE) in dB of `full_luma` after `align` with one reference frame."""
    fitted, frame = (full_luma(image) for image in align(pred, target))
    return decibels(mean_square(fitted, frame), 255)


def ssim_kohler(pred: Image, target: Image, mask: Image | None = None) -> float:
    """SSIM of `full_luma`, Gaussian window, valid area, after `align` with one reference frame."""
    fitted, frame = (full_luma(image) for image in align(pred, target))
    return structural_similarity(fitted, frame, gaussian_window, 255)


LOW_PASS = np.array([0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830, 0.852698679008890])
LOW_PASS = np.concatenate([LOW_PASS, LOW_PASS[-2::-1]])
LOW_PASS /= LOW_PASS.sum()
"""The analysis low-pass of the biorthogonal 9/7 wavelet, sum 1."""


def mssim_kohler(pred: Image, target: Image, mask: Image | None = None) -> float:
    """Multi-scale SSIM of `full_luma` after `align` with one reference frame: the script's "MSSIM".

    Five scales, each the last one low-passed by the 9/7 wavelet (edges mirrored) and halved. The mean contrasts V and
    the mean structures R of all scales and the mean luminance M of the coarsest, each to its power (0.0448, 0.2856,
    0.3001, 0.2363, 0.1333), are multiplied. Our reading: a negative mean structure counts as 0; the script's power
    would be complex.

    Raises:
        DataError: when a side is shorter than 161 pixels: the coarsest scale must hold the window of 11.
    """
    x, y = (full_luma(image) for image in align(pred, target))
    if min(x.shape) < 161:
        raise DataError(f"images of {x.shape[1]}x{x.shape[0]} pixels: mssim-kohler needs sides of 161 or more")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for power in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        mean_x, mean_y = gaussian_window(x), gaussian_window(y)
        squared = mean_x * mean_x, mean_y * mean_y
        var_x, var_y = (np.maximum(gaussian_window(i * i) - m, 0) for i, m in zip((x, y), squared, strict=True))
        deviations = np.sqrt(var_x * var_y)
        contrast = (2 * deviations + c2) / (var_x + var_y + c2)
        structure = (gaussian_window(x * y) - mean_x * mean_y + c2 / 2) / (deviations + c2 / 2)
        product *= float(contrast.mean() * max(structure.mean(), 0)) ** power
        luminance = (2 * mean_x * mean_y + c1) / (squared[0] + squared[1] + c1)
        x, y = (cv2.sepFilter2D(i, -1, LOW_PASS, LOW_PASS, borderType=cv2.BORDER_REFLECT)[::2, ::2] for i in (x, y))
    return product * float(luminance.mean()) ** power


# The table of metrics -------------------------------------------------------------------------------------------------

PSNR = partial(Metric, title="PSNR", unit="dB", better="higher", decimals=2)
SSIM = partial(Metric, title="SSIM", unit="", better="higher", decimals=4)
ERROR = partial(Metric, title="MAE", unit="", better="lower", decimals=4)

METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        PSNR(
            id="psnr-rgb8",
            compute=psnr_rgb8,
            protocol="RGB rounded to 8 bits, one MSE over pixels and channels, peak 255; the mean of images. "
            "MATLAB's psnr of saved images; DeepDeblur and most inpainting code within 0.01 dB.",
        ),
        PSNR(
            id="psnr-float",
            compute=psnr_float,
            protocol="RGB floats in [0, 1], float64, one MSE over pixels and channels, peak 1; the mean of images, "
            "which have their dataset's depth, as a saved file has: 16 bits in DPDD. DPDNet and the dual-pixel tables.",
        ),
        PSNR(
            id="psnr-y",
            title="PSNR (Y)",
            compute=psnr_y,
            protocol="Y of BT.601 in [16, 235] from 8-bit RGB, not rounded, peak 255. Usual in super-resolution.",
        ),
        PSNR(
            id="psnr-channels",
            title="PSNR (channel mean)",
            compute=psnr_channels,
            protocol="8-bit RGB, a PSNR a channel, peak 255, then the mean of the three.",
        ),
        PSNR(
            id="psnr-grey",
            title="PSNR (grey)",
            compute=psnr_grey,
            protocol="8-bit RGB turned grey by 0.2989, 0.5870, 0.1140 and rounded, peak 255. MATLAB's rgb2gray, psnr.",
        ),
        PSNR(
            id="psnr-rgb8-hole",
            title="PSNR (hole)",
            region="hole",
            compute=psnr_rgb8_hole,
            protocol="psnr-rgb8 over the hole's pixels alone.",
        ),
        SSIM(
            id="ssim-gauss11",
            compute=ssim_gauss11,
            protocol="8-bit RGB, Gaussian window 11x11 sigma 1.5, population covariance, valid area, the mean of "
            "channels. Wang's own; DeepDeblur-PyTorch; scikit-image with gaussian_weights.",
        ),
        SSIM(
            id="ssim-uniform7",
            title="SSIM (7x7)",
            compute=ssim_uniform7,
            protocol="RGB floats, uniform window 7x7, sample covariance, valid area, the mean of channels. "
            "scikit-image's default; DPDNet and the dual-pixel tables.",
        ),
        SSIM(
            id="ssim-y",
            title="SSIM (Y)",
            compute=ssim_y,
            protocol="Y of BT.601 in [16, 235], Gaussian window 11x11 sigma 1.5, valid area, range 255. Usual in "
            "super-resolution.",
        ),
        SSIM(
            id="ssim-matlab-rgb",
            title="SSIM (MATLAB, RGB)",
            compute=ssim_matlab_rgb,
            protocol="8-bit RGB as a volume, Gaussian 11x11x11 sigma 1.5, repeated borders: MATLAB's ssim given an RGB "
            "array. SRN, LMFN's and MRFNet's evaluation scripts.",
        ),
        ERROR(
            id="mae",
            compute=mae,
            protocol="The mean absolute error over pixels and channels of RGB floats in [0, 1]. DPDNet; the L1 of "
            "inpainting papers that print about 0.01.",
        ),
        ERROR(
            id="mse",
            title="MSE",
            decimals=5,
            compute=mse,
            protocol="The mean squared error over pixels and channels of RGB floats in [0, 1].",
        ),
        ERROR(
            id="mae-hole",
            title="MAE (hole)",
            region="hole",
            compute=mae_hole,
            protocol="mae over the hole's pixels alone.",
        ),
        ERROR(
            id="l1-relative",
            title="relative L1",
            unit="%",
            decimals=2,
            compute=l1_relative,
            protocol="The sum of absolute differences by the sum of the truth, RGB. CA's authors.",
        ),
        ERROR(
            id="l2-relative",
            title="relative L2",
            unit="%",
            decimals=2,
            compute=l2_relative,
            protocol="The sum of squared differences by the sum of the squared truth, RGB. CA's authors.",
        ),
        ERROR(
            id="mae-edgeconnect",
            title="MAE (EdgeConnect)",
            compute=mae_edgeconnect,
            protocol="Grey images, the sum of absolute differences by the sum of result and truth. EdgeConnect's "
            "evaluation script; about half of l1-relative / 100.",
        ),
        PSNR(
            id="psnr-kohler",
            title="PSNR (fitted, aligned, best frame)",
            many_targets=True,
            compute=psnr_kohler,
            protocol="Intensity fitted, whole-pixel shift, 0.299/0.587/0.114 luma of 8-bit RGB, peak 255, the best of "
            "all reference frames. Koehler's evaluation script; several dB above plain PSNR.",
        ),
        SSIM(
            id="ssim-kohler",
            title="SSIM (fitted, aligned, best frame)",
            many_targets=True,
            compute=ssim_kohler,
            protocol="Fitted and aligned as psnr-kohler, then SSIM with the Gaussian window on luma, the best of all "
            "reference frames.",
        ),
        SSIM(
            id="mssim-kohler",
            title="MSSIM (fitted, aligned, best frame)",
            many_targets=True,
            compute=mssim_kohler,
            protocol="Fitted and aligned as psnr-kohler, then multi-scale SSIM on luma, the best of all reference "
            "frames. The MSSIM of Koehler's evaluation script.",
        ),
    )
}


def find(metric_id: str) -> Metric:
    """The metric of that id. Raises UserError with the nearest ids."""
    if metric_id not in METRICS:
        near = difflib.get_close_matches(metric_id, METRICS, n=4, cutoff=0.4) or sorted(METRICS)
        raise UserError(f"no metric {metric_id!r}; the nearest are: {', '.join(near)}")
    return METRICS[metric_id]


def best_references(ids: Iterable[str], pred: Image, references: Iterable[Image]) -> dict[str, tuple[float, int]]:
    """Score one image against many reference frames, each read once: the best value and its frame, from 0, by id.

    Raises:
        UserError: for an unknown id.
        DataError: when there is no reference frame, or one does not match the image.
    """
    metrics = [find(metric_id) for metric_id in ids]
    best: dict[str, tuple[float, int]] = {}
    for place, frame in enumerate(references):
        for metric in metrics:
            value = metric.compute(pred, frame)
            sign = 1 if metric.better == "higher" else -1
            if metric.id not in best or sign * value > sign * best[metric.id][0]:
                best[metric.id] = (value, place)
    if metrics and not best:
        raise DataError(
            f"{', '.join(metric.id for metric in metrics)}: the image has no reference frames to score against"
        )
    return best


def best_reference(metric: Metric, pred: Image, references: Iterable[Image]) -> tuple[float, int]:
    """The best value of `metric` over the reference frames, and that frame's place from 0."""
    return best_references([metric.id], pred, references)[metric.id]


def compute_all(
    ids: Iterable[str],
    pred: Image,
    target: Image,
    mask: Image | None = None,
    references: Iterable[Image] = (),
) -> dict[str, float | NotMeasured]:
    """Score one restored image by several metrics: by id the value, or why the formula has none for these images.

    Args:
        ids: of `METRICS`; all are looked up before the first is computed.
        pred: (H, W, 3) or (H, W); uint8, uint16, or floats in [0, 1].
        target: the same shape.
        mask: (H, W), 255 (or 1) = hole; for the metrics of the hole.
        references: the frames of the metrics that take the best of many; read once.
    Raises:
        UserError: for an unknown id.
        DataError: when the images cannot be compared, or what a metric needs is missing.
    """
    metrics = [find(metric_id) for metric_id in ids]
    many = [metric.id for metric in metrics if metric.many_targets]
    found: dict[str, float | NotMeasured] = {}
    try:
        found |= {name: value for name, (value, _) in best_references(many, pred, references).items()}
    except Undefined as error:  # for one of them: they all begin by fitting the intensity
        found |= {name: NotMeasured(name, str(error)) for name in many}
    for metric in metrics:
        if not metric.many_targets:
            try:
                found[metric.id] = metric.compute(pred, target, mask)
            except Undefined as error:
                found[metric.id] = NotMeasured(metric.id, str(error))
    return {metric.id: found[metric.id] for metric in metrics}
