"""Restore images of any size with a run: pad, cut large ones into tiles, clip, and keep known pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import AuxiliaryMap, Method
from bench.runs import Trained
from bench.tasks import find_task

TILE = 448
"""Side, in pixels, of the part of a tile that is kept. MRFNet restores 12 megapixels in 2.8 GB; with 512, in 3.9 GB."""
OVERLAP = 64
"""Overlap, in pixels, over which two tiles are blended where a method's receptive field is not bounded."""
WHOLE = 2_200_000
"""The largest image, in pixels, that is restored whole: 1680x1120 and 1920x1080 are."""


def restore(
    method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], whole: int = WHOLE, tile: int = TILE
) -> Tensor:
    """Restore a batch of images of any size.

    Args:
        method: of `runs.load`, where what depends on the network's arguments is settled.
        networks: the method's networks; empty without training.
        batch: inputs by name, (N, C, H, W) float32 in [0, 1].
        whole: the largest image, in pixels, that is not cut into tiles. A method without networks never cuts one.
        tile: side, in pixels, of the part of a tile that is kept.

    Returns:
        (N, 3, H, W) in [0, 1]. The known pixels are those of `x` where one of the method's tasks keeps them.
    """
    height, width = next(iter(batch.values())).shape[-2:]
    padded = prepared(method, batch)
    with torch.inference_mode():
        if height * width <= whole or method.networks is None:
            pred = method.restore(networks, padded)
        elif method.margin is not None:
            pred = _exact_tiles(method, networks, padded, tile)
        else:
            pred = _blended_tiles(method, networks, padded, tile)
        pred = pred[..., :height, :width].float().clamp(0, 1)
        if "mask" in batch and any(find_task(task).keeps_known_pixels for task in method.tasks):
            pred = batch["mask"] * pred + (1 - batch["mask"]) * batch["x"]
    return pred


