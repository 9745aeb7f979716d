"""Restore a person's own photographs with a run: any size, JPEG, PNG or TIFF.

No file is overwritten that is read, or that lies beside one that is read. In any other folder a file of a result's name
counts as an earlier result, and the new one takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import runs
from bench.contracts import DataError, Method, UserError
from bench.data.built_images import as_float, write_png
from bench.data.user_images import read_mask, read_rgb
from bench.files import need_writable
from bench.params.resolving import all_chains, all_runs
from bench.params.schema import Params
from bench.scoring.metrics.values import quantise
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import nn


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


def restore_files(params: Params, options: Request) -> Iterator[Path]:
    """Restore each image of the command line into `options.out`, as an 8-bit PNG of its name.

    Raises:
        UserError: a run that is not trained, a mask or right view too few or too many, an `--out` that would overwrite
            an input or its neighbour.
        DataError: an image that cannot be read, or a mask or view of another size; found before the first is restored.
    """
    from tqdm import tqdm

    outputs = _plan(options)
    pairs: Sequence[Path | None] = options.right or [None] * len(options.images)
    for path in _inputs(options):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    need_writable(options.out)
    from bench.training.device import full_float32, scoring_device, set_threads, tune_allocator

    tune_allocator()
    set_threads(0)  # all cores: `threads` of params.yaml is for trainings, of which several run at once
    import torch

    from bench.scoring.restore import TILE, WHOLE, restore

    device = scoring_device()
    task, method, networks = _load(params, options.run, device)
    names = find_task(task).inputs
    if ("mask" in names) != (options.mask is not None):
        raise UserError(
            f"{options.run} does {task}: " + ("give --mask FILE" if "mask" in names else "it takes no --mask")
        )
    if ("right" in names) != bool(options.right):
        raise UserError(
            f"{options.run} does {task}: " + ("give --right" if "right" in names else "it takes no --right")
        )
    for image, right in zip(options.images, pairs, strict=True):
        _arrays(image, right, options.mask)
    for image, right, out in zip(tqdm(options.images, disable=None, unit="image"), pairs, outputs, strict=True):
        arrays = _arrays(image, right, options.mask)
        batch = {n: torch.from_numpy(a).permute(2, 0, 1)[None].to(device) for n, a in arrays.items()}
        height, width = next(iter(arrays.values())).shape[:2]
        if height * width > WHOLE and method.tiling and method.networks is not None:
            print(f"{image}: {width}x{height} is restored in tiles. {method.tiling}")
        whole = 0 if options.tile else WHOLE
        with full_float32(), torch.autocast(device, torch.bfloat16, enabled=options.precision == "bfloat16"):
            pred = restore(method, networks, batch, whole, options.tile or TILE)
        write_png(out, quantise(pred[0].permute(1, 2, 0).cpu().numpy()))
        yield out


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


def _inputs(options: Request) -> list[Path]:
    """Return every file that the command reads."""
    return [*options.images, *options.right, *([options.mask] if options.mask else [])]


def _plan(options: Request) -> list[Path]:
    """Return the file each image will be restored to; no two are one, and none is an input or lies beside it."""
    if options.tile and options.tile < 64:
        raise UserError(f"--tile: found {options.tile}, expected 64 pixels or more")
    if options.right and len(options.right) != len(options.images):
        raise UserError(f"--right: found {len(options.right)} for {len(options.images)} images; give it once per IMAGE")
    outputs = [options.out / f"{path.stem}.png" for path in options.images]
    if len(set(outputs)) != len(outputs):
        raise UserError(
            "two of the images have the same name and would be written to one file: restore them one by one"
        )
    # Of a link both folders: that where it stands, and that of its file.
    folders = {place for path in _inputs(options) for place in (path.parent.resolve(), path.resolve().parent)}
    for path in outputs:
        if path.exists() and not folders.isdisjoint((path.parent.resolve(), path.resolve().parent)):
            raise UserError(f"{path}: lies among the images; choose another --out so that nothing is lost")
    return outputs


def _arrays(image: Path, right: Path | None, mask: Path | None) -> dict[str, np.ndarray]:
    pixels = as_float(read_rgb(image, bits=None))
    if right is not None:
        other = as_float(read_rgb(right, bits=None))
        _same(image, pixels, right, other)
        return {"left": pixels, "right": other}
    if mask is not None:
        hole = as_float(read_mask(mask))
        _same(image, pixels, mask, hole)
        return {"x": pixels * (1 - hole), "mask": hole}
    return {"x": pixels}


def _same(one: Path, a: np.ndarray, other: Path, b: np.ndarray) -> None:
    if a.shape[:2] != b.shape[:2]:
        raise DataError(f"{other}: {b.shape[1]}x{b.shape[0]}, but {one} is {a.shape[1]}x{a.shape[0]}")
