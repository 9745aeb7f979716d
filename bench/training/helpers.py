"""The frozen networks (VGG) that some losses need: built where their weights are, listed where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contracts import Helper, Method
from bench.params.schema import Recipe


def helpers(method: Method, recipe: Recipe, folder: Path | None) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Build the frozen networks that weighted losses look through; list the losses left out for want of a file.

    Where the recipe asks for `random_helpers` all of them are drawn from the run's seed, files or not.
    """
    import torch

    from bench import weights

    found, missing = {}, []
    for name, helper in method.helpers.items():
        wanted = _wanted(recipe, helper)
        if not wanted:
            continue
        if recipe.train.random_helpers:
            torch.manual_seed(recipe.seed)
            found[name] = helper.build(None)
            continue
        path = weights.find(helper.weights, folder)
        if path is None:
            missing += [{"loss": loss, "reason": weights.explain(helper.weights)} for loss in wanted]
        else:
            found[name] = helper.build(path)
    return found, missing


def random_helpers(method: Method, recipe: Recipe) -> list[dict[str, Any]]:
    """List the frozen networks that have random weights in this run, with their losses, for its record."""
    if not recipe.train.random_helpers:
        return []
    wanted = {name: _wanted(recipe, helper) for name, helper in method.helpers.items()}
    return [{"helper": name, "losses": losses} for name, losses in wanted.items() if losses]


def _wanted(recipe: Recipe, helper: Helper) -> list[str]:
    """Return the losses of a helper that have a weight."""
    return [loss for loss in helper.losses if _weight(recipe, loss) > 0]


def _weight(recipe: Recipe, loss: str) -> float:
    """Return the largest weight that a loss has with any player."""
    return max((w for name, w in recipe.train.weights.items() if name.split(".")[-1] == loss), default=1.0)
