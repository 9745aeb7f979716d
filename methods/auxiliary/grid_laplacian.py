"""A direct solver for (1 + L) x = b, with L the graph Laplacian of an image's grid of pixels.

The system is factorised by elimination in the order of `nested_dissection`, so each level is a few batched dense
products. The elimination runs in float32. Its rounding error is removed by solving again for the residual, which is
computed in float64: the result is within 1e-9 of that of a direct solver in float64. `python -m benchmarks.rtv`
compares it with a sparse factorisation, which takes 3 to 6 times as long at 256x256.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.contracts import DataError
from methods.auxiliary.nested_dissection import Merge, plan_dissection, split_pairs

Floats = NDArray[np.floating]

TOLERANCE = 1e-7
"""The largest estimated error of a solution, in units of the image."""
MAX_FLOAT32_ENTRY = 1e6
"""The largest entry of a matrix that is factorised in float32; a matrix with a larger one is factorised in float64."""
MAX_REFINEMENTS = 20
"""Solutions for the residual before `solve` gives up."""


def eliminate(matrix: Floats, coupling: Floats) -> tuple[Floats, Floats, Floats]:
    """Eliminate some unknowns of each box by a Cholesky factorisation.

    All values of `coupling` are at least 0, and so are all results: nothing cancels.

    Args:
        matrix: C, (..., k, k), of the unknowns to eliminate.
        coupling: E, (..., k, n); minus E couples them to the unknowns that remain.

    Returns:
        the inverse of C's Cholesky factor L, the product L^-1 E, and E^T C^-1 E. The matrix of the remaining unknowns
        less this last one is their Schur complement.
    """
    factor = torch.from_numpy(np.linalg.cholesky(matrix))
    unit = torch.eye(factor.shape[-1], dtype=factor.dtype).expand_as(factor)
    inverse = torch.linalg.solve_triangular(factor, unit, upper=False).numpy()
    product = inverse @ coupling
    return inverse, product, product.swapaxes(-1, -2) @ product  # NumPy computes a product with itself in half the time


def diagonal_view(matrix: Floats, offset: int = 0) -> Floats:
    """Return a writable view of the diagonal of each matrix, or of the diagonal `offset` rows below it.

    >>> diagonal_view(np.array([[1.0, 2.0], [3.0, 4.0]]), 1).tolist()
    [3.0]
    """
    return np.einsum("...ii->...i", matrix[..., offset:, : matrix.shape[-1] - offset])


class LaplacianSolver:
    """The factorised system (1 + L) x = b over the pixels of an image.

    Args:
        right: (H, W) weight of the edge from each pixel to its right neighbour, 0 or more; 0 in the last column.
        down: (H, W) the same for the pixel below; 0 in the last row.
    """

    def __init__(self, right: Floats, down: Floats):
        height, width = right.shape
        self.right, self.down = right, down
        self.plan = plan_dissection(height, width)
        self.image = slice(1, height + 1), slice(1, width + 1)
        diagonal: Floats = 1 + right + down
        diagonal[:, 1:] += right[:, :-1]
        diagonal[1:] += down[:-1]
        # In float32 the 1 of the system would vanish next to larger weights.
        self.dtype = np.float32 if diagonal.max() < MAX_FLOAT32_ENTRY else np.float64
        self._diagonal, self._right, self._down = (
            self._pad(values, fill) for values, fill in ((diagonal, 1), (right, 0), (down, 0))
        )
        inverse, product, subtracted = self._eliminate_interiors()
        self.factors = [(inverse, product)]
        for merge in self.plan.merges:
            inverse, product, subtracted = self._eliminate_separators(merge, subtracted)
            self.factors.append((inverse, product))
        self.root = self._factorise_last(subtracted[0, 0])
        del self._diagonal, self._right, self._down

    def _pad(self, values: Floats, fill: float) -> Floats:
        """Put the values (H, W, ...) of the image on all vertices of the padded grid: (vertices, ...)."""
        grid = np.full((*self.plan.shape, *values.shape[2:]), fill, dtype=self.dtype)
        grid[self.image] = values
        return grid.reshape(-1, *values.shape[2:])

    def _eliminate_interiors(self) -> tuple[Floats, Floats, Floats]:
        """Eliminate the interiors of the smallest boxes; the results are those of `eliminate`."""
        diagonal, right, down = self._diagonal, self._right, self._down
        interior, boundary = self.plan.interior, self.plan.boundary
        rows, columns, height, width = interior.shape
        matrix = np.zeros((rows, columns, height * width, height * width), dtype=self.dtype)
        diagonal_view(matrix)[...] = diagonal[interior].reshape(rows, columns, -1)
        to_right = right[interior]
        to_right[..., -1] = 0
        diagonal_view(matrix, 1)[...] = -to_right.reshape(rows, columns, -1)[..., :-1]
        diagonal_view(matrix, width)[...] = -down[interior[..., :-1, :]].reshape(rows, columns, -1)
        coupling = np.zeros((rows, columns, height, width, boundary.shape[-1]), dtype=self.dtype)
        top, bottom, left, right_side = np.split(np.arange(boundary.shape[-1]), np.cumsum((width, width, height)))
        across, along = np.arange(width), np.arange(height)
        coupling[:, :, 0, across, top] = down[boundary[..., top]]
        coupling[:, :, -1, across, bottom] = down[interior[..., -1, :]]
        coupling[:, :, along, 0, left] = right[boundary[..., left]]
        coupling[:, :, along, -1, right_side] = right[interior[..., -1]]
        return eliminate(matrix, coupling.reshape(rows, columns, height * width, -1))

    def _eliminate_separators(self, merge: Merge, subtracted: Floats) -> tuple[Floats, Floats, Floats]:
        """Eliminate the separators of one level; `subtracted` is the third result of the level before."""
        along = self._down if merge.axis == 1 else self._right
        low, high = split_pairs(subtracted, merge.axis)
        in_low, in_high = merge.facing
        matrix = -low[..., in_low, in_low] - high[..., in_high, in_high]
        diagonal_view(matrix)[...] += self._diagonal[merge.separator]
        diagonal_view(matrix, 1)[...] -= along[merge.separator[..., :-1]]
        coupling = np.zeros((*merge.separator.shape, merge.boundary.shape[-1]), dtype=self.dtype)
        for old, new in merge.low:
            coupling[..., new] = low[..., in_low, old]
        for old, new in merge.high:
            coupling[..., new] = high[..., in_high, old]
        before, after = merge.ends
        if before is not None:
            coupling[..., 0, before] = along[merge.separator[..., 0] - merge.step]
        if after is not None:
            coupling[..., -1, after] = along[merge.separator[..., -1]]
        inverse, product, total = eliminate(matrix, coupling)
        for box, moves in ((low, merge.low), (high, merge.high)):
            for old_row, new_row in moves:
                for old, new in moves:
                    total[..., new_row, new] += box[..., old_row, old]
        return inverse, product, total

    def _factorise_last(self, subtracted: Floats) -> torch.Tensor:
        """Return the Cholesky factor (k, k) of the matrix of the vertices that remain at the end."""
        right, down = self._right, self._down
        last, row = self.plan.last, self.plan.shape[1] - 2  # vertices of the last row without the corner
        matrix = np.zeros((len(last), len(last)), dtype=self.dtype)
        matrix[:-1, :-1] = -subtracted
        diagonal_view(matrix)[...] += self._diagonal[last]
        to_next = np.concatenate((right[last[: row - 1]], [0], down[last[row:-1]]))
        diagonal_view(matrix, 1)[...] -= to_next
        matrix[-1, row - 1] -= right[last[row - 1]]
        return torch.from_numpy(np.linalg.cholesky(matrix))

    def _solve_once(self, b: Floats) -> Floats:
        """Solve for `b` (H, W, channels) in the factorisation's own precision."""
        values = self._pad(b, 0)
        inverse, product = self.factors[0]
        rows, columns, height, width = self.plan.interior.shape
        interior = self.plan.interior.reshape(rows, columns, height * width)
        forward = [inverse @ np.take(values, interior, axis=0)]
        passed = product.swapaxes(-1, -2) @ forward[0]
        for merge, (inverse, product) in zip(self.plan.merges, self.factors[1:], strict=True):
            low, high = split_pairs(passed, merge.axis)
            in_low, in_high = merge.facing
            forward.append(inverse @ (values[merge.separator] + low[..., in_low, :] + high[..., in_high, :]))
            passed = product.swapaxes(-1, -2) @ forward[-1]
            for box, moves in ((low, merge.low), (high, merge.high)):
                for old, new in moves:
                    passed[..., new, :] += box[..., old, :]
        last = self.plan.last
        total = values[last]
        total[:-1] += passed[0, 0]
        values[:] = 0
        values[last] = torch.cholesky_solve(torch.from_numpy(total), self.root).numpy()
        for merge, (inverse, product), half in zip(
            self.plan.merges[::-1], self.factors[:0:-1], forward[:0:-1], strict=True
        ):
            known = np.take(values, merge.boundary, axis=0)
            values[merge.separator] = inverse.swapaxes(-1, -2) @ (half + product @ known)
        inverse, product = self.factors[0]
        known = np.take(values, self.plan.boundary, axis=0)
        values[interior] = inverse.swapaxes(-1, -2) @ (forward[0] + product @ known)
        return values.reshape(*self.plan.shape, -1)[self.image]

    def _residual(self, b: Floats, x: Floats) -> Floats:
        """Return b - (1 + L) x in float64."""
        residual = b - x
        flow = self.right[:, :-1, None] * (x[:, 1:] - x[:, :-1])
        residual[:, :-1] += flow
        residual[:, 1:] -= flow
        flow = self.down[:-1, :, None] * (x[1:] - x[:-1])
        residual[:-1] += flow
        residual[1:] -= flow
        return residual

    def solve(self, b: Floats, guess: Floats) -> Floats:
        """Solve for `b`, starting from `guess`, until the estimated error is below `TOLERANCE`.

        Each round reduces the error by about the ratio of its correction to the correction of the round before.

        Args:
            b: (H, W, channels) float64.
            guess: the same shape and type.

        Returns:
            x, of the same shape and type.
        Raises:
            DataError: when the solution does not converge.

        >>> edges = np.zeros((8, 8))
        >>> edges[0, 0] = 1  # one edge of weight 1, between the first two pixels of the first row
        >>> b = np.zeros((8, 8, 1))
        >>> b[0, 0] = 3
        >>> LaplacianSolver(edges, np.zeros((8, 8))).solve(b, b)[0, :3, 0].round(6).tolist()
        [2.0, 1.0, 0.0]
        """
        x, before = guess, 0.0
        for _ in range(MAX_REFINEMENTS):
            correction = self._solve_once(self._residual(b, x))
            x = x + correction
            size = float(np.abs(correction).max())
            if size < TOLERANCE or size * size < TOLERANCE * before:
                return x
            before = size
        raise DataError(f"RTV: the smoothing did not converge, the last correction was {size:.1e} of the image's range")
