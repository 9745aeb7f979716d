"""Time RTV smoothing beside a sparse LU factorisation: `python -m benchmarks.rtv`.

Both sides share everything but the solver: SciPy's SuperLU with its default ordering, once an iteration for the three
channels, and, as the better choice for a symmetric matrix, with minimum degree on A + A^T and no pivoting. The command
fails where a result differs from SuperLU's.

One thread, processor time, medians, all in turn in one run: read the ratios, the times are this machine's.

What else one could solve with, one system of a photograph of 256x256 with its three channels, measured once beside ours
(59 to 65 ms, on the machine where SuperLU took 208 to 222 ms):

    qdldl 0.1.9             126 ms, 91 ms where the ordering is reused
    MKL PARDISO 2026.2      187 ms, 76 ms where the ordering is reused
    cholespy 2.2            279 ms
    pyamg 5.4, Ruge-Stueben 287 ms to a residual of 1e-4, 485 ms to 1e-8
    pyamg 5.4, aggregation  416 ms to 1e-4, 716 ms to 1e-8

So none of them is faster, and a tenth of SuperLU's time is out of reach with them. Of ours about two thirds are the
elimination. Done in float64 without a second round it took 71 ms; the dense products alone, at the full speed of one
core in float32, would take about 20.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

import cv2
import numpy as np
import scipy
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import splu
from skimage import data
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._side_by_side import processor_seconds
from methods.auxiliary.rtv import edge_weights, smooth

TOLERANCE = 1e-6
"""The largest difference of a pixel, in units of [0, 1]."""
MINIMUM_DEGREE = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}


def sparse_smooth(image: NDArray[np.float64], **ordering: Any) -> NDArray[np.float64]:
    """`smooth` with the defaults of ours, each system solved by SuperLU with these options."""
    width = image.shape[1]
    lam, sigma, x = 0.015, 3.0, image
    for _ in range(3):
        right, down = (lam / 2 * weights.ravel() for weights in edge_weights(x, sigma, 0.001, None))
        diagonal = 1 + right + down
        diagonal[1:] += right[:-1]
        diagonal[width:] += down[:-width]
        bands = [diagonal, -right[:-1], -right[:-1], -down[:-width], -down[:-width]]
        system = scipy.sparse.diags(bands, [0, 1, -1, width, -width], format="csc")
        x = splu(system, **ordering).solve(image.reshape(-1, 3)).reshape(image.shape)
        sigma = max(sigma / 2, 0.5)
    return x


def main() -> None:
    """Print a line a size and ordering: the difference, both times, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512], help="of the square images")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls each, after one to compare")
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
            "default": partial(sparse_smooth, image),
            "minimum degree": partial(sparse_smooth, image, **MINIMUM_DEGREE),
        }
        result = ours()
        differences = [float(np.abs(call() - result).max()) for call in others.values()]
        fast, *slow = processor_seconds([ours, *others.values()], options.repeats)
        for name, difference, seconds in zip(others, differences, slow, strict=True):
            times = f"{1000 * fast:>9.1f} {1000 * seconds:>12.1f} {seconds / fast:>6.1f}"
            print(f"{size:>5} {name:<15} {difference:>10.1e} {times}")
        if not max(differences) < TOLERANCE:
            sys.exit(f"the results differ by {max(differences):.1e}, at most {TOLERANCE:g} was expected")


if __name__ == "__main__":
    main()
