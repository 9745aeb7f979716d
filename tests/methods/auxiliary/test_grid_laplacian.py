"""The direct solver of grid Laplacians: SciPy's general sparse solver, and the precision of the factorisation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from bench.contracts import DataError
from methods.auxiliary import grid_laplacian
from methods.auxiliary.grid_laplacian import LaplacianSolver

Floats = NDArray[np.float64]


def system(size: tuple[int, int], largest: float) -> tuple[Floats, Floats, Floats]:
    """Random weights of the edges to the right and down, from 1e-3 to `largest`, and a right-hand side in [0, 1]."""
    draw = np.random.default_rng(0)
    right, down = 10 ** draw.uniform(-3, np.log10(largest), (2, *size))
    right[:, -1] = down[-1] = 0
    return right, down, draw.random((*size, 3))


def sparse_solve(right: Floats, down: Floats, b: Floats) -> Floats:
    """The solution by SciPy, with the matrix assembled from the differences along the edges."""
    numbers = np.arange(right.size).reshape(right.shape)
    starts = np.concatenate([numbers[:, :-1].ravel(), numbers[:-1].ravel()])
    ends = np.concatenate([numbers[:, 1:].ravel(), numbers[1:].ravel()])
    weights = np.concatenate([right[:, :-1].ravel(), down[:-1].ravel()])
    edges = np.arange(len(weights))
    differences = scipy.sparse.csc_matrix(
        (np.repeat([1.0, -1.0], len(edges)), (np.tile(edges, 2), np.concatenate([starts, ends]))),
        shape=(len(edges), right.size),
    )
    laplacian = differences.T @ scipy.sparse.diags(weights) @ differences
    return spsolve((scipy.sparse.identity(right.size) + laplacian).tocsc(), b.reshape(-1, 3)).reshape(b.shape)


@pytest.mark.parametrize("size", [(8, 8), (8, 61), (9, 130), (37, 50), (64, 64), (97, 33), (130, 60)])
def test_it_solves_as_a_general_sparse_solver_at_any_size(size) -> None:
    right, down, b = system(size, 1e3)
    solver = LaplacianSolver(right, down)
    assert solver.dtype is np.float32
    assert np.abs(solver.solve(b, b) - sparse_solve(right, down, b)).max() < grid_laplacian.TOLERANCE


def test_weights_too_large_for_float32_are_factorised_in_float64() -> None:
    right, down, b = system((40, 30), 1e8)
    solver = LaplacianSolver(right, down)
    assert solver.dtype is np.float64
    assert np.abs(solver.solve(b, b) - sparse_solve(right, down, b)).max() < 1e-6


def test_a_solution_that_does_not_converge_is_refused() -> None:
    right, down, b = system((8, 8), 10)
    b[3, 3] = np.nan
    with pytest.raises(DataError, match="did not converge, the last correction was nan"):
        LaplacianSolver(right, down).solve(b, b)
