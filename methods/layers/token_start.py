"""How layers between two stacked views, tokens and an image start: as a pixel-unshuffle of the views' mean, and back.

A token holds 4x4 pixels of the mean of the two views, less 0.5, in its first 48 channels, in the order of torch's
pixel-unshuffle. Channels that a layer does not have are left out.
"""

from __future__ import annotations

import torch
from torch import nn

from methods.layers.initial import Tap, bias_of, select_pixels_

SIDE = 4
"""Side of a token in pixels."""


def token_channel(colour: int, row: int, column: int) -> int:
    """Return the channel of a token's pixel in the order of pixel-unshuffle.

    Args:
        colour: 0 to 2.
        row: of the pixel within its token, 0 to 3.
        column: of the pixel within its token, 0 to 3.

    >>> token_channel(1, 0, 2)
    18
    """
    return (colour * SIDE + row) * SIDE + column


def half_channels() -> list[tuple[int, int, int, int]]:
    """Return (channel, colour, row, column) of each pixel of a 2x2 cell in the order of pixel-unshuffle."""
    return [(4 * c + 2 * i + j, c, i, j) for c in range(3) for i in (0, 1) for j in (0, 1)]


@torch.no_grad()
def partition(conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
    """Let the two layers start with the mean of the views, less 0.5, and then half their difference, in place.

    Both are in the order of pixel-unshuffle. The norm would remove the brightness and the contrast of each token.
    So the channels after the pixels subtract what the pixels add to the mean, and hold constants of both signs that
    keep the deviation near 4. The norm's weight and bias undo this, within 2 % of a pixel's distance from 0.5. Without
    channels after the pixels, all channels hold the constants.

    Args:
        conv: (N, 6, H, W) to (N, C, H/4, W/4), kernel and stride 4.
        norm: over the C channels.
    """
    bias = bias_of(conv)
    channels, pixels, deviation = conv.out_channels, 3 * SIDE**2, 4.0
    taps = []
    for output in range(2 * pixels):
        colour, pixel = divmod(output % pixels, SIDE**2)
        sign = 1 if output < pixels else -1
        row, column = divmod(pixel, SIDE)
        taps += [Tap(output, colour, row, column, 0.5), Tap(output, colour + 3, row, column, 0.5 * sign)]
    select_pixels_(conv, taps)
    bias[:pixels] -= 0.5
    constant = torch.zeros_like(bias)
    carriers = constant[pixels:] if channels > pixels else constant
    carriers[::2], carriers[1::2] = 1.0, -1.0
    if channels > pixels:
        conv.weight[pixels:] -= conv.weight[:pixels].sum(0) / (channels - pixels)
        bias[pixels:] -= bias[:pixels].sum() / (channels - pixels)
    constant *= deviation * (channels / len(carriers)) ** 0.5
    bias += constant
    norm.weight.fill_(deviation)
    norm.bias.copy_(-constant)


def two_convolutions(first: nn.Conv2d, last: nn.Conv2d) -> None:
    """Let two convolutions start with the mean of the views, less 0.5, in the order of pixel-unshuffle, in place.

    Args:
        first: (N, 6, H, W) to (N, C, H/2, W/2), 3x3, stride 2.
        last: (N, C, H/2, W/2) to (N, C, H/4, W/4), 3x3, stride 2.
    """
    select_pixels_(first, [Tap(o, c + view, i + 1, j + 1, 0.5) for o, c, i, j in half_channels() for view in (0, 3)])
    taps = [
        Tap(token_channel(c, 2 * y + i, 2 * x + j), o, y + 1, x + 1)
        for o, c, i, j in half_channels()
        for y in (0, 1)
        for x in (0, 1)
    ]
    select_pixels_(last, taps, bias=-0.5)


def upsampling(first: nn.Conv2d, second: nn.Conv2d, last: nn.Conv2d, gain: float) -> None:
    """Let three convolutions start as the inverse of pixel-unshuffle, plus 0.5, in place.

    A pixel-shuffle by 2 follows `first`, and another one `second`.

    Args:
        first: (N, C, h, w) to a multiple of 4 channels, 3x3.
        second: (N, ..., 2h, 2w) to a multiple of 4 channels, 3x3.
        last: (N, ..., 4h, 4w) to (N, 3, 4h, 4w), 3x3.
        gain: factor by which the pixels of the map are multiplied.
    """
    taps = [
        Tap(4 * o + 2 * y + x, token_channel(c, 2 * y + i, 2 * x + j), 1, 1, gain)
        for o, c, i, j in half_channels()
        for y in (0, 1)
        for x in (0, 1)
    ]
    select_pixels_(first, taps)
    select_pixels_(second, [Tap(o, o, 1, 1) for o, *_ in half_channels()])
    select_pixels_(last, [Tap(c, c, 1, 1) for c in range(3)], bias=0.5)
