"""The metrics of Koehler's evaluation script: the best reference frame after fitting and aligning."""

from __future__ import annotations

import cv2
import numpy as np

from bench.contracts import DataError
from bench.scoring.metrics.errors import decibels, mean_square
from bench.scoring.metrics.measure import Floats, Image, Undefined
from bench.scoring.metrics.ssim import gaussian_window, structural_similarity
from bench.scoring.metrics.values import in_8_bits, weighted

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
