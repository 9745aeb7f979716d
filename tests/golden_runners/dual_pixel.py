"""The golden case of the dual-pixel simulator's kernels, computed by our simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.degradations.dual_pixel import Shape, kernels

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def dual_pixel_kernels(case: Case) -> dict[str, np.ndarray]:
    """Compute the three kernels of each circle of confusion of the case."""
    outputs: dict[str, np.ndarray] = {}
    for entry in case.about["arguments"]:
        shape = Shape(entry["order"], entry["cut_off_factor"], entry["beta"])
        triple = kernels(entry["coc"], shape, entry["smooth_strength"])
        outputs |= {f"{name}_{entry['index']}": kernel for name, kernel in triple._asdict().items()}
    return outputs


RUNNERS: Runners = {"dual-pixel-kernels": dual_pixel_kernels}
