"""The lengths of a run's phases, and the phases that a run does not have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bench.contracts import Method, ParamsError
from bench.params.recipe_schema import Recipe


def phase_steps(recipe: Recipe, method: Method, steps_per_epoch: int) -> dict[str, int]:
    """Return the number of steps of each phase.

    Raises:
        ParamsError: the recipe does not give them, or gives no steps at all.
    """
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


def absent_phases(method: Method, trained: Collection[str]) -> dict[str, str]:
    """Return the phases that a run does not have: those with a player none of whose networks the run has.

    An ablation without a stage of the method has no phase of that stage. A player that has some of its networks
    trains these.

    Args:
        method: whose phases they are.
        trained: names of the run's networks.

    Returns:
        by phase, a network that it lacks.
    """
    absent: dict[str, str] = {}
    for name, phase in method.phases.items():
        for player in phase.players.values():
            if not set(player.networks) & set(trained):
                absent.setdefault(name, player.networks[0])
    return absent


def check_absent_phases(recipe: Recipe, absent: Mapping[str, str], steps: Mapping[str, int]) -> None:
    """Check that the phases that a run does not have are given no steps.

    Args:
        recipe: of the run.
        absent: of `absent_phases`.
        steps: of each phase.

    Raises:
        ParamsError: one of them has steps.
    """
    for phase, network in absent.items():
        if steps[phase]:
            raise ParamsError(
                f"params.yaml: run {recipe.name}: train.phases.{phase}: found {steps[phase]} steps, expected 0: the "
                f"phase trains the network {network}, which a run of these arguments does not have"
            )
