"""What figures of a network's insides share."""

from __future__ import annotations

from torch import Tensor


def own_range(values: Tensor) -> Tensor:
    """Stretch a map from its least to its largest value over [0, 1]; a constant one becomes 0."""
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low).clamp(min=1e-12)