def prepared(method: Method, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a method gets: the inputs, padded to a size that it takes, and its auxiliary maps.

    The maps are made of the whole image, before it is cut: at its border a tile would have other values.
    """
    padded = {name: pad(value, method.multiple, method.min_size) for name, value in batch.items()}
    return padded | {name: _map_of_input(auxiliary_map, padded) for name, auxiliary_map in method.auxiliary.items()}


def _map_of_input(auxiliary_map: AuxiliaryMap, batch: Mapping[str, Tensor]) -> Tensor:
    x, mask = (batch[name].permute(0, 2, 3, 1).float().cpu().numpy() for name in ("x", "mask"))
    made = np.stack([auxiliary_map.of_input(*pair, **auxiliary_map.options) for pair in zip(x, mask, strict=True)])
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(batch["x"])


def pad(image: Tensor, multiple: int, min_size: int) -> Tensor:
    """Reflect at the bottom and the right until both sides are multiples of `multiple` and at least `min_size`.

    >>> pad(torch.zeros(1, 3, 5, 7), 4, 1).shape
    torch.Size([1, 3, 8, 8])
    """
    for axis in (-2, -1):
        size = image.shape[axis]
        padded = -(-max(size, min_size) // multiple) * multiple
        if padded != size:
            index = np.pad(np.arange(size), (0, padded - size), "reflect" if size > 1 else "edge")
            image = image.index_select(axis, torch.from_numpy(index).to(image.device))
    return image


def _windows(size: int, side: int, rim: int) -> Iterator[tuple[int, int, int]]:
    """Yield the start of each window, the first pixel that it keeps and the one after the last.

    Inside the image a window does not keep its rim. All windows have one size: tensors of many sizes fragment the
    memory, to 5.0 GB instead of 3.9.

    >>> list(_windows(10, 6, 1))
    [(0, 0, 5), (4, 5, 10)]

    Args:
        size: of the image, in pixels.
        side: of a window.
        rim: pixels at both ends of a window that are not kept.
    """
    starts = [*range(0, size - side, side - 2 * rim), size - side] if size > side else [0]
    edges = [0, *(start + side - rim for start in starts[:-1]), size]
    yield from zip(starts, edges, edges[1:], strict=False)


def _exact_tiles(method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], tile: int) -> Tensor:
    """Restore windows that reach `margin` pixels beyond what is kept: the result is that of the whole image."""
    assert isinstance(method.margin, int), "settled when the run was loaded"
    step = -(-tile // method.multiple) * method.multiple
    rim = -(-method.margin // method.multiple) * method.multiple
    side = max(step + 2 * rim, method.min_size)
    first = next(iter(batch.values()))
    count, _, height, width = first.shape
    pred = first.new_empty((count, 3, height, width))
    for y, top, bottom in _windows(height, side, rim):
        for x, left, right in _windows(width, side, rim):
            window = {name: value[..., y : y + side, x : x + side] for name, value in batch.items()}
            piece = method.restore(networks, window)
            pred[..., top:bottom, left:right] = piece[..., top - y : bottom - y, left - x : right - x]
    return pred


def _blended_tiles(method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], tile: int) -> Tensor:
    """Restore overlapping windows and blend them with weights that fall linearly towards the rim of a window."""
    side = max(tile + OVERLAP, method.min_size)
    side = -(-side // method.multiple) * method.multiple
    first = next(iter(batch.values()))
    count, _, height, width = first.shape
    total, weight = first.new_zeros((count, 3, height, width)), first.new_zeros((1, 1, height, width))
    for top in _starts(height, side, method.multiple):
        for left in _starts(width, side, method.multiple):
            box = (..., slice(top, min(top + side, height)), slice(left, min(left + side, width)))
            piece = method.restore(networks, {name: value[box] for name, value in batch.items()})
            ramp = _ramp(piece.shape[-2])[:, None] * _ramp(piece.shape[-1])[None, :]
            ramp = ramp.to(piece.device)
            total[box] += piece.float() * ramp
            weight[box] += ramp
    return total / weight


def _starts(size: int, side: int, multiple: int) -> list[int]:
    """Return the starts of windows that cover an image and overlap by at least OVERLAP."""
    if size <= side:
        return [0]
    step = (side - OVERLAP) // multiple * multiple
    return [*range(0, size - side, step), size - side]


def _ramp(size: int) -> Tensor:
    """Return weights (size,) that rise from both ends to 1, over OVERLAP pixels."""
    rise = torch.arange(1, size + 1, dtype=torch.float32)
    return torch.minimum(rise, rise.flip(0)).clamp(max=OVERLAP) / OVERLAP


@dataclass(frozen=True)
class Restorer:
    """What an evaluation calls to restore an image, and the runs behind it.

    Args:
        task: the name of the task that it solves.
        restore: inputs by name, (1, C, H, W), to the result (1, 3, H, W) in [0, 1].
        parts: the runs: one, or the two of a chain.
    """

    task: str
    restore: Callable[[Mapping[str, Tensor]], Tensor]
    parts: tuple[Trained, ...]


def single(trained: Trained) -> Restorer:
    """Return the restorer of one run."""
    return Restorer(trained.record.task, lambda batch: restore(trained.method, trained.networks, batch), (trained,))


def chain(task: str, first: Trained, second: Trained) -> Restorer:
    """Return the restorer of a deblurring run followed by an inpainting run (DFFNet, Section 4.3.3).

    Our reading: the first gets the blurred image with its hole (0 inside); the second gets its result with the same
    hole, so that the known pixels of the final image are deblurred ones.

    Args:
        task: name of the task that both solve together.
        first: the run that deblurs.
        second: the run that fills holes.
    """

    def both(batch: Mapping[str, Tensor]) -> Tensor:
        known = 1 - batch["mask"]
        sharp = restore(first.method, first.networks, {"x": batch["x"]})
        return restore(second.method, second.networks, {"x": sharp * known, "mask": batch["mask"]})

    return Restorer(task, both, (first, second))
