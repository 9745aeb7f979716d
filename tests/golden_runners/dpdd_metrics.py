"""The metrics of DPDNet and RDPD on one image pair: the case's numbers stand under `values`, it has no outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.scoring.metrics.catalogue import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from case import Case

IDS = {"mse": "mse", "psnr": "psnr-float", "ssim": "ssim-uniform7", "mae": "mae"}


def dpdd_metrics(case: Case) -> dict[str, np.ndarray]:
    """Our values under the case's names, from its images (1, 3, H, W) in [0, 1]."""
    restored, target = (case.inputs[name][0].transpose(1, 2, 0) for name in ("restored", "target"))
    return {name: np.array(METRICS[ours].compute(restored, target)) for name, ours in IDS.items()}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {"dpdd-metrics": dpdd_metrics}
