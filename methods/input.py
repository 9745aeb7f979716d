"""The degraded input itself: the row of a table that every method has to beat.

For `dual-pixel` it is the mean of the left and the right view. The combined image of a dual-pixel sensor is the sum of
its two half-pixels, so the mean is that image up to exposure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from bench.contracts import untrained
from bench.tasks import TASKS

if TYPE_CHECKING:
    from bench.contracts import Batch


def restore(batch: Batch) -> Tensor:
    """Return `x`, or the mean of `left` and `right`, (N, 3, H, W) in [0, 1]."""
    return batch["x"] if "x" in batch else (batch["left"] + batch["right"]) / 2


method = untrained(
    tuple(TASKS),
    restore,
    margin=0,
    readings=(
        'Papers with an "input" row for dual-pixel images use the combined image of the camera, which differs from the '
        "mean of the views by the camera's tone curve and rounding.",
    ),
)
