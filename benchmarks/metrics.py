"""Compare the speed of our PSNR and SSIM with scikit-image's for one pair of images: `python -m benchmarks.metrics`.

One thread, processor time, medians, both sides in turn in one run. The ratios can be compared between machines, the
times cannot.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.scoring.metrics.errors import psnr_float, psnr_rgb8
from bench.scoring.metrics.ssim import ssim_gauss11, ssim_uniform7
from benchmarks._side_by_side import processor_seconds


def main() -> None:
    """Print one line per metric: the difference of the values, both times, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1280, help="of the images, in pixels")
    parser.add_argument("--height", type=int, default=720, help="of the images, in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of each side")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    target = cv2.resize(data.astronaut(), (options.width, options.height), interpolation=cv2.INTER_CUBIC)
    pred = cv2.GaussianBlur(target, (0, 0), 1.6)
    soft, sharp = pred / 255, target / 255
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "psnr-rgb8": (lambda: psnr_rgb8(pred, target), lambda: peak_signal_noise_ratio(target, pred)),
        "psnr-float": (
            lambda: psnr_float(soft, sharp),
            lambda: peak_signal_noise_ratio(sharp, soft, data_range=1),
        ),
        "ssim-gauss11": (
            lambda: ssim_gauss11(pred, target),
            lambda: structural_similarity(target, pred, channel_axis=-1, **gaussian),
        ),
        "ssim-uniform7": (
            lambda: ssim_uniform7(pred, target),
            lambda: structural_similarity(target, pred, channel_axis=-1),
        ),
    }
    print(f"{options.width}x{options.height} RGB, numpy {np.__version__}, opencv {cv2.__version__}, one thread")
    print(f"{'metric':<14} {'difference':>10} {'ours, ms':>9} {'scikit-image, ms':>17} {'ratio':>6}")
    for name, (ours, theirs) in pairs.items():
        difference = abs(ours() - theirs())
        fast, slow = processor_seconds([ours, theirs], options.repeats)
        print(f"{name:<14} {difference:>10.1e} {1000 * fast:>9.1f} {1000 * slow:>17.1f} {slow / fast:>6.1f}")


if __name__ == "__main__":
    main()
