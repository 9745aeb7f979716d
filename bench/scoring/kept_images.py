"""The few images of an evaluation that the report shows: which, and how they are written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import ParamsError, UserError
from bench.data.built_images import write_png
from bench.data.manifest import BuiltSet
from bench.params.schema import Evaluate
from bench.registry import nearest
from bench.scoring.metrics import values

if TYPE_CHECKING:
    from torch import Tensor

    from bench.runs import Trained
from bench.scoring.cases import Case, condition, to_depth

BY_HAND = "by hand"
ROUNDING = 1e-4
"""How far beyond [0, 1] the sum of float32 weights may come."""


def shown_images(built: BuiltSet, chosen: Evaluate) -> dict[str, str]:
    """Choose the images that a report shows, name to rule: the median and the worst input, those by hand, further ones.

    The rules look at the input alone, so every method shows the same images. An image that is named by hand and falls
    under a rule keeps it.

    Raises:
        ParamsError: a name that no test image of the set has.
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


def _write_images(folder: Path, rules: Mapping[str, str], case: Case, pred: np.ndarray) -> dict[str, Any]:
    name = case.row["name"]
    rule = rules[name]
    stem = rule.replace(" ", "-")
    if rule == BY_HAND:  # there may be several
        stem += f"-{1 + [other for other, its in rules.items() if its == BY_HAND].index(name)}"
    entry = {"rule": rule, "image": name, "condition": condition(case) | {"mask_ratio": None}}
    for kind, image in (("input", case.shown), ("restored", pred), ("target", case.truth)):
        entry[kind] = f"images/{stem}.{kind}.png"
        write_png(folder / entry[kind], values.quantise(image))
    return entry


def look_inside(trained: Trained, batch: Mapping[str, Tensor], folder: Path) -> list[dict[str, Any]]:
    """Keep what happens inside a network while it restores one image.

    Args:
        trained: a run whose method has `insides`.
        batch: the inputs of one image, (1, C, H, W) in [0, 1]; padded as they are when it is restored.
        folder: the evaluation's; images are written into its `images/insides`.

    Returns:
        in the method's order, images as {name, file} and weights as {name, values}.
    Raises:
        UserError: what the method gives is no image in [0, 1] and no row of weights.
    """
    import torch

    from bench.scoring.restore import prepared

    method, networks = trained.method, trained.networks
    assert method.insides is not None
    with torch.inference_mode():
        found = method.insides(networks, prepared(method, batch))
    listed: list[dict[str, Any]] = []
    files: set[str] = set()
    for name, value in found.items():
        array = value.float().cpu().numpy()
        where = f"{trained.record['run']}: inside {name!r}"
        if not np.isfinite(array).all():
            raise UserError(f"{where}: found a value that is NaN or infinite")
        if array.ndim == 1:
            listed.append({"name": name, "values": [float(weight) for weight in array]})
            continue
        if array.ndim != 4 or array.shape[0] != 1 or array.shape[1] not in (1, 3):
            raise UserError(f"{where}: found the shape {array.shape}, expected (1, 1 or 3, h, w), or (K,) for weights")
        if array.min() < -ROUNDING or array.max() > 1 + ROUNDING:
            raise UserError(f"{where}: found values from {array.min():g} to {array.max():g}, expected [0, 1]")
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "map"
        file = next(text for k in itertools.count(1) if (text := slug if k == 1 else f"{slug}-{k}") not in files)
        files.add(file)
        image = to_depth(array[0].transpose(1, 2, 0), np.dtype(np.uint8))
        listed.append({"name": name, "file": f"images/insides/{file}.png"})
        write_png(folder / listed[-1]["file"], image[..., 0] if image.shape[2] == 1 else image)
    return listed
