"""Relative total variation (RTV): the smooth structure of an image, and its texture, which is the rest.

Paper: L. Xu, Q. Yan, Y. Xia, J. Jia, "Structure Extraction from Texture via Relative Total Variation", SIGGRAPH Asia
2012. Its solver is iterated re-weighting; every iteration solves one linear system over the pixels (`grid_laplacian`).
The defaults are those of the inpainting papers that take their structure from it (StructureFlow, MEDFE), not those of
the paper (lam 0.01, eps 0.02, four iterations); `params.yaml` sets all four for the texture of a dataset.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.contracts import AuxiliaryMap, DataError, ParamsError
from methods.auxiliary.grid_laplacian import LaplacianSolver
from methods.auxiliary.nested_dissection import MIN_SIDE

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

READINGS = (
    "The texture of an image with a hole is unknown, 0, within 2 pixels of the hole, in any of the eight directions.",
)
"""What the papers that use this texture leave open about it."""
MIN_WINDOWED_CHANGE = 1e-3
"""The lower bound of the windowed gradient in a divisor, as in the authors' code."""
LAM, SIGMA, EPS, ITERATIONS = 0.015, 3.0, 0.001, 3
"""The defaults of `smooth`."""
HOLE_MARGIN = 2
"""Pixels around a hole whose texture is unknown too: the hole's edge still affects the smoothing there."""


def gaussian_window(sigma: float) -> NDArray[np.float64]:
    """Return the window of the authors' code, sum 1: round(5 sigma) entries, one more where that is even.

    >>> gaussian_window(0.5).round(3).tolist()
    [0.107, 0.787, 0.107]
    """
    size = round(5 * sigma) | 1
    window = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    window[window < np.finfo(np.float64).eps * window.max()] = 0
    return window / window.sum()


def channel_mean(x: Floats) -> Floats:
    """Average the channels: (H, W, 3) to (H, W). Much faster than NumPy's mean over a short axis."""
    return (x[..., 0] + x[..., 1] + x[..., 2]) / 3


def edge_weights(x: Floats, sigma: float, eps: float, hole: Mask | None) -> tuple[Floats, Floats]:
    """Compute the weights of the edges from each pixel to its right neighbour and to the one below (w u in the paper).

    They are large where the image is even, and where its gradients cancel out within the window, as in a texture.

    Args:
        x: (H, W, 3) in [0, 1].
        sigma: of the window, in pixels.
        eps: lower bound of the gradient in a divisor.
        hole: (H, W), True where the gradients count as 0.

    Returns:
        two arrays (H, W), at least 0; 0 in the last column and in the last row.
    """
    right, down = np.zeros_like(x), np.zeros_like(x)
    np.subtract(x[:, 1:], x[:, :-1], out=right[:, :-1])
    np.subtract(x[1:], x[:-1], out=down[:-1])
    if hole is not None:
        right[hole] = down[hole] = 0
    slope = np.maximum(channel_mean(np.sqrt(right * right + down * down)), eps)
    window = gaussian_window(sigma)
    windowed = cv2.sepFilter2D(x, -1, window, window, borderType=cv2.BORDER_CONSTANT)
    weights = np.zeros((2, *x.shape[:2]))
    change = channel_mean(np.abs(windowed[:, 1:] - windowed[:, :-1]))
    weights[0, :, :-1] = 1 / (slope[:, :-1] * np.maximum(change, MIN_WINDOWED_CHANGE))
    change = channel_mean(np.abs(windowed[1:] - windowed[:-1]))
    weights[1, :-1] = 1 / (slope[:-1] * np.maximum(change, MIN_WINDOWED_CHANGE))
    return weights[0], weights[1]


