"""What a paper prints of its training, computed from the recipe of a method's run in the profile `paper`."""

from __future__ import annotations

from pathlib import Path

from bench import registry
from bench.params import loading, resolving
from bench.params.recipe_schema import Recipe
from bench.training.optimizers import rate_factor
from bench.training.phases import phase_steps

PAPER = loading.load(Path(__file__).parents[2] / "params.yaml", "paper")


def _steps_per_epoch(recipe: Recipe) -> int:
    return -(-registry.dataset(recipe.dataset).counts["train"] // recipe.train.batch_size)


def learning_rate(run: str, phase: str, player: str, unit: str, when: float) -> float:
    """Return the learning rate of a player at a time of a phase, by the functions of the training loop.

    Args:
        run: the run.
        phase: one of the method's phases.
        player: one of the phase's players.
        unit: of `when`: "epoch" or "step".
        when: time since the beginning of the phase.
    """
    recipe = resolving.recipe(PAPER, run)
    method, per_epoch = registry.method(recipe.method), _steps_per_epoch(recipe)
    steps = phase_steps(recipe, method, per_epoch)[phase]
    assert player in method.phases[phase].players
    step = round(when * per_epoch) if unit == "epoch" else int(when)
    assert step <= steps, f"{when} {unit}s are more than the phase has"
    return recipe.train.lr_of(player) * rate_factor(recipe.train.schedule, step, steps, per_epoch)


def epochs(run: str, phase: str) -> float:
    """Return the length of a phase in epochs of the official images."""
    recipe = resolving.recipe(PAPER, run)
    per_epoch = _steps_per_epoch(recipe)
    return phase_steps(recipe, registry.method(recipe.method), per_epoch)[phase] / per_epoch
