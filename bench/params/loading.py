"""Read `params.yaml` and check every value, before any work starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import yaml_input
from bench.contracts import ParamsError
from bench.contracts.errors import brief
from bench.names import first_clash
from bench.params.checks import checked
from bench.params.resolving import all_chains, all_searches
from bench.params.schema import Choice, Params, Search
from bench.params.values import OWN_METHODS, PATH, PROFILES
from bench.registry import names, nearest, use_folder


def load(path: Path = PATH, profile: str | None = None, methods: Path | None = None) -> Params:
    """Read and check the file.

    Args:
        path: the file.
        profile: the profile; default: the environment variable SHARPBENCH_PROFILE's, then the file's.
        methods: a folder of further methods, instead of the file's.

    Raises:
        ParamsError: the file is missing or not YAML, or a key is unknown, of the wrong type or out of range.
        UserError: there is no such folder of methods.
    """
    try:
        values = yaml_input.read(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run the command in the project's folder or give --params") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: empty, or not a mapping of keys to values")
    chosen = profile or os.environ.get("SHARPBENCH_PROFILE") or values.get("profile", "sample")
    if not isinstance(chosen, str) or chosen not in PROFILES:
        raise ParamsError(f"{path}: profile: found {brief(chosen)}, the nearest are: {nearest(str(chosen), PROFILES)}")
    params = checked(Params, values | {"profile": chosen}, str(path))
    if methods is not None:
        use_folder(methods)
    elif params.methods != OWN_METHODS:
        use_folder(Path(params.methods))
    _check_entries(params, path)
    _check_run_names(params, path)
    _check_members(params, path)
    for group, searches in params.searches.items():
        for name, search in searches.items():
            _check_search(params, search, f"{path}: searches.{group}.{name}")
    return params


def _check_entries(params: Params, path: Path) -> None:
    """Raise ParamsError for a method or dataset that does not exist: its values would be ignored silently."""
    methods, datasets = {name.replace("-", "_") for name in names("methods")}, names("datasets")
    places: list[tuple[str, str, str, Iterable[str]]] = [
        *((f"recipes.{name}", "method", name, methods) for name in params.recipes),
        *((f"datasets.{name}", "dataset", name, datasets) for name in params.datasets),
        *(
            (f"evaluate.{profile}.images.{name}", "dataset", name, datasets)
            for profile, how in params.evaluate.items()
            for name in how.images
        ),
        *(
            (f"auxiliary.{name}.dataset", "dataset", stage.dataset, datasets)
            for name, stage in params.auxiliary.items()
        ),
    ]
    for place, kind, name, known in places:
        if name not in known:
            raise ParamsError(f"{path}: {place}: no {kind} {name!r}; the nearest are: {nearest(name, known)}")


def _check_run_names(params: Params, path: Path) -> None:
    """Raise ParamsError where two runs have one name, or names that differ in upper and lower case alone."""
    groups: list[Mapping[str, Any]] = [
        *params.runs.values(),
        params.baselines,
        params.transfers,
        params.tour.runs,
        params.tour.baselines,
        *params.searches.values(),
        all_chains(params),
    ]
    if equal := first_clash(name for group in groups for name in group):
        first, second = equal
        written = f"the name {first!r}" if first == second else f"the names {first!r} and {second!r}"
        raise ParamsError(f"{path}: two runs have {written}; the name of a run is that of its folder")
    if equal := first_clash(params.auxiliary):
        raise ParamsError(f"{path}: auxiliary: two stages have the names {equal[0]!r} and {equal[1]!r}: one file")


def _check_members(params: Params, path: Path) -> None:
    """Raise ParamsError for a transfer or a chain of a run that does not exist."""
    groups = [*params.runs.values(), params.baselines, params.tour.runs, params.tour.baselines]
    known = {name for group in groups for name in group} | set(all_searches(params))
    members = [(f"transfers.{name}.run", transfer.run) for name, transfer in params.transfers.items()]
    for section, chains in (("", params.chains), ("tour.", params.tour.chains)):
        for name, chain in chains.items():
            members += [
                (f"{section}chains.{name}.first", chain.first),
                (f"{section}chains.{name}.second", chain.second),
            ]
    for place, run in members:
        if run not in known:
            near = nearest(run, known) or "none"
            raise ParamsError(f"{path}: {place}: no run {run!r}; the nearest are: {near}")


def _check_search(params: Params, search: Search, where: str) -> None:
    """Raise ParamsError unless the base run exists and agrees with the search, and every `of` leads to a number."""
    base, groups = search.of, params.runs
    if base.group not in groups:
        near = nearest(base.group, groups)
        raise ParamsError(f"{where}.of: no group {base.group!r} of runs; the nearest are: {near}")
    if base.run not in groups[base.group]:
        near = nearest(base.run, groups[base.group])
        raise ParamsError(f"{where}.of: no run {base.run!r} in group {base.group!r}; the nearest are: {near}")
    run = groups[base.group][base.run]
    for key in ("method", "dataset"):
        value, expected = getattr(search, key), getattr(run, key)
        if value != expected:
            raise ParamsError(f"{where}.{key}: found {value!r}, expected {expected!r} as in run {base.run}")
    if sum(other.of.run == base.run for other in all_searches(params).values()) > 1:
        raise ParamsError(f"{where}.of: a second search of run {base.run}; one run has one search")
    _check_ties(search.weights, f"{where}.weights")
    _check_ties(search.train, f"{where}.train")
    if not any(choice.low for choice in (*search.weights.values(), *search.train.values())):
        raise ParamsError(f"{where}: nothing is searched; give at least one weight a range, {{low: 0.1, high: 10.0}}")


def _check_ties(choices: Mapping[str, Choice], where: str) -> None:
    """Raise ParamsError for an `of` that leads to no number, or back to itself."""
    for name in choices:
        chain = [name]
        while (of := choices[chain[-1]].of) is not None:
            if of not in choices:
                near = nearest(of, choices)
                raise ParamsError(f"{where}.{chain[-1]}.of: no number {of!r} here; the nearest are: {near}")
            if of in chain:
                raise ParamsError(f"{where}.{name}.of: goes in a circle: {' of '.join([*chain, of])}")
            chain.append(of)
