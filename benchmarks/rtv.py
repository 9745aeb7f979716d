"""Compare the speed of RTV smoothing with that of a sparse LU factorisation: `python -m benchmarks.rtv`.

Both sides differ only in the solver. The reference is SciPy's SuperLU, one factorisation per iteration for the three
channels: with its default ordering, and with a better choice for a symmetric matrix, minimum degree on A + A^T and no
pivoting. The command fails when a result differs from SuperLU's.

One thread, processor time, medians, all sides in turn in one run. The ratios can be compared between machines, the
times cannot.

Other solvers, measured once on one machine, where ours took 59 to 65 ms and SuperLU 208 to 222 ms: one system of a
photograph of 256x256 with three channels.

    qdldl 0.1.9             126 ms, 91 ms with the ordering reused
    MKL PARDISO 2026.2      187 ms, 76 ms with the ordering reused
    cholespy 2.2            279 ms
    pyamg 5.4, Ruge-Stueben 287 ms to a residual of 1e-4, 485 ms to 1e-8
    pyamg 5.4, aggregation  416 ms to 1e-4, 716 ms to 1e-8

About two thirds of our time is the elimination. In float64 without a second round ours took 71 ms; the dense products
alone would take about 20 ms at the full float32 speed of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import scipy
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu
from skimage import data
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._side_by_side import processor_seconds
from methods.auxiliary.rtv import EPS, ITERATIONS, LAM, SIGMA, edge_weights, smooth

TOLERANCE = 1e-6
"""The largest accepted difference of a pixel, in units of [0, 1]."""


def minimum_degree(system: scipy.sparse.csc_matrix) -> SuperLU:
    """Factorise a symmetric system with the minimum-degree ordering and without pivoting."""
    return splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def sparse_smooth(
    image: NDArray[np.float64], factorise: Callable[[scipy.sparse.csc_matrix], SuperLU]
) -> NDArray[np.float64]:
    """Do what `smooth` does with its default arguments, with SuperLU as the solver of each system."""
    width = image.shape[1]
    sigma, x = SIGMA, image
    for _ in range(ITERATIONS):
        right, down = (LAM / 2 * weights.ravel() for weights in edge_weights(x, sigma, EPS, None))
        diagonal = 1 + right + down
        diagonal[1:] += right[:-1]
        diagonal[width:] += down[:-width]
        bands = [diagonal, -right[:-1], -right[:-1], -down[:-width], -down[:-width]]
        system = scipy.sparse.diags(bands, [0, 1, -1, width, -width], format="csc")
        x = factorise(system).solve(image.reshape(-1, 3)).reshape(image.shape)
        sigma = max(sigma / 2, 0.5)
    return x


def main() -> None:
    """Print one line per size and ordering: the difference, both times, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[64, 128, 256, 512], help="sides of the images, in pixels"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each side, after one untimed call")
    options = parser.parse_args()
    if min(options.sizes) < 8 or options.repeats < 1:
        parser.error("the sizes must be at least 8, the repeats at least 1")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threadpool_limits(1)
    print(f"RGB, three iterations, numpy {np.__version__}, scipy {scipy.__version__}, one thread")
    print(f"{'size':>5} {'ordering':<15} {'difference':>10} {'ours, ms':>9} {'SuperLU, ms':>12} {'ratio':>6}")
    for size in options.sizes:
        image = cv2.resize(data.astronaut(), (size, size), interpolation=cv2.INTER_AREA) / 255
        ours = partial(smooth, image)
        others = {
            "default": partial(sparse_smooth, image, splu),
            "minimum degree": partial(sparse_smooth, image, minimum_degree),
        }
        result = ours()
        differences = [float(np.abs(call() - result).max()) for call in others.values()]
        fast, *slow = processor_seconds([ours, *others.values()], options.repeats)
        for name, difference, seconds in zip(others, differences, slow, strict=True):
            times = f"{1000 * fast:>9.1f} {1000 * seconds:>12.1f} {seconds / fast:>6.1f}"
            print(f"{size:>5} {name:<15} {difference:>10.1e} {times}")
        if not max(differences) < TOLERANCE:
            sys.exit(f"the results differ by {max(differences):.1e}, expected less than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
