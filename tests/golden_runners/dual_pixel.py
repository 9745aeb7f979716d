"""The kernels of the dual-pixel simulator against the released generator's."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.degradations.dual_pixel import Shape, kernels


def dual_pixel_kernels(case: Any) -> dict[str, np.ndarray]:
    """Compute the three kernels of every circle of confusion that the case lists."""
    outputs: dict[str, np.ndarray] = {}
    for entry in case.about["arguments"]:
        shape = Shape(entry["order"], entry["cut_off_factor"], entry["beta"])
        made = kernels(entry["coc"], shape, entry["smooth_strength"])
        outputs |= {f"{name}_{entry['index']}": kernel for name, kernel in made._asdict().items()}
    return outputs


RUNNERS = {"dual-pixel-kernels": dual_pixel_kernels}
