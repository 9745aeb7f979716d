"""What a search varies: ranges of numbers of a recipe, and the numbers that follow from them.

A number is named by its place in the recipe: "weights.generator.adversarial", "lr", "players.critic.lr".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.contracts import ParamsError
from bench.params.checks import checked
from bench.params.recipes import merged
from bench.params.schema import Choice, Recipe, Search, Train

WEIGHTS = "weights."


@dataclass(frozen=True)
class Space:
    """All numbers that a search sets.

    Args:
        ranges: low and high of each number that is varied.
        choices: of every number, those of `ranges` too.
    """

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, Choice]

    def values(self, varied: Mapping[str, float]) -> dict[str, float]:
        """Return every number, given those that are varied."""
        return {name: self._value(name, varied) for name in self.choices}

    def _value(self, name: str, varied: Mapping[str, float]) -> float:
        choice = self.choices[name]
        if choice.value is not None:
            return choice.value
        if choice.of is not None:
            return choice.times * self._value(WEIGHTS * name.startswith(WEIGHTS) + choice.of, varied)
        return varied[name]

    def nearest(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the varied numbers of `values`, each moved into its range."""
        return {name: min(max(values[name], low), high) for name, (low, high) in self.ranges.items()}


def space_of(search: Search) -> Space:
    """Return what a search of params.yaml varies."""
    choices = {f"{WEIGHTS}{name}": choice for name, choice in search.weights.items()} | search.train
    ranges = {n: (c.low, c.high) for n, c in choices.items() if c.low is not None and c.high is not None}
    return Space(ranges, choices)


def nested(values: Mapping[str, float]) -> dict[str, Any]:
    """Turn numbers by name into a part of a recipe: {"players.critic.lr": 1e-4} into {"players": {"critic": ...}}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        # The name of a weight may have a dot of its own.
        *path, last = name.split(".", 1) if name.startswith(WEIGHTS) else name.split(".")
        inner: dict[str, Any] = {last: value}
        for key in reversed(path):
            inner = {key: inner}
        result = merged(result, inner)
    return result


def laid_on(recipe: Recipe, values: Mapping[str, float], where: str) -> Recipe:
    """Return the recipe with numbers set. Raises ParamsError for one that a recipe does not have, or out of range."""
    train = merged(recipe.train.model_dump(mode="json"), nested(values))
    return recipe.model_copy(update={"train": checked(Train, train, where)})


def present(recipe: Recipe, name: str) -> float:
    """Return a number of the recipe as it is: of a weight that is not given that of its loss, else 1.

    Raises:
        ParamsError: it is not set there, so that a search has nothing to start from.
    """
    if name.startswith(WEIGHTS):
        weights, name = recipe.train.weights, name.removeprefix(WEIGHTS)
        return weights.get(name, weights.get(name.rpartition(".")[2], 1.0))
    value: Any = recipe.train.model_dump(mode="json")
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        raise ParamsError(f"params.yaml: run {recipe.name}: train.{name}: the recipe sets no such number; give it one")
    return float(value)
