"""The lengths of phases, learning rates and optimisers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from bench.contracts import Method, ParamsError
from bench.params.schema import Recipe, Schedule, Train

if TYPE_CHECKING:
    pass


def phase_steps(recipe: Recipe, method: Method, steps_per_epoch: int) -> dict[str, int]:
    """Return the steps of each phase. Raises ParamsError when the recipe does not say them."""
    train, names = recipe.train, list(method.phases)
    if train.phases:
        if not any(train.phases.values()):
            raise ParamsError(f"params.yaml: run {recipe.name}: train.phases: 0 steps in all, expected 1 or more")
        return {name: train.phases.get(name, 0) for name in names}
    if len(names) > 1:
        raise ParamsError(f"params.yaml: run {recipe.name}: train.phases: give the steps of {', '.join(names)}")
    if train.steps is None and train.epochs is None:
        raise ParamsError(f"params.yaml: run {recipe.name}: train: give steps or epochs")
    return {names[0]: train.steps if train.steps is not None else (train.epochs or 0) * steps_per_epoch}


def rate(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the factor of the learning rate at `step` of a phase of `steps`."""
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


def make_optimizer(train: Train, name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimiser of one player."""
    lr, betas = train.lr_of(name), train.betas_of(name)
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=betas[0], weight_decay=train.weight_decay)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr, betas=betas, weight_decay=train.weight_decay)
