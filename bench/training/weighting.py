"""The named losses of a player and their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from bench.contracts import Method, ParamsError
from bench.registry import nearest


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float], player: str) -> Tensor:
    """Return the sum of a player's losses, each times its weight: that of `player.loss`, else of `loss`, else 1.

    >>> weighted_sum({"l1": torch.tensor(2.0), "style": torch.tensor(3.0)}, {"l1": 10.0}, "generator")
    tensor(23.)
    """
    terms = [weights.get(f"{player}.{name}", weights.get(name, 1.0)) * value for name, value in losses.items()]
    return torch.stack(terms).sum()


def without_watched(losses: Mapping[str, Tensor], watched: Collection[str]) -> dict[str, Tensor]:
    """Return the losses that a player minimises: those that are logged for their curves alone are left out."""
    return {name: value for name, value in losses.items() if name not in watched}


def check_weights(
    method: Method,
    weights: Collection[str],
    losses: Collection[str],
    run: str,
    absent: Collection[str] = (),
    where: str = "train.weights",
) -> None:
    """Check the names of loss weights: a misspelt name would have no effect, and its loss would have the weight 1.

    Args:
        method: whose losses they are.
        weights: names of the weights, `loss` or `player.loss`.
        losses: the losses that the method computed, as `player.loss`.
        run: the run's name, for the message.
        absent: phases that this run does not have; a weight that only they may know is accepted.
        where: the place of the weights in params.yaml, for the message.

    Raises:
        ParamsError: a name is not that of a loss, or that of a loss which is logged for its curve alone.
    """
    of_helpers = {loss for helper in method.helpers.values() for loss in helper.losses}
    known = {*losses, *(loss.split(".", 1)[1] for loss in losses), *of_helpers}
    absent_players = {player for phase in absent for player in method.phases[phase].players}
    for weight in weights:
        player, _, loss = weight.rpartition(".")
        if loss in method.watched:
            raise ParamsError(
                f"params.yaml: run {run}: {where}.{weight}: this loss is only logged, for its curve; it is never "
                "minimised and takes no weight"
            )
        if absent_players and (not player or player in absent_players):
            continue
        if weight not in known:
            raise ParamsError(
                f"params.yaml: run {run}: {where}.{weight}: no loss of this name; "
                f"the nearest are: {nearest(weight, known)}"
            )
