"""Restore images of any size with a run: pad, cut into tiles where memory asks for it, clip, and keep known pixels."""

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
"""The side of the part of a tile that is kept, in pixels. MRFNet restores 12 megapixels in 2.8 GB so; with 512, 3.9."""
OVERLAP = 64
"""What two tiles share, in pixels, where a method has no bounded field: they are blended over it."""
WHOLE = 2_200_000
"""Images of at most so many pixels are restored whole; 1680x1120 and 1920x1080 are."""


def restore(
    method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], whole: int = WHOLE, tile: int = TILE
) -> Tensor:
    """Restore a batch of images of any size.

    Args:
        method: of `runs.load`, which has settled what depends on the network's arguments.
        batch: inputs by name, (N, C, H, W) float32 in [0, 1].
        whole: images of at most so many pixels are not cut; for a method without networks no image is.
        tile: side of a tile's kept part, in pixels.

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
    """Return what a method is given: the inputs, padded to sizes that it takes, and the auxiliary maps it declares.

    A map is made of the whole image, before anything is cut: a tile alone would have another one at its rim.
    """
    padded = {name: pad(value, method.multiple, method.min_size) for name, value in batch.items()}
    return padded | {name: _map_of_input(one_map, padded) for name, one_map in method.auxiliary.items()}


def _map_of_input(auxiliary_map: AuxiliaryMap, batch: Mapping[str, Tensor]) -> Tensor:
    x, mask = (batch[name].permute(0, 2, 3, 1).float().cpu().numpy() for name in ("x", "mask"))
    made = np.stack([auxiliary_map.of_input(*pair, **auxiliary_map.options) for pair in zip(x, mask, strict=True)])
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(batch["x"])


def pad(image: Tensor, multiple: int, min_size: int) -> Tensor:
    """Reflect at the bottom and the right until both sides are multiples of `multiple` and at least `min_size`."""
    for axis in (-2, -1):
        size = image.shape[axis]
        wanted = -(-max(size, min_size) // multiple) * multiple
        if wanted != size:
            index = np.pad(np.arange(size), (0, wanted - size), "reflect" if size > 1 else "edge")
            image = image.index_select(axis, torch.from_numpy(index).to(image.device))
    return image


def _windows(size: int, side: int, rim: int) -> Iterator[tuple[int, int, int]]:
    """Give each window's start and the first and last pixel that it keeps, a rim away from its ends inside the image.

    All have one size: tensors of many sizes fragment the memory, to 5.0 GB where 3.9 do.
    """
    starts = [*range(0, size - side, side - 2 * rim), size - side] if size > side else [0]
    edges = [0, *(start + side - rim for start in starts[:-1]), size]
    yield from zip(starts, edges, edges[1:], strict=False)


def _exact_tiles(method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], tile: int) -> Tensor:
    """Restore windows that reach `margin` beyond what is kept: each kept pixel sees all that it would see whole."""
    assert isinstance(method.margin, int), "settled when the run was loaded"
    step = -(-tile // method.multiple) * method.multiple
    rim = -(-method.margin // method.multiple) * method.multiple
    side = max(step + 2 * rim, method.min_size)
    some = next(iter(batch.values()))
    count, _, height, width = some.shape
    pred = some.new_empty((count, 3, height, width))
    for y, top, bottom in _windows(height, side, rim):
        for x, left, right in _windows(width, side, rim):
            window = {name: value[..., y : y + side, x : x + side] for name, value in batch.items()}
            piece = method.restore(networks, window)
            pred[..., top:bottom, left:right] = piece[..., top - y : bottom - y, left - x : right - x]
    return pred


def _blended_tiles(method: Method, networks: nn.ModuleDict, batch: Mapping[str, Tensor], tile: int) -> Tensor:
    """Restore overlapping windows and blend them by weights that fall linearly towards a window's rim."""
    side = max(tile + OVERLAP, method.min_size)
    side = -(-side // method.multiple) * method.multiple
    some = next(iter(batch.values()))
    count, _, height, width = some.shape
    total, weight = some.new_zeros((count, 3, height, width)), some.new_zeros((1, 1, height, width))
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
    if size <= side:
        return [0]
    step = (side - OVERLAP) // multiple * multiple
    return [*range(0, size - side, step), size - side]


def _ramp(size: int) -> Tensor:
    rise = torch.arange(1, size + 1, dtype=torch.float32)
    return torch.minimum(rise, rise.flip(0)).clamp(max=OVERLAP) / OVERLAP


@dataclass(frozen=True)
class Restorer:
    """What an evaluation calls: the inputs of one image to its restoration, with all that must be said of it.

    Args:
        task: the name of the task that it solves.
        restore: inputs (1, C, H, W) to the result (1, 3, H, W) in [0, 1].
        parts: the runs behind it: one, or the two of a chain.
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
    """

    def both(batch: Mapping[str, Tensor]) -> Tensor:
        known = 1 - batch["mask"]
        sharp = restore(first.method, first.networks, {"x": batch["x"]})
        return restore(second.method, second.networks, {"x": sharp * known, "mask": batch["mask"]})

    return Restorer(task, both, (first, second))
