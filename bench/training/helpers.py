"""The frozen networks that some losses need (VGG): built where their weights are found, reported where not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import Helper, Method
from bench.params.recipe_schema import Recipe
from bench.record import MissingLoss, RandomHelper

if TYPE_CHECKING:
    from torch import nn


def build_helpers(
    method: Method, recipe: Recipe, folder: Path | None
) -> tuple[dict[str, nn.Module], tuple[MissingLoss, ...]]:
    """Build the helpers of the losses that have a weight.

    Args:
        method: its helpers.
        recipe: its weights of losses; with `random_helpers` the helpers' weights are drawn from its seed.
        folder: where their files are looked for first.

    Returns:
        the networks by name, and the losses that are left out because a file is missing.
    """
    import torch

    from bench import weights

    networks: dict[str, nn.Module] = {}
    missing: list[MissingLoss] = []
    for name, helper in method.helpers.items():
        losses = _weighted_losses(recipe, helper)
        if not losses:
            continue
        if recipe.train.random_helpers:
            torch.manual_seed(recipe.seed)
            networks[name] = helper.build(None)
            continue
        path = weights.find(helper.weights, folder)
        if path is None:
            missing += [MissingLoss(loss, weights.explain(helper.weights)) for loss in losses]
        else:
            networks[name] = helper.build(path)
    return networks, tuple(missing)


def random_helpers(method: Method, recipe: Recipe) -> tuple[RandomHelper, ...]:
    """Return the helpers that have random weights in this run, for its record."""
    if not recipe.train.random_helpers:
        return ()
    losses = {name: _weighted_losses(recipe, helper) for name, helper in method.helpers.items()}
    return tuple(RandomHelper(name, tuple(names)) for name, names in losses.items() if names)


def _weighted_losses(recipe: Recipe, helper: Helper) -> list[str]:
    """Return the losses of a helper that have a weight above 0 with any player."""
    return [loss for loss in helper.losses if _largest_weight(recipe, loss) > 0]


def _largest_weight(recipe: Recipe, loss: str) -> float:
    return max((w for name, w in recipe.train.weights.items() if name.split(".")[-1] == loss), default=1.0)
