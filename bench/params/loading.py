"""Read `params.yaml` and check every value, before any work starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.contracts import ParamsError
from bench.params.checks import _Loader, checked
from bench.params.resolving import all_chains, all_searches
from bench.params.schema import PATH, PROFILES, Params, Search
from bench.registry import names, nearest


def load(path: Path = PATH, profile: str | None = None) -> Params:
    """Read and check the file; the profile is the argument's, SHARPBENCH_PROFILE's or the file's, in this order.

    Raises:
        ParamsError: the file is missing or not YAML, or a key is unknown, of the wrong type or out of range.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file; run the command in the project's folder or name it by --params"
        ) from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that there is not
        raise ParamsError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: empty, or not a mapping of keys to values")
    chosen = profile or os.environ.get("SHARPBENCH_PROFILE") or values.get("profile", "sample")
    if not isinstance(chosen, str) or chosen not in PROFILES:
        raise ParamsError(f"{path}: profile: found {chosen!r}, the nearest are: {nearest(str(chosen), PROFILES)}")
    params = checked(Params, values | {"profile": chosen}, str(path))
    # A block under a misspelt name would be passed over in silence.
    files = [name.replace("-", "_") for name in names("methods")]
    for package, known, keys in (
        ("methods", files, params.methods),
        ("datasets", names("datasets"), params.datasets),
    ):
        for key in keys:
            if key not in known:
                raise ParamsError(f"{path}: {package}.{key}: no such entry; the nearest are: {nearest(key, known)}")
    for chosen, how in params.evaluate.items():
        for key in how.images:
            if key not in (known := names("datasets")):
                place = f"evaluate.{chosen}.images.{key}"
                raise ParamsError(f"{path}: {place}: no such dataset; the nearest are: {nearest(key, known)}")
    for name, stage in params.layers.items():
        if stage.dataset not in (known := names("datasets")):
            near = nearest(stage.dataset, known)
            raise ParamsError(f"{path}: layers.{name}: no dataset {stage.dataset!r}; the nearest are: {near}")
    groups: list[Mapping[str, Any]] = [
        *params.runs.values(),
        params.baselines,
        params.transfers,
        params.tour.runs,
        params.tour.baselines,
        *params.searches.values(),
    ]
    used = [name for group in [*groups, all_chains(params)] for name in group]
    for name in used:
        if used.count(name) > 1:
            raise ParamsError(f"{path}: two runs have the name {name!r}; each needs its own, it names their folder")
    for group, searches in params.searches.items():
        for name, search in searches.items():
            _check_search(params, search, f"{path}: searches.{group}.{name}")
    return params


def _check_search(params: Params, search: Search, where: str) -> None:
    """Raise ParamsError unless the base run is there, is what the search says, and every `of` leads to a number."""
    base, groups = search.of, params.runs
    if base.group not in groups:
        near = nearest(base.group, groups)
        raise ParamsError(f"{where}.of: no group {base.group!r} of runs; the nearest are: {near}")
    if base.run not in groups[base.group]:
        near = nearest(base.run, groups[base.group])
        raise ParamsError(f"{where}.of: no run {base.run!r} in group {base.group!r}; the nearest are: {near}")
    run = groups[base.group][base.run]
    for key in ("method", "dataset"):
        found, expected = getattr(search, key), getattr(run, key)
        if found != expected:
            raise ParamsError(f"{where}.{key}: found {found!r}, expected {expected!r} as in run {base.run}")
    if sum(other.of.run == base.run for other in all_searches(params).values()) > 1:
        raise ParamsError(f"{where}.of: a second search of run {base.run}; one run has one search")
    for section, choices in (("weights", search.weights), ("train", search.train)):
        for name in choices:
            seen = [name]
            while (of := choices[seen[-1]].of) is not None:
                if of not in choices:
                    near = nearest(of, choices)
                    raise ParamsError(f"{where}.{section}.{seen[-1]}.of: no {of!r} beside it; the nearest are: {near}")
                if of in seen:
                    raise ParamsError(f"{where}.{section}.{name}.of: goes in a circle: {' of '.join([*seen, of])}")
                seen.append(of)
    if not any(choice.low for choice in (*search.weights.values(), *search.train.values())):
        raise ParamsError(f"{where}: nothing is searched; give at least one weight a range, {{low: 0.1, high: 10.0}}")
