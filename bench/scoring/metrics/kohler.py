"""The metrics of Koehler's evaluation script: the best reference frame after fitting and aligning.

Sources: Koehler et al., "Recording and playback of camera shake", ECCV 2012, and its evaluation scripts; multi-scale
SSIM: Wang et al., Asilomar 2003, as the package MeTriX MuX of those scripts computes it.
"""

from __future__ import annotations

import cv2
import numpy as np

from bench.contracts import DataError
from bench.scoring.metrics.errors import decibels, mean_square
from bench.scoring.metrics.measure import Floats, Image, ReferenceMetric, Undefined
from bench.scoring.metrics.ssim import gaussian_window, structural_similarity
from bench.scoring.metrics.values import in_8_bits, weighted

# Fitting and aligning -------------------------------------------------------------------------------------------------


def align(pred: Image, frame: Image) -> tuple[Floats, Floats]:
    """Fit the restored image to a reference frame as Koehler's evaluation script does.

    1. The intensity: pred is multiplied by sum(pred frame) / sum(pred^2) over all pixels and channels.
    2. The shift: the peak of the circular cross-correlation of both images' channel means, in whole pixels (the script
       calls its registration with an upsampling of 1; the paper says no more than "translation").
    3. Pixels that the shift brings in are 0 in both images, and count.

    >>> frame = np.zeros((8, 8), np.uint8)
    >>> frame[2:4, 2:5] = 100
    >>> fitted, _ = align(np.roll(frame, 1, axis=0) * np.uint8(2), frame)
    >>> float(fitted[3, 3])  # twice as bright and overlapping in 3 of 6 pixels: 200 * 0.25
    50.0

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
    """Return by how many whole rows and columns `image` must move to match `reference`: the correlation's peak.

    >>> image = np.zeros((8, 8))
    >>> image[2, 3] = 1
    >>> shift(image, np.roll(image, (1, -2), (0, 1)))
    (1, -2)
    """
    x, z = (cv2.dft(plane.mean(axis=2) if plane.ndim == 3 else plane) for plane in (reference, image))
    correlation = cv2.dft(cv2.mulSpectrums(x, z, 0, conjB=True), flags=cv2.DFT_INVERSE)
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    row, column = (int(at) - side if at >= side // 2 else int(at) for at, side in zip(peak, image.shape, strict=False))
    return row, column


def full_luma(image: Floats) -> Floats:
    """Return 0.299 R + 0.587 G + 0.114 B, not rounded: what the evaluation's metric package sees of a colour image.

    >>> full_luma(np.array([[[255.0, 0.0, 0.0]]])).round(3).tolist()
    [[76.245]]
    """
    return weighted(image, (0.299, 0.587, 0.114))


def psnr_kohler(pred: Image, target: Image) -> float:
    """Return 10 log10(255^2 / MSE) in dB of `full_luma` after `align` with one reference frame.

    >>> frame = np.tile(np.arange(16, dtype=np.uint8) * 10, (16, 1))
    >>> round(psnr_kohler(frame[:, ::-1].copy(), frame), 2)
    19.45
    """
    fitted, frame = (full_luma(image) for image in align(pred, target))
    return decibels(mean_square(fitted, frame), 255)


PSNR_KOHLER = ReferenceMetric(
    id="psnr-kohler",
    title="PSNR",
    unit="dB",
    better="higher",
    decimals=2,
    compute=psnr_kohler,
    protocol="intensity fitted, aligned by whole pixels, 8-bit luma, the best of all reference frames",
    notes="Koehler's evaluation script; several dB above plain PSNR.",
    overview=30,
)


def ssim_kohler(pred: Image, target: Image) -> float:
    """Return SSIM of `full_luma`, Gaussian window, valid area, after `align` with one reference frame.

    >>> frame = np.tile(np.arange(16, dtype=np.uint8) * 10, (16, 1))
    >>> round(ssim_kohler(frame // 2, frame), 4)  # a factor of the intensity costs nothing
    1.0
    """
    fitted, frame = (full_luma(image) for image in align(pred, target))
    return structural_similarity(fitted, frame, gaussian_window, 255)


SSIM_KOHLER = ReferenceMetric(
    id="ssim-kohler",
    title="SSIM",
    unit="",
    better="higher",
    decimals=4,
    compute=ssim_kohler,
    protocol="fitted and aligned as psnr-kohler, Gaussian window on luma, the best of all reference frames",
    notes="Koehler's evaluation script.",
    overview=110,
)


LOW_PASS = np.array([0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830, 0.852698679008890])
LOW_PASS = np.concatenate([LOW_PASS, LOW_PASS[-2::-1]])
LOW_PASS /= LOW_PASS.sum()
"""The analysis low-pass of the biorthogonal 9/7 wavelet, sum 1."""


def mssim_kohler(pred: Image, target: Image) -> float:
    """Return multi-scale SSIM of `full_luma` after `align` with one reference frame: the script's "MSSIM".

    Five scales, each the last one low-passed by the 9/7 wavelet (edges mirrored) and halved. The mean contrasts V and
    the mean structures R of all scales and the mean luminance M of the coarsest, each to its power (0.0448, 0.2856,
    0.3001, 0.2363, 0.1333), are multiplied. Our reading: a negative mean structure counts as 0; the script's power
    would be complex.

    >>> frame = np.tile(np.arange(170, dtype=np.uint8), (170, 1))
    >>> round(mssim_kohler(frame // 16 * 16, frame), 4)
    0.9166

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


MSSIM_KOHLER = ReferenceMetric(
    id="mssim-kohler",
    title="MSSIM",
    unit="",
    better="higher",
    decimals=4,
    compute=mssim_kohler,
    protocol="fitted and aligned as psnr-kohler, multi-scale SSIM on luma, the best of all reference frames",
    notes="The MSSIM of Koehler's evaluation script.",
)
