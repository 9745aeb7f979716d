"""Time coherent attention beside the layer in torch operations: `python -m benchmarks.coherent_attention`.

The other side is the layer as a user of CSA has it: scores by a convolution whose kernels are the known patches, a row
of an attention matrix for every place of the map, the hole's rows one after the other, and one product of that matrix
with the patches, whose gradient autograd takes. It follows the same equations; the command fails where the two differ.

One thread, processor time, medians, both in turn in one run: read the ratios, the times are this machine's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods._coherent_attention import EPS, CoherentAttention

TOLERANCE = 1e-4
"""The largest difference of the two results and of the two gradients, relative, in the Euclidean norm."""


class Matrix(nn.Module):
    """The layer with a whole attention matrix, one image at a time: (1, C, h, w) and (1, 1, h, w) to (1, C, h, w)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend within the image."""
        patches = x[0].flatten(1).T
        with torch.no_grad():
            attention = self.attention(x, patches, mask.flatten() > 0)
        return (attention @ patches).T.reshape(x.shape)

    def attention(self, x: Tensor, patches: Tensor, inside: Tensor) -> Tensor:
        """The matrix of h w rows: what each place takes from every place."""
        known, hole = (~inside).nonzero().flatten(), inside.nonzero().flatten()
        directions = F.normalize(patches, dim=1, eps=EPS)
        scores = F.conv2d(F.normalize(x, dim=1, eps=EPS), directions[known][:, :, None, None])[0].flatten(1)
        best, matched = scores.clamp(min=0).max(dim=0)
        attention = torch.eye(len(patches), dtype=x.dtype)
        row, q = torch.zeros_like(attention[0]), None
        for place in hole:
            match = known[matched[place]]
            if q is None:
                row[match] = 1
                q = patches[match]
            else:
                adjacent = F.cosine_similarity(directions[place], q, dim=0, eps=EPS).clamp(min=0)
                a = adjacent / (adjacent + best[place] + EPS)
                row = a * row
                row[match] += 1 - a
                q = a * q + (1 - a) * patches[match]
            attention[place] = row
        return attention


def run(layer: nn.Module, x: Tensor, mask: Tensor, backward: bool) -> Tensor:
    """The result, or with `backward` the gradient of the sum of its squares."""
    if not backward:
        with torch.no_grad():
            return layer(x, mask)
    x = x.detach().requires_grad_()
    layer(x, mask).square().sum().backward()
    assert x.grad is not None
    return x.grad


def processor_seconds(calls: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    """The median processor time of each call in seconds; the calls take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, own in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            own.append(time.process_time() - start)
    return [statistics.median(own) for own in times]


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
    noise = torch.randn(1, options.channels, size, size, generator=torch.Generator().manual_seed(0))
    x = (noise + 2 * F.avg_pool2d(noise, 5, stride=1, padding=2)).contiguous(memory_format=torch.channels_last)
    mask = F.pad(torch.ones(1, 1, 2 * quarter, 2 * quarter), (quarter,) * 4)
    layers = CoherentAttention(), Matrix()
    print(f"{size}x{size}x{options.channels}, hole a quarter, float32, torch {torch.__version__}, one thread")
    print(f"{'passes':<18} {'difference':>10} {'ours, ms':>9} {'matrix, ms':>11} {'ratio':>6}")
    for name, backward in (("forward", False), ("forward, backward", True)):
        ours, theirs = (run(layer, x, mask, backward) for layer in layers)
        difference = float((ours - theirs).norm() / theirs.norm())
        calls: list[Callable[[], Tensor]] = [
            lambda layer=layer, backward=backward: run(layer, x, mask, backward)  # type: ignore[misc]
            for layer in layers
        ]
        fast, slow = processor_seconds(calls, options.repeats)
        print(f"{name:<18} {difference:>10.1e} {1000 * fast:>9.1f} {1000 * slow:>11.1f} {slow / fast:>6.1f}")
        if not difference < TOLERANCE:
            sys.exit(f"the results differ by {difference:.1e}, at most {TOLERANCE:g} was expected: not the same layer")


if __name__ == "__main__":
    main()
