"""Restore a person's own photographs with a run: any size, JPEG, PNG or TIFF.

In the folders of the images nothing is overwritten. In any other folder a file with the name of a result counts as an
earlier result and is replaced.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import runs
from bench.contracts import DataError, Method, UserError
from bench.contracts.errors import brief
from bench.data.built_images import as_float, write_png
from bench.data.colour_profiles import colour_description
from bench.data.user_images import read_mask, read_rgb
from bench.files import need_writable
from bench.params.resolving import all_chains, all_runs
from bench.params.schema import Params
from bench.scoring.metrics.values import quantise
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import nn


LONGEST_NAME = 255
"""The most bytes that a file's name has on common file systems."""


@dataclass(frozen=True)
class Request:
    """What to restore, as the options of `python -m bench restore` give it."""

    run: str
    """Name of a trained run, or of a run without training."""
    images: Sequence[Path]
    """The degraded images; the left views for a dual-pixel run."""
    out: Path
    """Folder of the results."""
    mask: Path | None = None
    """White = hole; required by runs that fill holes, refused by others."""
    right: Sequence[Path] = ()
    """The right views, one per image in the same order; for dual-pixel runs only."""
    tile: int = 0
    """Side of the tiles in pixels, 64 or more; 0 divides only large images."""
    precision: str = "float32"
    """float32, or bfloat16 for half the time on hardware that supports it, within 0.1 dB."""


def restore_files(params: Params, request: Request) -> Iterator[Path]:
    """Restore each image into `request.out`, as an 8-bit PNG of the same name; yield each result's path.

    A result has the colour profile of its image; a warning tells where it cannot.

    Raises:
        UserError: a run that is not trained, a mask or right view that is missing or not used, or an `out` that would
            overwrite an input or a file next to one.
        DataError: an image that cannot be read, or a mask or view of another size; found before the first is restored.
    """
    from tqdm import tqdm

    outputs = _outputs(request)
    pairs: Sequence[Path | None] = request.right or [None] * len(request.images)
    for path in _inputs(request):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    need_writable(request.out)
    from bench.training.device import scoring_device, set_threads, tune_allocator

    tune_allocator()
    set_threads(0)  # all cores: `threads` of params.yaml is for trainings, of which several run at once
    device = scoring_device()
    task, method, networks = _load(params, request.run, device)
    _check_options(request, task)
    colours = []
    for image, right in zip(request.images, pairs, strict=True):
        _arrays(image, right, request.mask)  # reads all of them first: the last may be damaged
        colours.append(colour_description(image))
        if colours[-1].problem:
            warnings.warn(colours[-1].problem, stacklevel=2)
    jobs = zip(tqdm(request.images, disable=None, unit="image"), pairs, outputs, colours, strict=True)
    for image, right, out, colour in jobs:
        arrays = _arrays(image, right, request.mask)
        write_png(out, quantise(_restored(image, arrays, request, method, networks, device)), colour.chunks)
        yield out


def _check_options(request: Request, task: str) -> None:
    """Raise UserError for a mask or right views that the task needs and does not get, or gets and does not need."""
    names = find_task(task).inputs
    if ("mask" in names) != (request.mask is not None):
        advice = "give --mask FILE" if "mask" in names else "it takes no --mask"
        raise UserError(f"{request.run} does {task}: {advice}")
    if ("right" in names) != bool(request.right):
        advice = "give --right" if "right" in names else "it takes no --right"
        raise UserError(f"{request.run} does {task}: {advice}")


def _restored(
    image: Path,
    arrays: Mapping[str, np.ndarray],
    request: Request,
    method: Method,
    networks: nn.ModuleDict,
    device: str,
) -> np.ndarray:
    """Restore one image: (H, W, 3) float32 in [0, 1]. Print how, where it is too large to be restored whole."""
    import torch

    from bench.scoring.restore import TILE, WHOLE, restore
    from bench.training.device import full_float32

    batch = {name: torch.from_numpy(array).permute(2, 0, 1)[None].to(device) for name, array in arrays.items()}
    height, width = next(iter(arrays.values())).shape[:2]
    if height * width > WHOLE and method.tiling and method.networks is not None:
        print(f"{image}: {width}x{height} is restored in tiles. {method.tiling}")
    whole = 0 if request.tile else WHOLE
    with full_float32(), torch.autocast(device, torch.bfloat16, enabled=request.precision == "bfloat16"):
        pred = restore(method, networks, batch, whole, request.tile or TILE)
    return pred[0].permute(1, 2, 0).cpu().numpy()


def _load(params: Params, name: str, device: str) -> tuple[str, Method, nn.ModuleDict]:
    """Return a run's task, method and networks; a method without training needs no files."""
    chain = all_chains(params).get(name)
    members = [chain.first, chain.second] if chain else []
    members += [params.transfers[name].run] if name in params.transfers else []
    if members:
        raise UserError(f"{name} is made of runs: restore with {', then with '.join(members)}")
    if name in all_runs(params):
        recipe, method = runs.resolve(params, name)
        if method.networks is None:
            return recipe.task, method, runs.no_networks()
    trained = runs.load(params, name, device)
    return trained.record.task, trained.method, trained.networks


def _inputs(request: Request) -> list[Path]:
    """Return every file that the command reads."""
    return [*request.images, *request.right, *([request.mask] if request.mask else [])]


def _outputs(request: Request) -> list[Path]:
    """Return the result's path for each image.

    Raises:
        UserError: two results would be one file, or a result would replace a file in a folder of inputs.
    """
    if request.tile and request.tile < 64:
        raise UserError(f"--tile: found {request.tile}, expected 64 pixels or more")
    if request.right and len(request.right) != len(request.images):
        raise UserError(f"--right: found {len(request.right)} for {len(request.images)} images; give it once per IMAGE")
    outputs = [request.out / f"{path.stem}.png" for path in request.images]
    if len(set(outputs)) != len(outputs):
        raise UserError(
            "two of the images have the same name and would be written to one file: restore them one by one"
        )
    for path, image in zip(outputs, request.images, strict=True):
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise UserError(f"{image}: its name is too long for that of the result, {brief(path.name)}; rename it")
    # For a link both folders count: the folder of the link and that of its file.
    folders = {place for path in _inputs(request) for place in (path.parent.resolve(), path.resolve().parent)}
    for path in outputs:
        if path.exists() and not folders.isdisjoint((path.parent.resolve(), path.resolve().parent)):
            raise UserError(f"{path}: exists in a folder of the images; choose another --out so that nothing is lost")
    return outputs


def _arrays(image: Path, right: Path | None, mask: Path | None) -> dict[str, np.ndarray]:
    """Read the inputs of one image by name, float32 (H, W, C) in [0, 1]."""
    pixels = as_float(read_rgb(image, bits=None))
    if right is not None:
        view = as_float(read_rgb(right, bits=None))
        _check_size(image, pixels, right, view)
        return {"left": pixels, "right": view}
    if mask is not None:
        hole = as_float(read_mask(mask))
        _check_size(image, pixels, mask, hole)
        return {"x": pixels * (1 - hole), "mask": hole}
    return {"x": pixels}


def _check_size(image: Path, pixels: np.ndarray, other: Path, values: np.ndarray) -> None:
    """Raise DataError where a mask or view has another size than its image."""
    if pixels.shape[:2] != values.shape[:2]:
        found, expected = (f"{array.shape[1]}x{array.shape[0]}" for array in (values, pixels))
        raise DataError(f"{other}: {found}, but {image} is {expected}")
