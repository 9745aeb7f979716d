"""How the weights of convolutions start: drawn from a distribution, or as a selection of pixels.

A network that starts as a copy of its input need not learn to copy it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Convolution = TypeVar("Convolution", bound=nn.Conv2d | nn.ConvTranspose2d)


def bias_of(layer: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Tensor:
    """Return the bias of a layer that was made with one; torch's type allows a layer without."""
    if layer.bias is None:
        raise ValueError(f"{layer} has no bias")
    return layer.bias


def draw_weights_(conv: Convolution, draw: Callable[[Tensor], object]) -> Convolution:
    """Draw the kernel of `conv` and set its biases, if it has any, to 0.

    Args:
        conv: the convolution; it is changed and returned.
        draw: fills a kernel in place, like `nn.init.xavier_uniform_`.

    >>> conv = draw_weights_(nn.Conv2d(1, 1, 1), nn.init.ones_)
    >>> conv.weight.item(), bias_of(conv).item()
    (1.0, 0.0)
    """
    draw(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class Tap(NamedTuple):
    """One weight of a convolution's kernel."""

    output: int
    """Output channel."""
    source: int
    """Input channel."""
    row: int
    """Row of the kernel."""
    column: int
    """Column of the kernel."""
    value: float = 1.0
    """The weight."""


def select_pixels_(conv: nn.Conv2d, taps: Sequence[Tap], bias: float = 0.0) -> None:
    """Let a convolution start as a selection of pixels: output channels with taps have these weights and no others.

    Args:
        conv: the convolution, with biases; its other output channels keep their weights.
        taps: taps of a channel that the convolution does not have are ignored.
        bias: of the output channels with taps.

    >>> conv = nn.Conv2d(3, 1, 1)
    >>> select_pixels_(conv, [Tap(0, 2, 0, 0)])  # the output is the third input channel
    >>> conv.weight.flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    biases = bias_of(conv)
    taps = [tap for tap in taps if tap.output < conv.out_channels and tap.source < conv.in_channels]
    with torch.no_grad():
        for output in {tap.output for tap in taps}:
            conv.weight[output] = 0.0
            biases[output] = bias
        for tap in taps:
            conv.weight[tap.output, tap.source, tap.row, tap.column] = tap.value
