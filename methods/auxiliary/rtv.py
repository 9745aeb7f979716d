"""Relative total variation (RTV): the smooth structure of an image, and its texture, which is the rest.

Paper: L. Xu, Q. Yan, Y. Xia, J. Jia, "Structure Extraction from Texture via Relative Total Variation", SIGGRAPH Asia
2012. Its solver is iterated re-weighting; every iteration solves one linear system over the pixels. The defaults are
those of the inpainting papers that take their structure from it (StructureFlow, MEDFE), not of the paper (lam 0.01,
eps 0.02, four iterations); `params.yaml` sets all four for the texture of a dataset, in its section `layers`.

The systems are solved exactly, by elimination along the grid's own nested dissection (A. George, "Nested dissection of
a regular finite element mesh", 1973): small boxes of pixels lose their inside, then pairs of boxes lose the line
between them, until the last lines are left. All boxes of a level have one size, so a level is a few batched dense
products. The elimination runs in float32; what float32 leaves is removed by solving again for the residual, which is
computed in float64: the result is within 1e-9 of a direct solver's. `python -m benchmarks.rtv` times it beside a sparse
factorisation, which takes 3 to 6 times as long at 256x256, and says what else was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.contracts import DataError, Layer, ParamsError

Floats = NDArray[np.floating]
Ids = NDArray[np.intp]

TOLERANCE = 1e-7
"""The largest error that a solution may have by the estimate of `solve`, in units of the image."""
LARGEST = 1e6
"""The largest entry of a system's matrix that is factorised in float32; where it is larger, float64 is used."""
SMALLEST = 1e-3
"""The smallest difference of the windowed image that counts, as in the authors' code."""
LAM, SIGMA, EPS, ITERATIONS = 0.015, 3.0, 0.001, 3
"""The defaults of `smooth`."""
READINGS = (
    "The texture of an image with a hole is unknown, 0, within 2 pixels of the hole, in any of the eight directions.",
)
"""What the papers that use this texture leave open about it."""
LEAK = 2
"""Pixels around a hole whose texture is unknown too: the smoothing still feels the hole's edge there."""


# Nested dissection ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merge:
    """Pairs of neighbouring boxes become one box each: the line between the two is eliminated.

    A box's matrix has a row for every vertex of its four sides, in the order top, bottom, left, right, without the
    box's corners: a corner has no neighbour inside the box.

    Args:
        axis: 1 joins a left and a right box, 0 an upper and a lower one.
        line: (rows, columns, k) vertices of the line between the two, in order.
        sides: (rows, columns, n) vertices of the new box's sides.
        facing: the side of the low and of the high box that is the line, as slices of their sides.
        low: where the other sides of the low box go: slices of its sides, and of the new box's.
        high: the same of the high box.
        ends: for the line's first and last vertex the place in the new box's sides of the vertex next to it; None where
            that lies in the padding.
        step: from one vertex of the line to the next.
    """

    axis: int
    line: Ids
    sides: Ids
    facing: tuple[slice, slice]
    low: list[tuple[slice, slice]]
    high: list[tuple[slice, slice]]
    ends: tuple[int | None, int | None]
    step: int


@dataclass(frozen=True)
class Dissection:
    """How a grid is eliminated.

    The grid's vertices are numbered row by row. Row 0 and column 0 are padding, and so are rows and columns after the
    image: nothing couples to them.

    Args:
        shape: rows and columns of the padded grid.
        inside: (rows, columns, height - 1, width - 1) vertices inside each smallest box.
        sides: (rows, columns, n) vertices of the sides of each smallest box.
        merges: from small to large.
        last: the vertices that are left at the end: the grid's last row, its last column, and the corner of both.
    """

    shape: tuple[int, int]
    inside: Ids
    sides: Ids
    merges: list[Merge]
    last: Ids


def boxes(size: int) -> tuple[int, int]:
    """The side of the smallest boxes, 4 to 7, and their number, a power of two: the least that covers `size` >= 8."""
    fits = [(side, 2**k) for side in (4, 5, 6, 7) for k in range(1, size.bit_length()) if side * 2**k >= size]
    return min(fits, key=math.prod)


