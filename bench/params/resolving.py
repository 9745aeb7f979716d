"""Resolve what a run, a search or an evaluation is in the chosen profile.

A profile extends another: `tour` extends `sample`, which extends `paper`. The values of a run are merged in this order,
later ones win: for each profile of that chain the defaults, the method's recipe, and what the recipe says of the
dataset and of the variant, then the run; last the values of dataset, variant and run that hold in every profile. The
run of a search's winner is its base run with the values that the search found.
"""

from __future__ import annotations

from typing import Any

from bench import folders, yaml_input
from bench.contracts import ParamsError
from bench.hashes import read_sealed, read_verified
from bench.params.checks import checked
from bench.params.recipe_schema import MethodProfile, Recipe, Train
from bench.params.recipes import find_variant, merged, method_rows, parts_of, recipes_of
from bench.params.schema import Chain, DatasetParams, Evaluate, Params, Run, Search, SearchSettings
from bench.params.values import PATH, PROFILES, STUDY, WINNER
from bench.registry import nearest

SEARCHED = " (searched)"
"""What follows the title of a base run in that of its search's winner."""


def all_runs(params: Params) -> dict[str, Run]:
    """Return every run that is trained or that needs no training, by name; winners as their base runs."""
    groups = [*params.runs.values(), params.baselines, params.tour.runs, params.tour.baselines]
    plain = {name: run for group in groups for name, run in group.items()}
    return plain | {name: _base_run(params, search) for name, search in all_searches(params).items()}


def _base_run(params: Params, search: Search) -> Run:
    base = params.runs[search.of.group][search.of.run]
    return base.model_copy(update={"rows": search.rows}) if search.rows else base


def all_searches(params: Params) -> dict[str, Search]:
    """Return every search by the name of its winner's run."""
    return {name: search for group in params.searches.values() for name, search in group.items()}


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
        ParamsError: an unknown run or variant, a misspelt or out-of-range value; the run of a winner that has not been
            found yet.
    """
    resolved = base_recipe(params, name)
    searches = all_searches(params)
    if name not in searches:
        return resolved
    winner = _read_winner(params, searches[name].of.run)
    where = f"{PATH}: the recipe of run {name} in profile {params.profile}, with what its search found"
    train = merged(resolved.train.model_dump(exclude_unset=True, by_alias=True), winner)
    return resolved.model_copy(update={"train": checked(Train, train, where)})


def base_recipe(params: Params, name: str) -> Recipe:
    """Resolve a run as `recipe` does; the run of a winner without what its search found."""
    run = find_run(params, name)
    place = f"{PATH}: run {name}"
    recipes = recipes_of(params, run.method)
    variants = find_variant(recipes, run, place)
    by_profile, in_all = parts_of(recipes, run, variants)
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}
    paper: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        parts = [params.defaults.get(profile, MethodProfile()), *(getattr(part, profile) for part in by_profile)]
        for part in parts:
            network, train = merged(network, part.network), merged(train, part.train)
        paper = dict(network) if profile == "paper" else paper
    for last in in_all:
        paper, network = merged(paper, last.network), merged(network, last.network)
        train = merged(train, last.train)
    where = f"{PATH}: the recipe of run {name} in profile {params.profile}"
    if "searched" in train:
        raise ParamsError(f"{where}: searched: a search writes it next to what it finds; take it out")
    if isinstance(weights := train.get("weights"), dict):
        train["weights"] = {loss: weight for loss, weight in weights.items() if weight is not None}
    rows = run.rows or next((part.rows for part in reversed(variants) if part.rows), ())
    rows = rows or _default_rows(run) or method_rows(recipes, run.method)
    return Recipe(
        name=name,
        method=run.method,
        dataset=run.dataset,
        task=run.task or "",
        row=rows[0],
        also=rows[1:],
        title=_title(run) + SEARCHED * (name in all_searches(params)),
        profile=params.profile,
        seed=params.seed if run.seed is None else run.seed,
        network=network,
        paper_network=paper,
        train=checked(Train, train, where),
    )


def _default_rows(run: Run) -> tuple[str, ...]:
    """Return the row of a variant that names none, () without a variant."""
    return (f"{run.method.replace('_', '-')}-{run.variant}",) if run.variant else ()


def _title(run: Run) -> str:
    """Derive the name that tables print: the method's, with the variant's."""
    method = run.method.replace("_", "-")
    return run.title or (f"{method} ({run.variant.replace('-', ' ')})" if run.variant else method)


def _read_winner(params: Params, run: str) -> dict[str, Any]:
    """Read what the search of a run found, a part of a recipe.

    Raises:
        ParamsError: there is none, it is damaged, or it has changed since the search wrote it.
    """
    path = folders.search_folder(params, run) / WINNER
    again = f"run: python -m bench search {run}"
    if not path.is_file():
        raise ParamsError(f"{path}: run {run} has not been searched yet in profile {params.profile}; {again}")
    study = read_sealed(path.with_name(STUDY), again, ParamsError)
    if study.get("run") != run:
        raise ParamsError(f"{path.with_name(STUDY)}: the search of {study.get('run')}; {again}")
    data = read_verified(path, study["files"][WINNER], again, ParamsError)
    try:
        values = yaml_input.parse(data.decode(), str(path))
    except ParamsError as error:
        raise ParamsError(f"{error}; {again}") from None
    train = values.get("train") if isinstance(values, dict) else None
    if not isinstance(train, dict) or "searched" not in train:
        raise ParamsError(f"{path}: not written by a search: `train` with `searched` is missing; {again}")
    return train


def dataset_options(params: Params, name: str, originals: bool) -> dict[str, Any]:
    """Return the options of a dataset's builder: of its originals, or of its stand-in in the chosen profile."""
    options = params.datasets.get(name, DatasetParams())
    if originals:
        return options.originals
    return merged(options.offline, options.tour) if params.profile == "tour" else options.offline


def find_search(params: Params, run: str) -> tuple[str, Search]:
    """Return the name of a search's winner and the search, by its base run. Raises ParamsError with the nearest."""
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
        for settings in (params.search.get(profile), search.settings.get(profile)):
            if settings is not None:
                values = merged(values, settings.model_dump(exclude_unset=True))
    return checked(SearchSettings, values, f"{PATH}: the search of run {search.of.run} in profile {params.profile}")


def evaluation(params: Params) -> Evaluate:
    """Return how runs are scored in the chosen profile. `images` are not inherited: each profile has its own data."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        chosen = params.evaluate.get(profile, Evaluate()).model_dump(exclude_unset=True)
        values = merged(values, chosen) | {"images": chosen.get("images", {})}
    return Evaluate.model_validate(values)
