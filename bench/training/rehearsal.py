"""The check of a recipe before the first update: every phase is run on the first batch."""

from __future__ import annotations

import torch

from bench.contracts import Outputs, ParamsError, Player
from bench.params.checks import named
from bench.training.phases import absent_phases
from bench.training.placement import share_of_batch, to_device
from bench.training.state import Setup, TrainingState
from bench.training.weighting import check_weights


def check_recipe(setup: Setup, state: TrainingState) -> None:
    """Check what only a batch shows: the names of the loss weights, the augmentations, the updates of players.

    Raises:
        ParamsError: `train.weights` names an unknown loss, or the method or an augmentation rejects the batch.
    """
    absent = absent_phases(setup.method, state.trained)
    check_weights(setup.method, setup.recipe.train.weights, rehearse(setup, state), setup.recipe.name, absent)


def rehearse(setup: Setup, state: TrainingState) -> set[str]:
    """Run every phase of a run on the first batch, without an update.

    Returns:
        the losses that the method computes, as "player.loss".

    Raises:
        ParamsError: an augmentation rejects the batch; a player whose networks made the outputs has several updates.
    """
    train, accelerator, networks = setup.recipe.train, setup.accelerator, state.networks
    with named(f"params.yaml: run {setup.recipe.name}: train.augment: "):
        crops = setup.crops.batch(0, train.batch_size, share_of_batch(accelerator, train.batch_size))
    batch = to_device(crops, 0.0, accelerator.device)
    # Batch norm and spectral norm change their buffers at every call; a rehearsal must leave no trace.
    before = {name: buffer.clone() for name, buffer in networks.named_buffers()}
    absent = absent_phases(setup.method, state.trained)
    losses: set[str] = set()
    for phase in (phase for name, phase in setup.method.phases.items() if name not in absent):
        with accelerator.autocast():
            outputs = phase.forward(networks, batch)
            for name, player in phase.players.items():
                losses |= {f"{name}.{loss}" for loss in player.losses(networks, batch, outputs)}
                _check_updates(setup, state, name, player, outputs)
    with torch.no_grad():
        for name, buffer in networks.named_buffers():
            buffer.copy_(before[name])
    return losses


def _check_updates(setup: Setup, state: TrainingState, name: str, player: Player, outputs: Outputs) -> None:
    """Refuse several updates per batch of a player that made the outputs: they are computed once per step."""
    updates = setup.recipe.train.updates_of(name, player.updates)
    if updates > 1 and _trains_outputs(state, player, outputs):
        raise ParamsError(
            f"params.yaml: run {setup.recipe.name}: train.players.{name}.updates: found {updates}, expected 1: this "
            "player's networks restored the batch, and after its first update the restored batch is out of date"
        )


def _trains_outputs(state: TrainingState, player: Player, outputs: Outputs) -> bool:
    """Return whether the outputs depend on parameters that a player trains."""
    sums = [value.float().sum() for value in outputs.values() if value.requires_grad]
    if not sums:
        return False
    grads = torch.autograd.grad(
        torch.stack(sums).sum(), state.parameters_of(player), retain_graph=True, allow_unused=True
    )
    return any(grad is not None for grad in grads)
