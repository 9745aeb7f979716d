"""What a search varies: ranges of numbers of a recipe, and the numbers that follow from them.

A number is named by its place in the recipe: "weights.generator.adversarial", "lr", "players.critic.lr".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.contracts import ParamsError
from bench.params.checks import checked
from bench.params.recipe_schema import Recipe, Train
from bench.params.resolving import merged
from bench.params.schema import Choice, Search

WEIGHTS = "weights."
"""How the name of a loss weight begins."""


@dataclass(frozen=True)
class Space:
    """All numbers that a search sets."""

    ranges: Mapping[str, tuple[float, float]]
    """Lowest and highest value of each number that is varied."""
    choices: Mapping[str, Choice]
    """What is done with every number, those of `ranges` among them."""

    def values(self, varied: Mapping[str, float]) -> dict[str, float]:
        """Return every number, given those that are varied."""
        return {name: self._value(name, varied) for name in self.choices}

    def _value(self, name: str, varied: Mapping[str, float]) -> float:
        choice = self.choices[name]
        if choice.value is not None:
            return choice.value
        base = self.base_of(name)
        return varied[name] if base is None else choice.times * self._value(base, varied)

    def base_of(self, name: str) -> str | None:
        """Return the number that this one is a multiple of, None where it is not tied to another."""
        base = self.choices[name].of
        return None if base is None else f"{WEIGHTS * name.startswith(WEIGHTS)}{base}"

    def clipped(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the varied numbers of `values`, each clipped to its range."""
        return {name: min(max(values[name], low), high) for name, (low, high) in self.ranges.items()}


def space_of(search: Search) -> Space:
    """Return what a search of params.yaml varies."""
    choices = {f"{WEIGHTS}{name}": choice for name, choice in search.weights.items()} | search.train
    ranges = {n: (c.low, c.high) for n, c in choices.items() if c.low is not None and c.high is not None}
    return Space(ranges, choices)


def as_recipe(values: Mapping[str, float]) -> dict[str, Any]:
    """Return numbers by name as a part of a recipe.

    >>> as_recipe({"weights.generator.adversarial": 0.1, "players.critic.lr": 0.5, "lr": 0.2})
    {'weights': {'generator.adversarial': 0.1}, 'players': {'critic': {'lr': 0.5}}, 'lr': 0.2}
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        # The name of a weight may contain a dot.
        *path, last = name.split(".", 1) if name.startswith(WEIGHTS) else name.split(".")
        inner: dict[str, Any] = {last: value}
        for key in reversed(path):
            inner = {key: inner}
        result = merged(result, inner)
    return result


def with_numbers(recipe: Recipe, values: Mapping[str, float], where: str) -> Recipe:
    """Return a recipe with some of its numbers set.

    Args:
        recipe: of the run.
        values: numbers by name.
        where: the start of an error message.

    Raises:
        ParamsError: a recipe has no number of this name, or it is out of range.
    """
    train = merged(recipe.train.model_dump(mode="json"), as_recipe(values))
    return recipe.model_copy(update={"train": checked(Train, train, where)})


def number_of(recipe: Recipe, name: str) -> float:
    """Return a number of a recipe; a weight that is not given is that of its loss, else 1.

    Raises:
        ParamsError: the recipe does not set it, so that a search has no number to start from.
    """
    if name.startswith(WEIGHTS):
        weights, name = recipe.train.weights, name.removeprefix(WEIGHTS)
        return weights.get(name, weights.get(name.rpartition(".")[2], 1.0))
    value: Any = recipe.train.model_dump(mode="json")
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        raise ParamsError(f"params.yaml: run {recipe.name}: train.{name}: the recipe does not set this number")
    return float(value)