def pairs(array: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    """The low and the high box of every pair along `axis`."""
    return (array[0::2], array[1::2]) if axis == 0 else (array[:, 0::2], array[:, 1::2])


def parts(lengths: Sequence[int]) -> list[slice]:
    """Where parts of these lengths lie when they stand one after the other."""
    bounds = np.cumsum([0, *lengths]).tolist()
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def merge(sides: Ids, lengths: Sequence[int], axis: int, step: int) -> tuple[Merge, list[int]]:
    """Plan a merge of boxes with these `sides`, of `lengths` vertices each; return it with the new lengths.

    The grid's first row and column are padding: when only two boxes are left along the axis, that side is dropped.
    """
    at = parts(lengths)
    ends, cut = ((2, 3), (0, 1)) if axis == 1 else ((0, 1), (2, 3))  # sides that stay whole, and sides cut in two
    new = list(lengths)
    for side in cut:
        new[side] = 2 * lengths[side] + 1 if lengths[side] else 0
    if sides.shape[axis] == 2:
        new[ends[0]] = 0
    to = parts(new)
    low = [(at[ends[0]], to[ends[0]])] if new[ends[0]] else []
    high = [(at[ends[1]], to[ends[1]])]
    between: list[int | None] = []
    for side in cut:
        middle = to[side].start + lengths[side]
        if lengths[side]:
            low.append((at[side], slice(to[side].start, middle)))
            high.append((at[side], slice(middle + 1, to[side].stop)))
        between.append(middle if lengths[side] else None)
    low_sides, high_sides = pairs(sides, axis)
    line = low_sides[..., at[ends[1]]]
    joined = np.empty((*line.shape[:2], sum(new)), dtype=np.intp)
    for child, places in ((low_sides, low), (high_sides, high)):
        for old, place in places:
            joined[..., place] = child[..., old]
    for corner, vertex in zip(between, (line[..., 0] - step, line[..., -1] + step), strict=True):
        if corner is not None:
            joined[..., corner] = vertex
    facing = at[ends[1]], at[ends[0]]
    return Merge(axis, line, joined, facing, low, high, (between[0], between[1]), step), new


@lru_cache(maxsize=8)
def dissection(height: int, width: int) -> Dissection:
    """Plan the elimination of an image's grid."""
    (box_height, rows), (box_width, columns) = boxes(height), boxes(width)
    grid = np.arange((box_height * rows + 1) * (box_width * columns + 1)).reshape(box_height * rows + 1, -1)
    windows = np.lib.stride_tricks.sliding_window_view(grid, (box_height + 1, box_width + 1))
    windows = windows[::box_height, ::box_width]
    inside = windows[..., 1:-1, 1:-1].copy()
    cut = windows[..., 0, 1:-1], windows[..., -1, 1:-1], windows[..., 1:-1, 0], windows[..., 1:-1, -1]
    first = np.concatenate(cut, axis=-1)
    lengths = [box_width - 1, box_width - 1, box_height - 1, box_height - 1]
    merges: list[Merge] = []
    sides = first
    while rows * columns > 1:
        axis = 1 if rows == 1 or (columns > 1 and box_width <= box_height) else 0  # keeps boxes near to squares
        step, lengths = merge(sides, lengths, axis, grid.shape[1] if axis == 1 else 1)
        merges.append(step)
        sides = step.sides
        if axis == 1:
            columns, box_width = columns // 2, 2 * box_width
        else:
            rows, box_height = rows // 2, 2 * box_height
    last = np.append(sides[0, 0], grid[-1, -1])
    return Dissection(grid.shape, inside, first, merges, last)


# The linear system ----------------------------------------------------------------------------------------------------


def eliminate(matrix: Floats, coupling: Floats) -> tuple[Floats, Floats, Floats]:
    """Eliminate some unknowns of each box.

    With C the `matrix` (..., k, k) of the unknowns that go and -E, (..., k, n), their `coupling` to those that stay,
    return the inverse of C's Cholesky factor L, the product L^-1 E, and what the matrix of those that stay loses,
    E^T C^-1 E. All of E is positive, and so is all that is computed here: nothing cancels.
    """
    factor = torch.from_numpy(np.linalg.cholesky(matrix))
    unit = torch.eye(factor.shape[-1], dtype=factor.dtype).expand_as(factor)
    inverse = torch.linalg.solve_triangular(factor, unit, upper=False).numpy()
    product = inverse @ coupling
    return inverse, product, product.swapaxes(-1, -2) @ product  # NumPy computes a product with itself in half the time


def diagonals(matrix: Floats, offset: int = 0) -> Floats:
    """The diagonal of each matrix, or the one `offset` rows below, to be written to."""
    return np.einsum("...ii->...i", matrix[..., offset:, : matrix.shape[-1] - offset])


class Smoother:
    """The system (1 + L) x = b over the pixels of an image, L the graph Laplacian of a grid; factorised once.

    Args:
        right: (H, W) weight of the edge from a pixel to its right neighbour, 0 or more; 0 in the last column.
        down: (H, W) the same to the pixel below; 0 in the last row.
    """

    def __init__(self, right: Floats, down: Floats):
        height, width = right.shape
        self.right, self.down = right, down
        self.plan = plan = dissection(height, width)
        self.image = slice(1, height + 1), slice(1, width + 1)
        diagonal: Floats = 1 + right + down
        diagonal[:, 1:] += right[:, :-1]
        diagonal[1:] += down[:-1]
        # The 1 of the system must not vanish beside the weights.
        self.dtype = np.float32 if diagonal.max() < LARGEST else np.float64
        diagonal, right, down = (self.padded(values, fill) for values, fill in ((diagonal, 1), (right, 0), (down, 0)))
        inverse, product, lost = self.boxes(diagonal, right, down)
        self.factors = [(inverse, product)]
        for merge in plan.merges:
            along = down if merge.axis == 1 else right
            low, high = pairs(lost, merge.axis)
            in_low, in_high = merge.facing
            matrix = -low[..., in_low, in_low] - high[..., in_high, in_high]
            diagonals(matrix)[...] += diagonal[merge.line]
            diagonals(matrix, 1)[...] -= along[merge.line[..., :-1]]
            coupling = np.zeros((*merge.line.shape, merge.sides.shape[-1]), dtype=self.dtype)
            for old, new in merge.low:
                coupling[..., new] = low[..., in_low, old]
            for old, new in merge.high:
                coupling[..., new] = high[..., in_high, old]
            before, after = merge.ends
            if before is not None:
                coupling[..., 0, before] = along[merge.line[..., 0] - merge.step]
            if after is not None:
                coupling[..., -1, after] = along[merge.line[..., -1]]
            inverse, product, joined = eliminate(matrix, coupling)
            for child, places in ((low, merge.low), (high, merge.high)):
                for old_row, new_row in places:
                    for old, new in places:
                        joined[..., new_row, new] += child[..., old_row, old]
            self.factors.append((inverse, product))
            lost = joined
        self.root = self.last_factor(diagonal, right, down, lost[0, 0])

    def padded(self, values: Floats, fill: float) -> Floats:
        """The values (H, W, ...) of the image on all vertices of the padded grid, in a row."""
        grid = np.full((*self.plan.shape, *values.shape[2:]), fill, dtype=self.dtype)
        grid[self.image] = values
        return grid.reshape(-1, *values.shape[2:])

    def boxes(self, diagonal: Floats, right: Floats, down: Floats) -> tuple[Floats, Floats, Floats]:
        """Eliminate the inside of the smallest boxes."""
        inside, sides = self.plan.inside, self.plan.sides
        rows, columns, height, width = inside.shape
        matrix = np.zeros((rows, columns, height * width, height * width), dtype=self.dtype)
        diagonals(matrix)[...] = diagonal[inside].reshape(rows, columns, -1)
        beside = right[inside]
        beside[..., -1] = 0
        diagonals(matrix, 1)[...] = -beside.reshape(rows, columns, -1)[..., :-1]
        diagonals(matrix, width)[...] = -down[inside[..., :-1, :]].reshape(rows, columns, -1)
        coupling = np.zeros((rows, columns, height, width, sides.shape[-1]), dtype=self.dtype)
        top, bottom, left, after = np.split(np.arange(sides.shape[-1]), np.cumsum((width, width, height)))
        across, along = np.arange(width), np.arange(height)
        coupling[:, :, 0, across, top] = down[sides[..., top]]
        coupling[:, :, -1, across, bottom] = down[inside[..., -1, :]]
        coupling[:, :, along, 0, left] = right[sides[..., left]]
        coupling[:, :, along, -1, after] = right[inside[..., -1]]
        return eliminate(matrix, coupling.reshape(rows, columns, height * width, -1))

    def last_factor(self, diagonal: Floats, right: Floats, down: Floats, lost: Floats) -> torch.Tensor:
        """The Cholesky factor of the last lines' matrix, (k, k)."""
        last, row = self.plan.last, self.plan.shape[1] - 2  # vertices of the last row without the corner
        matrix = np.zeros((len(last), len(last)), dtype=self.dtype)
        matrix[:-1, :-1] = -lost
        diagonals(matrix)[...] += diagonal[last]
        next_to = np.concatenate((right[last[: row - 1]], [0], down[last[row:-1]]))
        diagonals(matrix, 1)[...] -= next_to
        matrix[-1, row - 1] -= right[last[row - 1]]
        return torch.from_numpy(np.linalg.cholesky(matrix))

    def once(self, b: Floats) -> Floats:
        """Solve in the factorisation's own precision: (H, W, channels) to the same."""
        values = self.padded(b, 0)
        inverse, product = self.factors[0]
        rows, columns, height, width = self.plan.inside.shape
        inside = self.plan.inside.reshape(rows, columns, height * width)
        solved = [inverse @ np.take(values, inside, axis=0)]
        passed = product.swapaxes(-1, -2) @ solved[0]
        for merge, (inverse, product) in zip(self.plan.merges, self.factors[1:], strict=True):
            low, high = pairs(passed, merge.axis)
            in_low, in_high = merge.facing
            solved.append(inverse @ (values[merge.line] + low[..., in_low, :] + high[..., in_high, :]))
            passed = product.swapaxes(-1, -2) @ solved[-1]
            for child, places in ((low, merge.low), (high, merge.high)):
                for old, new in places:
                    passed[..., new, :] += child[..., old, :]
        last = self.plan.last
        total = values[last]
        total[:-1] += passed[0, 0]
        values[:] = 0
        values[last] = torch.cholesky_solve(torch.from_numpy(total), self.root).numpy()
        for merge, (inverse, product), half in zip(
            self.plan.merges[::-1], self.factors[:0:-1], solved[:0:-1], strict=True
        ):
            values[merge.line] = inverse.swapaxes(-1, -2) @ (half + product @ np.take(values, merge.sides, axis=0))
        inverse, product = self.factors[0]
        values[inside] = inverse.swapaxes(-1, -2) @ (solved[0] + product @ np.take(values, self.plan.sides, axis=0))
        return values.reshape(*self.plan.shape, -1)[self.image]

    def residual(self, b: Floats, x: Floats) -> Floats:
        """b - (1 + L) x, in float64."""
        left = b - x
        flow = self.right[:, :-1, None] * (x[:, 1:] - x[:, :-1])
        left[:, :-1] += flow
        left[:, 1:] -= flow
        flow = self.down[:-1, :, None] * (x[1:] - x[:-1])
        left[:-1] += flow
        left[1:] -= flow
        return left

    def solve(self, b: Floats, guess: Floats) -> Floats:
        """Solve from a guess, (H, W, channels) float64 both, until the error's estimate is below TOLERANCE.

        A round divides the error by about as much as its correction is smaller than that of the round before.
        """
        x, before = guess, 0.0
        for _ in range(20):
            correction = self.once(self.residual(b, x))
            x = x + correction
            size = float(np.abs(correction).max())
            if size < TOLERANCE or size * size < TOLERANCE * before:
                return x
            before = size
        raise DataError(f"RTV: the smoothing did not converge, the last correction was {size:.1e} of the image's range")


# Structure and texture ------------------------------------------------------------------------------------------------


def gaussian(sigma: float) -> NDArray[np.float64]:
    """The window of the authors' code, sum 1: round(5 sigma) entries, one more where that is even (15, 9, 5, 3)."""
    size = round(5 * sigma) | 1
    window = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    window[window < np.finfo(np.float64).eps * window.max()] = 0
    return window / window.sum()


def mean_of_channels(x: Floats) -> Floats:
    """(H, W, 3) to (H, W); much faster than NumPy's mean over so short an axis."""
    return (x[..., 0] + x[..., 1] + x[..., 2]) / 3


def edge_weights(x: Floats, sigma: float, eps: float, hole: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
    """The weights w u of each pixel's edges to its right neighbour and to the one below: two (H, W).

    Large where the image is even, or where its gradients cancel out within the window: there is texture.
    """
    right, down = np.zeros_like(x), np.zeros_like(x)
    np.subtract(x[:, 1:], x[:, :-1], out=right[:, :-1])
    np.subtract(x[1:], x[:-1], out=down[:-1])
    if hole is not None:
        right[hole] = down[hole] = 0
    slope = np.maximum(mean_of_channels(np.sqrt(right * right + down * down)), eps)
    window = gaussian(sigma)
    windowed = cv2.sepFilter2D(x, -1, window, window, borderType=cv2.BORDER_CONSTANT)
    weights = np.zeros((2, *x.shape[:2]))
    change = mean_of_channels(np.abs(windowed[:, 1:] - windowed[:, :-1]))
    weights[0, :, :-1] = 1 / (slope[:, :-1] * np.maximum(change, SMALLEST))
    change = mean_of_channels(np.abs(windowed[1:] - windowed[:-1]))
    weights[1, :-1] = 1 / (slope[:-1] * np.maximum(change, SMALLEST))
    return weights[0], weights[1]


def smooth(
    image: Floats,
    lam: float = LAM,
    sigma: float = SIGMA,
    eps: float = EPS,
    iterations: int = ITERATIONS,
    hole: NDArray[np.bool_] | None = None,
) -> Floats:
    """The structure of an image, without its texture; the channels share their weights.

    Args:
        image: (H, W, 3) in [0, 1], H and W at least 8.
        lam: weight of the relative total variation: more is smoother.
        sigma: of the window, in pixels, which says how large texture is; halved after each iteration, to 0.5 at least.
        eps: the smallest gradient that counts, in units of the image.
        iterations: solved systems.
        hole: (H, W), True where the image is not known; such pixels count as 0 and their gradients as none, as
            StructureFlow's authors advise, so that the hole's edge is no texture.

    Returns:
        (H, W, 3) float64.
    Raises:
        DataError: where the image or the hole has another shape, or a value is not finite.
        ParamsError: where a parameter is out of its range.
    """
    check(image, hole)
    check_options(lam, sigma, eps, iterations)
    image = np.asarray(image, dtype=np.float64)
    if hole is not None:
        image = image * ~hole[..., None]
    x = image
    for _ in range(iterations):
        right, down = edge_weights(x, sigma, eps, hole)
        x = Smoother(lam / 2 * right, lam / 2 * down).solve(image, x)
        sigma = max(sigma / 2, 0.5)
    return x


def check_options(lam: float, sigma: float, eps: float, iterations: int) -> None:
    """Raise ParamsError where `smooth` cannot take these."""
    if not (min(lam, sigma, eps) > 0 and iterations >= 1 and lam / eps <= 1e6):
        raise ParamsError(
            f"RTV: lam {lam}, sigma {sigma}, eps {eps}, iterations {iterations}; expected all of them above 0,"
            " and lam at most a million times eps"
        )


def check(image: Floats, hole: NDArray[np.bool_] | None) -> None:
    """Raise DataError where `smooth` cannot take these."""
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 8:
        raise DataError(f"RTV: an image of shape {image.shape}; expected (H, W, 3), both sides at least 8")
    if not np.issubdtype(image.dtype, np.floating):
        raise DataError(f"RTV: an image of type {image.dtype}; expected floats in [0, 1]: divide 8 bits by 255")
    if not (image.min() >= 0 and image.max() <= 1):
        raise DataError(f"RTV: an image of values {image.min()} to {image.max()}; expected all of them in [0, 1]")
    if hole is not None and (hole.shape != image.shape[:2] or hole.dtype != bool):
        raise DataError(f"RTV: a hole {hole.shape} {hole.dtype} for an image {image.shape}; expected (H, W) bool")


def texture(
    image: Floats, lam: float = LAM, sigma: float = SIGMA, eps: float = EPS, iterations: int = ITERATIONS
) -> Floats:
    """What `smooth` takes away: (H, W, 3) in [0, 1] to (H, W, 3), signed, within [-1, 1]."""
    return image - smooth(image, lam, sigma, eps, iterations)


def texture_of_target(target: NDArray[np.float32], **options: Any) -> NDArray[np.float32]:
    """The texture of a whole image: (H, W, 3) in [0, 1] to the same shape, signed; `options` are those of `texture`."""
    return texture(target, **options).astype(np.float32)


def texture_of_masked(x: NDArray[np.float32], mask: NDArray[np.float32], **options: Any) -> NDArray[np.float32]:
    """The texture of what is known of an image; 0 in the hole and where the smoothing feels the hole's edge.

    It is unknown within LEAK pixels of the hole, in any of the eight directions.

    Args:
        x: (H, W, 3) in [0, 1]; what stands in the hole does not matter.
        mask: (H, W, 1), hole where above 0.
        options: those of `texture`.

    Returns:
        (H, W, 3) float32, signed.
    """
    if mask.shape != (*x.shape[:2], 1):
        raise DataError(f"RTV: a mask of shape {mask.shape} for an image {x.shape}; expected (H, W, 1) of its size")
    hole = mask[..., 0] > 0
    near = cv2.dilate(hole.astype(np.uint8), np.ones((2 * LEAK + 1, 2 * LEAK + 1), dtype=np.uint8)) > 0
    x = np.where(mask > 0, 0, x)
    return np.where(near[..., None], 0, x - smooth(x, hole=hole, **options)).astype(np.float32)


TEXTURE = Layer(
    texture_of_target,
    texture_of_masked,
    "methods/auxiliary/rtv.py",
    {"lam": LAM, "sigma": SIGMA, "eps": EPS, "iterations": ITERATIONS},
)
"""The layer of methods that work on texture: their networks take its options as arguments."""
