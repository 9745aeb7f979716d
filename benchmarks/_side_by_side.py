"""Timing of several implementations that give the same result: in turn, in one run, by processor time."""

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
"""The largest accepted relative difference of two layers' results, and of their gradients, in the Euclidean norm."""


def processor_seconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median processor time of each call in seconds; the calls take turns.

    Args:
        calls: the functions to time.
        repeats: timed calls of each.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, seconds in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in times]


def run(layer: nn.Module, x: Tensor, mask: Tensor, backward: bool) -> Tensor:
    """Return the result of a layer, or with `backward` the gradient of the sum of its squares."""
    if not backward:
        with torch.no_grad():
            return layer(x, mask)
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x, mask).square().sum(), x)
    return gradient


def compare_layers(
    about: str | None, ours: nn.Module, theirs: nn.Module, name: str, features: Callable[[Tensor], Tensor]
) -> None:
    """Read sizes from the command line and print one line for the forward pass and one for both passes.

    Each line has the difference of the results (or gradients), both times and their ratio. The command fails when the
    difference is above `TOLERANCE`.

    Args:
        about: description of the command, for `--help`.
        ours: a layer, called with features (1, C, H, W) and the mask of the hole (1, 1, H, W).
        theirs: the reference implementation of the same layer.
        name: of the reference, as the title of its column.
        features: normal noise (1, C, H, W) to the layer's input.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--size", type=int, default=64, help="side of the square feature map; a quarter of it is the hole"
    )
    parser.add_argument("--channels", type=int, default=256, help="of the feature map")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each layer, after one untimed call")
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
            sys.exit(f"the results differ by {difference:.1e}, expected less than {TOLERANCE:g}: not the same layer")
