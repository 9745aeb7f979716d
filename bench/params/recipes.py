"""The recipes of methods: `methods/<name>.yaml`, next to the method's file, and how parts of recipes are merged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench import registry, yaml_input
from bench.contracts import ParamsError
from bench.params.checks import checked
from bench.params.recipe_schema import MethodRecipe, Part, Profiles, Variant
from bench.params.schema import Params, Run
from bench.registry import nearest


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, mapping by mapping; any other value is replaced whole.

    >>> merged({"train": {"lr": 0.1, "steps": 5}}, {"train": {"lr": 0.2}})
    {'train': {'lr': 0.2, 'steps': 5}}
    """
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def method_recipe(name: str) -> MethodRecipe:
    """Read the recipe of a method; an empty one where the method has no file of its own.

    Raises:
        ParamsError: the file is not YAML, or a key is unknown, of the wrong type or out of range.
    """
    path = registry.method_file(name).with_suffix(".yaml")
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else MethodRecipe.model_validate({})


@cache
def _read(path: Path, changed: int) -> MethodRecipe:
    """Read a recipe once per change of its file: a method may have tens of runs."""
    return checked(MethodRecipe, yaml_input.read(path) or {}, shown(path))


def shown(path: Path) -> str:
    """Return a path as a message shows it: relative to the working folder where it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def recipes_of(params: Params, method: str) -> list[MethodRecipe]:
    """Return a method's recipes in the order in which they are laid on each other: its file's, then the user's."""
    recipes = [method_recipe(method)]
    return [*recipes, params.recipes[method]] if method in params.recipes else recipes


def find_variant(recipes: list[MethodRecipe], run: Run, place: str) -> list[Variant]:
    """Return the parts of a run's variant, none where it names none.

    Args:
        recipes: of the run's method.
        place: of the run in `params.yaml`, for the message.

    Raises:
        ParamsError: the method has no such variant.
    """
    if run.variant is None:
        return []
    parts = [recipe.variants[run.variant] for recipe in recipes if run.variant in recipe.variants]
    if not parts:
        known = {name for recipe in recipes for name in recipe.variants}
        near = nearest(run.variant, known) if known else "none, its recipe has no variants"
        raise ParamsError(
            f"{place}: variant {run.variant!r}: {run.method} has none of this name; the nearest are: {near}"
        )
    return parts


def parts_of(recipes: list[MethodRecipe], run: Run, variants: list[Variant]) -> tuple[list[Profiles], list[Part]]:
    """Return the parts that a run's values are merged of, in order; later ones win.

    Returns:
        The parts that have values by profile, and those that have values of every profile too.
    """
    datasets = [recipe.datasets[run.dataset] for recipe in recipes if run.dataset in recipe.datasets]
    last: list[Part] = [*datasets, *variants, run]
    return [*recipes, *last], last


def paper_network(params: Params, method: str) -> dict[str, Any]:
    """Return the network arguments of a method in the profile `paper`, whatever the dataset and the variant."""
    network: dict[str, Any] = {}
    for recipe in recipes_of(params, method):
        network = merged(network, recipe.paper.network)
    return network


def method_rows(recipes: list[MethodRecipe], method: str) -> tuple[str, ...]:
    """Return the rows of a whole method in the published tables: its recipe's, or its name."""
    return next((recipe.rows for recipe in reversed(recipes) if recipe.rows), (method.replace("_", "-"),))
