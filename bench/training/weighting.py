"""Named losses and their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.contracts import Method, ParamsError
from bench.params.schema import Recipe
from bench.registry import nearest

if TYPE_CHECKING:
    pass


def left_out(recipe: Recipe, method: Method, steps: Mapping[str, int], own: Collection[str]) -> list[str]:
    """Return the phases of 0 steps with a player none of whose networks this run has: an ablation without that stage.

    A player that has some of its networks moves those.

    Args:
        steps: of each phase.
        own: the networks of this run.

    Raises:
        ParamsError: such a phase has steps.
    """
    found = []
    for name, phase in method.phases.items():
        lacking = [player.networks[0] for player in phase.players.values() if not set(player.networks) & set(own)]
        if lacking and steps[name]:
            raise ParamsError(
                f"params.yaml: run {recipe.name}: train.phases.{name}: found {steps[name]} steps, expected 0: the "
                f"phase moves the network {lacking[0]}, which a run of these arguments does not have"
            )
        found += [name] if lacking else []
    return found


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float], player: str) -> Tensor:
    """Return the sum of the losses, each times its weight: `player.name`, else `name`, else 1."""
    terms = [weights.get(f"{player}.{name}", weights.get(name, 1.0)) * value for name, value in losses.items()]
    return torch.stack(terms).sum()


def lowered(losses: Mapping[str, Tensor], watched: Collection[str]) -> dict[str, Tensor]:
    """Return the losses that a player lowers: all but the watched ones."""
    return {name: value for name, value in losses.items() if name not in watched}


def check_weights(
    method: Method,
    weights: Collection[str],
    seen: set[str],
    name: str,
    left_out: Collection[str] = (),
    where: str = "train.weights",
) -> None:
    """Raise ParamsError when a weight's name is no loss of the method: a misspelt one would be taken as 1 in silence.

    Args:
        seen: the losses that the method gave, as "player.loss".
        left_out: phases that this run does not have: what only their players know passes.
        where: the place of the weights in params.yaml, for the message.
    """
    helped = {loss for helper in method.helpers.values() for loss in helper.losses}
    known = seen | {loss.split(".", 1)[1] for loss in seen} | helped
    absent = {player for phase in left_out for player in method.phases[phase].players}
    for weight in weights:
        player, _, loss = weight.rpartition(".")
        if loss in method.watched:
            raise ParamsError(
                f"params.yaml: run {name}: {where}.{weight}: this loss is watched alone: it is logged and never "
                "lowered, so it takes no weight"
            )
        if absent and (not player or player in absent):
            continue
        if weight not in known:
            raise ParamsError(
                f"params.yaml: run {name}: {where}.{weight}: no loss of this name; "
                f"the nearest are: {nearest(weight, known)}"
            )
