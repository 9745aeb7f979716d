"""How two ways to the same result are timed: in turn, in one run, by processor time."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOLERANCE = 1e-4
"""The largest difference of two layers' results and of their gradients, relative, in the Euclidean norm."""


def processor_seconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """The median processor time of each call in seconds; the calls take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, own in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            own.append(time.process_time() - start)
    return [statistics.median(own) for own in times]


def run(layer: nn.Module, x: Tensor, mask: Tensor, backward: bool) -> Tensor:
    """The result, or with `backward` the gradient of the sum of its squares."""
    if not backward:
        with torch.no_grad():
            return layer(x, mask)
    x = x.detach().requires_grad_()
    layer(x, mask).square().sum().backward()
    assert x.grad is not None
    return x.grad


def compare_layers(
    about: str | None, ours: nn.Module, theirs: nn.Module, name: str, features: Callable[[Tensor], Tensor]
) -> None:
    """Read sizes from the command line and print a line for the forward pass and one for both passes.

    A line has the difference of the results (of the gradients), both times and their ratio. The command fails where the
    difference is above TOLERANCE.

    Args:
        about: what the command is for.
        ours: a layer of (1, C, H, W) and its hole (1, 1, H, W).
        theirs: the same layer as a user would have it; `name` is its column.
        features: normal noise (1, C, H, W) to the layer's input.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--size", type=int, default=64, help="of the feature map, square; the hole is a quarter of it")
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls each, after one to compare")
    options = parser.parse_args()
    if min(options.size, options.channels, options.repeats) < 1 or options.size % 4:
        parser.error("the size must be a multiple of 4, the channels and the repeats at least 1")
    torch.set_num_threads(1)
    size, quarter = options.size, options.size // 4
    noise = torch.randn(1, options.channels, size, size, generator=torch.Generator().manual_seed(0))
    x = features(noise).contiguous(memory_format=torch.channels_last)
    mask = F.pad(torch.ones(1, 1, 2 * quarter, 2 * quarter), (quarter,) * 4)
    layers = ours, theirs
    print(f"{size}x{size}x{options.channels}, hole a quarter, float32, torch {torch.__version__}, one thread")
    print(f"{'passes':<18} {'difference':>10} {'ours, ms':>9} {f'{name}, ms':>17} {'ratio':>6}")
    for passes, backward in (("forward", False), ("forward, backward", True)):
        results = [run(layer, x, mask, backward) for layer in layers]
        difference = float((results[0] - results[1]).norm() / results[1].norm())
        calls: list[Callable[[], Tensor]] = [
            lambda layer=layer, backward=backward: run(layer, x, mask, backward)  # type: ignore[misc]
            for layer in layers
        ]
        fast, slow = processor_seconds(calls, options.repeats)
        print(f"{passes:<18} {difference:>10.1e} {1000 * fast:>9.1f} {1000 * slow:>17.1f} {slow / fast:>6.1f}")
        if not difference < TOLERANCE:
            sys.exit(f"the results differ by {difference:.1e}, at most {TOLERANCE:g} was expected: not the same layer")
