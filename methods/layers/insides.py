"""How maps of a network's features become images of a figure."""

from __future__ import annotations

from torch import Tensor


def to_unit_range(values: Tensor) -> Tensor:
    """Stretch a map of any shape linearly so that it covers [0, 1]; a constant map becomes 0.

    >>> import torch
    >>> to_unit_range(torch.tensor([2.0, 3.0, 6.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low).clamp(min=1e-12)
