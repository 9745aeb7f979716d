"""Time contextual attention beside the layer in convolutions: `python -m benchmarks.contextual_attention`.

The other side is the layer as its paper draws it and its ports have it: patches of the map are the kernels of a
convolution, score maps are filtered with an identity, a transposed convolution with larger patches rebuilds the map.
The command fails where the two differ.

One thread, processor time, medians, both in turn in one run: read the ratios, the times are this machine's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.coherent_attention import processor_seconds, run
from methods._contextual_attention import SMALLEST_NORM, SOFTMAX_SCALE, ContextualAttention, resize_nearest

TOLERANCE = 1e-4
"""The largest difference of the two results and of the two gradients, relative, in the Euclidean norm."""


class Convolutions(nn.Module):
    """The layer in convolutions, one image at a time: (1, C, H, W) and (1, 1, H, W) to (1, C, H, W)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rebuild the map."""
        channels, h, w = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
        small, hole = resize_nearest(x, h, w), resize_nearest(mask, h, w)
        kernels = F.unfold(small, 3, padding=1)[0].T.reshape(h * w, channels, 3, 3)
        norms = torch.linalg.vector_norm(kernels, dim=(1, 2, 3), keepdim=True)
        scores = F.conv2d(small, kernels / norms.clamp(min=SMALLEST_NORM), padding=1)[0].permute(1, 2, 0)
        diagonal = torch.eye(3, dtype=x.dtype)[None, None]
        scores = F.conv2d(scores.reshape(1, 1, h * w, h * w), diagonal, padding=1).view(h, w, h, w)
        scores = scores.permute(1, 0, 3, 2).reshape(1, 1, h * w, h * w)
        scores = F.conv2d(scores, diagonal, padding=1).view(w, h, w, h).permute(3, 2, 1, 0).reshape(1, h * w, h, w)
        usable = (F.max_pool2d(hole, 3, stride=1, padding=1) == 0).to(x).view(1, h * w, 1, 1)
        weights = torch.softmax(SOFTMAX_SCALE * scores * usable, dim=1) * usable
        patches = F.unfold(x, 4, stride=2, padding=1)[0].T.reshape(h * w, channels, 4, 4)
        return F.conv_transpose2d(weights, patches, stride=2, padding=1) / 4


def main() -> None:
    """Print a line for the forward pass and one for both passes: the difference, both times, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="of the feature map, square; the hole is a quarter of it")
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls each, after one to compare")
    options = parser.parse_args()
    if min(options.size, options.channels, options.repeats) < 1 or options.size % 4:
        parser.error("the size must be a multiple of 4, the channels and the repeats at least 1")
    torch.set_num_threads(1)
    size, quarter = options.size, options.size // 4
    # As long as features that the softmax can tell apart without choosing one alone.
    x = torch.randn(1, options.channels, size, size, generator=torch.Generator().manual_seed(0))
    x = (x / options.channels**0.5).contiguous(memory_format=torch.channels_last)
    mask = F.pad(torch.ones(1, 1, 2 * quarter, 2 * quarter), (quarter,) * 4)
    layers = ContextualAttention(), Convolutions()
    print(f"{size}x{size}x{options.channels}, hole a quarter, float32, torch {torch.__version__}, one thread")
    print(f"{'passes':<18} {'difference':>10} {'ours, ms':>9} {'convolutions, ms':>17} {'ratio':>6}")
    for name, backward in (("forward", False), ("forward, backward", True)):
        ours, theirs = (run(layer, x, mask, backward) for layer in layers)
        difference = float((ours - theirs).norm() / theirs.norm())
        calls: list[Callable[[], Tensor]] = [
            lambda layer=layer, backward=backward: run(layer, x, mask, backward)  # type: ignore[misc]
            for layer in layers
        ]
        fast, slow = processor_seconds(calls, options.repeats)
        print(f"{name:<18} {difference:>10.1e} {1000 * fast:>9.1f} {1000 * slow:>17.1f} {slow / fast:>6.1f}")
        if not difference < TOLERANCE:
            sys.exit(f"the results differ by {difference:.1e}, at most {TOLERANCE:g} was expected: not the same layer")


if __name__ == "__main__":
    main()