def smooth(
    image: Floats,
    lam: float = LAM,
    sigma: float = SIGMA,
    eps: float = EPS,
    iterations: int = ITERATIONS,
    hole: Mask | None = None,
) -> Floats:
    """Return the structure of an image, without its texture; the channels share their weights.

    Args:
        image: (H, W, 3) in [0, 1], H and W at least 8.
        lam: weight of the relative total variation; a larger value smooths more.
        sigma: of the window, in pixels: the size of the texture that is removed. Halved after each iteration, to 0.5 at
            least.
        eps: lower bound of the gradient in a divisor, in units of the image.
        iterations: number of systems solved.
        hole: (H, W), True where the image is unknown: these pixels and their gradients count as 0, as StructureFlow's
            authors advise, so that the hole's edge is not an edge of the structure.

    Returns:
        (H, W, 3) float64.
    Raises:
        DataError: when the image or the hole has another shape or type, or a value is outside [0, 1].
        ParamsError: when a parameter is out of its range.

    >>> checkerboard = 0.5 + 0.05 * (-1.0) ** np.indices((16, 16)).sum(axis=0)
    >>> structure = smooth(np.repeat(checkerboard[..., None], 3, axis=2))
    >>> structure[8, 6:10, 0].round(2).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    check_image(image, hole)
    check_options(lam, sigma, eps, iterations)
    image = np.asarray(image, dtype=np.float64)
    if hole is not None:
        image = image * ~hole[..., None]
    x = image
    for _ in range(iterations):
        right, down = edge_weights(x, sigma, eps, hole)
        x = LaplacianSolver(lam / 2 * right, lam / 2 * down).solve(image, x)
        sigma = max(sigma / 2, 0.5)
    return x


def check_options(lam: float, sigma: float, eps: float, iterations: int) -> None:
    """Raise ParamsError when a parameter of `smooth` is out of its range."""
    if not (min(lam, sigma, eps) > 0 and iterations >= 1 and lam / eps <= 1e6):
        raise ParamsError(
            f"RTV: lam {lam}, sigma {sigma}, eps {eps}, iterations {iterations}; expected all of them above 0,"
            " and lam at most a million times eps"
        )


def check_image(image: Floats, hole: Mask | None) -> None:
    """Raise DataError when `smooth` cannot take the image or the hole."""
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < MIN_SIDE:
        raise DataError(f"RTV: the image has shape {image.shape}; expected (H, W, 3), both sides at least {MIN_SIDE}")
    if not np.issubdtype(image.dtype, np.floating):
        raise DataError(f"RTV: the image has type {image.dtype}; expected floats in [0, 1]: divide 8 bits by 255")
    if not (image.min() >= 0 and image.max() <= 1):
        raise DataError(f"RTV: the image has values {image.min()} to {image.max()}; expected all of them in [0, 1]")
    if hole is not None and (hole.shape != image.shape[:2] or hole.dtype != bool):
        raise DataError(f"RTV: the hole is {hole.shape} {hole.dtype}, the image {image.shape}; expected (H, W) bool")


def texture_of_target(
    target: NDArray[np.float32],
    lam: float = LAM,
    sigma: float = SIGMA,
    eps: float = EPS,
    iterations: int = ITERATIONS,
) -> NDArray[np.float32]:
    """Return the texture of a whole image, what `smooth` removes: (H, W, 3) in [0, 1] to the same shape, in [-1, 1].

    Other arguments as in `smooth`.
    """
    return (target - smooth(target, lam, sigma, eps, iterations)).astype(np.float32)


def texture_of_masked(
    x: NDArray[np.float32],
    mask: NDArray[np.float32],
    lam: float = LAM,
    sigma: float = SIGMA,
    eps: float = EPS,
    iterations: int = ITERATIONS,
) -> NDArray[np.float32]:
    """Return the texture of the known part of an image; 0 in the hole and within `HOLE_MARGIN` pixels of it.

    Args:
        x: (H, W, 3) in [0, 1]; its values in the hole do not matter.
        mask: (H, W, 1), hole where above 0.
        lam: of `smooth`, like the next three.
        sigma: of `smooth`.
        eps: of `smooth`.
        iterations: of `smooth`.

    Returns:
        (H, W, 3) in [-1, 1].
    Raises:
        DataError: when the mask does not have the image's size.
    """
    if mask.shape != (*x.shape[:2], 1):
        raise DataError(f"RTV: the mask has shape {mask.shape}, the image {x.shape}; expected (H, W, 1) of its size")
    hole = mask[..., 0] > 0
    side = 2 * HOLE_MARGIN + 1
    near = cv2.dilate(hole.astype(np.uint8), np.ones((side, side), dtype=np.uint8)) > 0
    x = np.where(mask > 0, 0, x)
    return np.where(near[..., None], 0, x - smooth(x, lam, sigma, eps, iterations, hole)).astype(np.float32)


TEXTURE = AuxiliaryMap(
    texture_of_target,
    texture_of_masked,
    "methods/auxiliary/rtv.py",
    {"lam": LAM, "sigma": SIGMA, "eps": EPS, "iterations": ITERATIONS},
)
"""The auxiliary map of methods that work on texture: their networks take its options as arguments."""
