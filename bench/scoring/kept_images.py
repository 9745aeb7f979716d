"""The few images of an evaluation that the report shows: which they are, and how they are written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import ParamsError, UserError
from bench.data.built_images import write_png
from bench.data.manifest import BuiltSet
from bench.params.schema import Evaluate
from bench.record import Inside, KeptImage
from bench.registry import nearest
from bench.scoring.cases import Case, condition, to_depth
from bench.scoring.metrics import values

if TYPE_CHECKING:
    from torch import Tensor

    from bench.runs import Trained

BY_HAND = "by hand"
"""The rule of an image that `evaluate.images` in `params.yaml` names."""
ROUNDING_TOLERANCE = 1e-4
"""Tolerance of the [0, 1] check of `look_inside`, for sums of float32 weights."""


def choose_images(built: BuiltSet, chosen: Evaluate) -> dict[str, str]:
    """Choose the test images that the report shows.

    The median and the worst input by PSNR come first, then those named by hand and further ones. The rules look at the
    input alone, so every method shows the same images. The median and the worst keep their rule when they are named by
    hand too.

    Args:
        built: the set.
        chosen: how many images to keep, and those named by hand.

    Returns:
        The rule by the image's name: "median", "worst", "further 1", ..., `BY_HAND`.
    Raises:
        ParamsError: the set has no test image of a name.
    """
    rows = built.split("test").sort_values(["input_psnr", "name"])
    by_hand = chosen.images.get(built.about["dataset"], [])
    known = set(rows["name"])
    for name in by_hand:
        if name not in known:
            raise ParamsError(
                f"params.yaml: evaluate: images: {built.about['dataset']}: no test image {name!r} in {built.folder}; "
                f"the nearest are: {nearest(name, sorted(known))}"
            )
    names = list(dict.fromkeys([rows["name"].iloc[len(rows) // 2], *rows["name"]]))[: chosen.keep_images]
    rules = {name: ("median", "worst")[i] if i < 2 else f"further {i - 1}" for i, name in enumerate(names)}
    return rules | {name: BY_HAND for name in by_hand if rules.get(name) not in ("median", "worst")}


def write_images(folder: Path, rules: Mapping[str, str], case: Case, pred: np.ndarray) -> KeptImage:
    """Write the input, the restored image and the truth of one case as 8-bit PNGs.

    Args:
        folder: the evaluation's.
        rules: see `choose_images`.
        case: one of these images.
        pred: the restored image, (H, W, 3), floats in [0, 1] or integers.
    """
    rule = rules[case.name]
    stem = rule.replace(" ", "-")
    if rule == BY_HAND:  # there may be several
        stem += f"-{1 + [name for name, other in rules.items() if other == BY_HAND].index(case.name)}"
    files = {}
    for kind, image in (("input", case.input_image), ("restored", pred), ("target", case.truth)):
        files[kind] = f"images/{stem}.{kind}.png"
        write_png(folder / files[kind], values.quantise(image))
    return KeptImage(rule, case.name, condition(case) | {"mask_ratio": None}, **files)


def look_inside(trained: Trained, batch: Mapping[str, Tensor], folder: Path) -> tuple[Inside, ...]:
    """Keep what happens inside a network while it restores one image.

    Args:
        trained: a run whose method has `insides`.
        batch: the inputs of one image, (1, C, H, W) in [0, 1]; padded as they are when it is restored.
        folder: the evaluation's; images are written to `images/insides` in it.

    Returns:
        Images and weights in the method's order.
    Raises:
        UserError: the method returns something that is neither an image in [0, 1] nor a vector of weights.
    """
    import torch

    from bench.scoring.restore import prepared

    method = trained.method
    if method.insides is None:
        return ()
    with torch.inference_mode():
        tensors = method.insides(trained.networks, prepared(method, batch))
    listed: list[Inside] = []
    for name, tensor in tensors.items():
        array = tensor.float().cpu().numpy()
        _check_inside(array, f"{trained.record.run}: inside {name!r}")
        if array.ndim == 1:
            listed.append(Inside(name, "", tuple(float(weight) for weight in array)))
            continue
        file = _new_file(name, {inside.file for inside in listed})
        image = to_depth(array[0].transpose(1, 2, 0), np.dtype(np.uint8))
        write_png(folder / file, image[..., 0] if image.shape[2] == 1 else image)
        listed.append(Inside(name, file, ()))
    return tuple(listed)


def _check_inside(array: np.ndarray, where: str) -> None:
    """Raise UserError unless the array is (1, 1 or 3, h, w) in [0, 1], or (K,)."""
    if not np.isfinite(array).all():
        raise UserError(f"{where}: found a value that is NaN or infinite")
    if array.ndim == 1:
        return
    if array.ndim != 4 or array.shape[0] != 1 or array.shape[1] not in (1, 3):
        raise UserError(f"{where}: found the shape {array.shape}, expected (1, 1 or 3, h, w), or (K,) for weights")
    if array.min() < -ROUNDING_TOLERANCE or array.max() > 1 + ROUNDING_TOLERANCE:
        raise UserError(f"{where}: found values from {array.min():g} to {array.max():g}, expected [0, 1]")


def _new_file(name: str, files: set[str]) -> str:
    """Return a file name for an image, made from its title and not among `files`."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "map"
    stems = (slug if number == 1 else f"{slug}-{number}" for number in itertools.count(1))
    return next(file for stem in stems if (file := f"images/insides/{stem}.png") not in files)
