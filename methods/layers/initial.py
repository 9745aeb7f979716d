"""How a convolution starts as a selection of pixels: a network that begins with its input need not learn to copy it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Tap(NamedTuple):
    """One weight of a convolution's kernel: output channel, input channel, row, column, value."""

    output: int
    source: int
    row: int
    column: int
    value: float = 1.0


def bias_of(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Tensor:
    """Return the bias of a layer that was made with one; torch's type allows a layer without."""
    if layer.bias is None:
        raise ValueError(f"{layer} has no bias")
    return layer.bias


def pass_on_(conv: nn.Conv2d, taps: Sequence[Tap], bias: float = 0.0) -> None:
    """Make a convolution start as a selection of pixels: output channels with taps hold these and nothing else.

    Args:
        conv: other output channels keep what was drawn for them.
        taps: taps on a channel that the convolution does not have are left out.
        bias: of the output channels with taps.
    """
    own_bias = bias_of(conv)
    taps = [tap for tap in taps if tap.output < conv.out_channels and tap.source < conv.in_channels]
    with torch.no_grad():
        for output in {tap.output for tap in taps}:
            conv.weight[output] = 0.0
            own_bias[output] = bias
        for tap in taps:
            conv.weight[tap.output, tap.source, tap.row, tap.column] = tap.value
