"""Resolve what a run, a search or an evaluation is in the chosen profile.

A profile extends another: `tour` extends `sample`, which extends `paper`. The values of a run are merged in this order,
later wins: for each profile of that chain the defaults, then the method's own; last the run's own values. The run of a
search's winner is its base run with the values that the search found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.contracts import ParamsError
from bench.params.checks import _Loader, checked
from bench.params.schema import (
    PATH,
    PROFILES,
    WINNER,
    Chain,
    DatasetParams,
    Evaluate,
    Params,
    Recipe,
    Run,
    Search,
    SearchSettings,
    Train,
)
from bench.registry import nearest


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, mapping by mapping; any other value is replaced whole."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def all_runs(params: Params) -> dict[str, Run]:
    """Return every run that is trained or that needs no training, by name."""
    groups = [*params.runs.values(), params.baselines, params.tour.runs, params.tour.baselines]
    plain = {name: run for group in groups for name, run in group.items()}
    return plain | {name: _winner(params, search) for name, search in all_searches(params).items()}


def all_searches(params: Params) -> dict[str, Search]:
    """Return every search by the name of its winner's run."""
    return {name: search for group in params.searches.values() for name, search in group.items()}


def _winner(params: Params, search: Search) -> Run:
    """Return the run of a search's winner as far as it is known before the search."""
    base = params.runs[search.of.group][search.of.run]
    title = search.title or f"{base.title or base.method.replace('_', '-')} (searched)"
    return base.model_copy(update={"rows": search.rows or base.rows, "title": title})


def search_folder(params: Params, run: str = "") -> Path:
    """Return the folder of the search of a run in the chosen profile, or of all searches."""
    return Path(params.paths.out, params.profile, "search", run)


def all_chains(params: Params) -> dict[str, Chain]:
    """Return every chain by name."""
    return params.chains | params.tour.chains


def find_run(params: Params, name: str) -> Run:
    """Return a run by name. Raises ParamsError with the nearest names."""
    runs = all_runs(params)
    if name not in runs:
        raise ParamsError(f"{PATH}: no run {name!r}; the nearest are: {nearest(name, runs)}")
    return runs[name]


def recipe(params: Params, name: str) -> Recipe:
    """Resolve a run: its network arguments and training recipe in the chosen profile.

    Raises:
        ParamsError: an unknown run, a misspelt or out-of-range parameter; the run of a winner not yet found.
    """
    run = find_run(params, name)
    own = params.methods.get(run.method) or {}
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}
    paper: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        for layer in (params.defaults.get(profile), own.get(profile), getattr(run, profile)):
            if layer is not None:
                network, train = merged(network, layer.network), merged(train, layer.train)
        paper = dict(network) if profile == "paper" else paper
    paper, network, train = merged(paper, run.network), merged(network, run.network), merged(train, run.train)
    where = f"{PATH}: the recipe of run {name} in profile {params.profile}"
    if "searched" in train:
        raise ParamsError(f"{where}: searched: a search writes it beside what it finds; take it out")
    if name in (searches := all_searches(params)):
        train, where = merged(train, _found(params, searches[name].of.run)), f"{where}, with what its search found"
    return Recipe(
        name=name,
        method=run.method,
        dataset=run.dataset,
        task=run.task or "",
        row=run.rows[0] if run.rows else run.method.replace("_", "-"),
        also=run.rows[1:],
        title=run.title or run.method.replace("_", "-"),
        profile=params.profile,
        seed=params.seed if run.seed is None else run.seed,
        network=network,
        paper_network=paper,
        train=checked(Train, train, where),
    )


def recipes(params: Params) -> dict[str, Recipe]:
    """Resolve what the profile's pipeline trains but for searches' winners, by name. Raises ParamsError as `recipe`."""
    groups = [params.tour.runs] if params.profile == "tour" else params.runs.values()
    return {name: recipe(params, name) for group in groups for name in group}


def _found(params: Params, run: str) -> dict[str, Any]:
    """Read what the search of a run found, a part of a recipe. Raises ParamsError for none, or a damaged one."""
    path = search_folder(params, run) / WINNER
    again = f"run: python -m bench search {run}"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError:
        raise ParamsError(f"{path}: run {run} has not been searched yet in profile {params.profile}; {again}") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that there is not
        raise ParamsError(f"{path}: not YAML: {error}; {again}") from None
    train = values.get("train") if isinstance(values, dict) else None
    if not isinstance(train, dict) or "searched" not in train:
        raise ParamsError(f"{path}: not written by a search: `train` with `searched` is missing; {again}")
    return train


def dataset_options(params: Params, name: str, originals: bool) -> dict[str, Any]:
    """Return the options of a dataset's builder: of its originals, or of its stand-in in the chosen profile."""
    own = params.datasets.get(name, DatasetParams())
    if originals:
        return own.originals
    return merged(own.offline, own.tour) if params.profile == "tour" else own.offline


def find_search(params: Params, run: str) -> tuple[str, Search]:
    """Return the search of a run, and the name of its winner's run. Raises ParamsError with the nearest names."""
    by_run = {search.of.run: (name, search) for name, search in all_searches(params).items()}
    if run not in by_run:
        find_run(params, run)
        known = nearest(run, by_run) if by_run else "none"
        raise ParamsError(f"{PATH}: searches: no search of run {run!r}; the nearest are: {known}")
    return by_run[run]


def search_settings(params: Params, search: Search) -> SearchSettings:
    """Return how a run is searched in the chosen profile."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        for layer in (params.search.get(profile), search.settings.get(profile)):
            if layer is not None:
                values = merged(values, layer.model_dump(exclude_unset=True))
    return checked(SearchSettings, values, f"{PATH}: the search of run {search.of.run} in profile {params.profile}")


def evaluation(params: Params) -> Evaluate:
    """Return how runs are scored in the chosen profile; its `images` are its own: another has other photographs."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        own = params.evaluate.get(profile, Evaluate()).model_dump(exclude_unset=True)
        values = merged(values, own) | {"images": own.get("images", {})}
    return Evaluate.model_validate(values)


def weights_folder(params: Params) -> Path | None:
    """Return the folder that the user names for other people's network weights, or None."""
    return Path(params.paths.weights) if params.paths.weights else None
