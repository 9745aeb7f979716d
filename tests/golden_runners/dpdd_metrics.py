"""The metrics of DPDNet and RDPD for one pair of images. The case has no outputs; its numbers are under `values`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.scoring.metrics.catalogue import METRICS

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


IDS = {"mse": "mse", "psnr": "psnr-float", "ssim": "ssim-uniform7", "mae": "mae"}


def dpdd_metrics(case: Case) -> dict[str, np.ndarray]:
    """Compute our metrics of the case's images (1, 3, H, W) in [0, 1], under its names."""
    restored, target = (case.inputs[name][0].transpose(1, 2, 0) for name in ("restored", "target"))
    return {name: np.array(METRICS[ours].compute(restored, target)) for name, ours in IDS.items()}


RUNNERS: Runners = {"dpdd-metrics": dpdd_metrics}
