"""SSIM in each convention that the papers use.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from bench.contracts import DataError
from bench.scoring.metrics.measure import Floats, Image, ImageMetric
from bench.scoring.metrics.values import in_8_bits, in_floats, luma

# Windows and the formula ----------------------------------------------------------------------------------------------

GAUSSIAN = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F)
"""The window of Wang et al.: 11 taps, sigma 1.5 pixels, sum 1."""


def gaussian_window(image: Floats) -> Floats:
    """Return the local mean under `GAUSSIAN` where the window is inside the image: 5 pixels less on each side.

    >>> gaussian_window(np.full((16, 12), 3.0)).shape
    (6, 2)
    """
    return cv2.sepFilter2D(image, -1, GAUSSIAN, GAUSSIAN, borderType=cv2.BORDER_REFLECT)[5:-5, 5:-5]


def uniform_window(image: Floats) -> Floats:
    """Return the local mean of 7x7 pixels where the window is inside the image: 3 pixels less on each side.

    >>> uniform_window(np.full((16, 12), 3.0)).shape
    (10, 6)
    """
    return cv2.boxFilter(image, -1, (7, 7), borderType=cv2.BORDER_REFLECT)[3:-3, 3:-3]


def volume_window(image: Floats) -> Floats:
    """Return the local mean under an 11x11x11 Gaussian of an RGB array taken as a volume, all borders repeated.

    Three planes repeated at both ends turn the third axis into a 3x3 mixture of the channels.

    >>> volume_window(np.dstack([np.zeros((16, 12)), np.ones((16, 12)), np.zeros((16, 12))]))[8, 6].round(3).tolist()
    [0.213, 0.266, 0.213]
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
    """Return the mean over pixels and channels of SSIM (Wang et al. 2004, eq. 13), K1 = 0.01 and K2 = 0.03.

    (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)) with C = (K data_range)^2. The formula
    uses the variances as a sum only, so four local means are enough: of x, y, x^2 + y^2 and x y.

    >>> bright, dark = np.full((16, 16), 1.0), np.full((16, 16), 0.5)
    >>> round(structural_similarity(dark, bright, gaussian_window, 1.0), 4)
    0.8

    Args:
        pred: (H, W) or (H, W, C) in [0, data_range].
        target: the same shape.
        window: turns an image into its local means.
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


def ssim_gauss11(pred: Image, target: Image) -> float:
    """Return SSIM of 8-bit images, Gaussian window, population covariance, valid area, mean over channels.

    >>> dark, bright = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    >>> round(ssim_gauss11(dark, bright), 4)
    0.9231
    """
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(pred8.astype(np.float64), target8.astype(np.float64), gaussian_window, 255)


SSIM_GAUSS11 = ImageMetric(
    id="ssim-gauss11",
    title="SSIM",
    unit="",
    better="higher",
    decimals=4,
    compute=ssim_gauss11,
    protocol="11x11 Gaussian window (sigma 1.5), valid area, population covariance, mean over the three channels",
    notes="Of 8-bit RGB. Wang's code; DeepDeblur-PyTorch; scikit-image with gaussian_weights.",
    overview=40,
)


def ssim_uniform7(pred: Image, target: Image) -> float:
    """Return SSIM of floats in [0, 1], 7x7 uniform window, sample covariance, valid area, mean over channels.

    >>> dark, bright = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    >>> round(ssim_uniform7(dark, bright), 4)
    0.9231
    """
    return structural_similarity(*in_floats(pred, target), uniform_window, 1, unbiased=49 / 48)


SSIM_UNIFORM7 = ImageMetric(
    id="ssim-uniform7",
    title="SSIM",
    unit="",
    better="higher",
    decimals=4,
    compute=ssim_uniform7,
    protocol="7x7 uniform window, sample covariance, mean over the three channels",
    notes="scikit-image's default, on RGB floats; DPDNet and the dual-pixel tables.",
    overview=90,
)


def ssim_y(pred: Image, target: Image) -> float:
    """Return SSIM of `luma`, range 255, Gaussian window, population covariance, valid area.

    >>> dark, bright = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    >>> round(ssim_y(dark, bright), 4)
    0.9412
    """
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(luma(pred8), luma(target8), gaussian_window, 255)


SSIM_Y = ImageMetric(
    id="ssim-y",
    title="SSIM Y",
    unit="",
    better="higher",
    decimals=4,
    compute=ssim_y,
    protocol="11x11 Gaussian window on the luma alone (BT.601, [16, 235], range 255), valid area",
    notes="Usual in super-resolution.",
)


def ssim_matlab_rgb(pred: Image, target: Image) -> float:
    """Return SSIM of 8-bit RGB taken as a volume, as MATLAB's `ssim` does when it is given an RGB array.

    An 11x11x11 Gaussian, sigma 1.5, borders repeated, population covariance, the mean over the whole map. A grey image
    is the ordinary two-dimensional case with repeated borders.

    >>> dark, bright = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    >>> round(ssim_matlab_rgb(dark, bright), 4)
    0.9231
    """
    pred8, target8 = in_8_bits(pred, target)
    return structural_similarity(pred8.astype(np.float64), target8.astype(np.float64), volume_window, 255)


SSIM_MATLAB_RGB = ImageMetric(
    id="ssim-matlab-rgb",
    title="SSIM",
    unit="",
    better="higher",
    decimals=4,
    compute=ssim_matlab_rgb,
    protocol="the array of rows, columns and colours taken as one volume with an 11x11x11 Gaussian, as MATLAB's ssim "
    "does with RGB",
    notes="MATLAB's ssim of an 8-bit RGB array: SRN, LMFN's and MRFNet's evaluation scripts.",
    overview=100,
)
