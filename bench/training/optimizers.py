"""The optimiser of each player and its learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from bench.params.recipe_schema import Schedule, Train

if TYPE_CHECKING:
    from accelerate.optimizer import AcceleratedOptimizer


def make_optimizer(train: Train, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimiser of one player, with its learning rate before the schedule."""
    lr, betas = train.lr_of(player), train.betas_of(player)
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=betas[0], weight_decay=train.weight_decay)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr, betas=betas, weight_decay=train.weight_decay)


def set_learning_rate(optimizer: AcceleratedOptimizer, lr: float) -> None:
    """Set the learning rate of an optimiser's next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def rate_factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return what the learning rate is multiplied by at a step.

    Args:
        schedule: of the recipe.
        step: within the phase, from 0.
        steps: of the whole phase.
        steps_per_epoch: for lengths that are given in epochs.

    >>> rate_factor(Schedule(kind="cosine", warmup_steps=4), step=1, steps=100, steps_per_epoch=10)
    0.5
    >>> rate_factor(Schedule(kind="step", every_epochs=2, factor=0.5), step=40, steps=100, steps_per_epoch=10)
    0.25
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.kind == "step":
        every = schedule.every_steps or (schedule.every_epochs or 1) * steps_per_epoch
        return schedule.factor ** (step // every)
    if schedule.kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    if schedule.kind == "linear":
        start = schedule.start * steps
        return 1.0 if step < start else max(0.0, (steps - step) / max(steps - start, 1))
    return 1.0
