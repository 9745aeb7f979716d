"""The degraded input itself: the row of a table that every method has to beat.

For `dual-pixel` it is the mean of the left and the right view. A dual-pixel sensor's combined image is the sum of its
two half-pixels, so the mean is that image up to exposure.
Our reading: papers that print an "input" row use the camera's combined image, which differs from this mean by the
camera's tone curve and rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import TASKS, Method

if TYPE_CHECKING:
    from bench.contracts import Batch


def restore(networks: nn.ModuleDict | None, batch: Batch) -> Tensor:
    """Return `x`, or the mean of `left` and `right`, (N, 3, H, W) in [0, 1]."""
    return batch["x"] if "x" in batch else (batch["left"] + batch["right"]) / 2


method = Method(TASKS, None, {}, restore, margin=0)
