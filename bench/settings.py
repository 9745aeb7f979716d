"""What every stage of the pipeline depends on besides data: its settings and the digest of its code, a file per stage.

The stage `settings` writes these files to `<out>/<profile>/settings`; every other stage depends on its own. An edit of
`params.yaml`, of a recipe or of code then runs exactly the stages that it concerns; no `dvc.yaml` names a source file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from bench import code, registry, runs
from bench.contracts import ParamsError
from bench.contracts.errors import brief
from bench.data.auxiliary import code_of, declared
from bench.files import HAND_OVER_SECONDS, replace_folder, write_text
from bench.params.recipe_schema import Recipe
from bench.params.resolving import (
    all_chains,
    all_runs,
    all_searches,
    base_recipe,
    dataset_options,
    evaluation,
    search_settings,
)
from bench.params.schema import Params, Paths
from bench.params.values import PATH

CHECKED = "checked.yaml"
"""The file on which all stages depend, so that none runs before `params.yaml` with all its names has been checked."""
CHECKED_TEXT = "# params.yaml is valid. This file is always the same: stages depend on it for their order.\n"


def as_yaml(values: BaseModel | Mapping[str, Any]) -> str:
    """Return settings as YAML for a person: in the order of the fields, short lists on one line."""
    plain = values.model_dump(mode="json") if isinstance(values, BaseModel) else dict(values)
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def write(params: Params, out: Path) -> None:
    """Write the settings of every stage of the profile's pipeline to a folder, which they replace.

    Raises:
        ParamsError: a run that cannot be resolved.
        UserError: the folder cannot be written; code that cannot be followed.
    """
    settings = stages(params)

    def fill(folder: Path) -> None:
        for name, values in settings.items():
            write_text(folder / f"{name}.yaml", as_yaml(values))
        write_text(folder / CHECKED, CHECKED_TEXT)

    replace_folder(out, fill, "writing settings", HAND_OVER_SECONDS)


def write_for_pipeline(params: Params) -> None:
    """Write the settings to the folder in which the stages of `dvc.yaml` expect them.

    Raises:
        ParamsError: `paths` moves a folder whose place is fixed in `dvc.yaml`; see `write`.
        UserError: see `write`.
    """
    for name in ("data", "out", "reports"):
        chosen, fixed = getattr(params.paths, name), getattr(Paths(), name)
        if Path(chosen) != Path(fixed):
            raise ParamsError(
                f"{PATH}: paths.{name}: found {brief(chosen)}, but the pipeline has this folder in {fixed}; take the "
                "value out, or run the commands by hand"
            )
    write(params, Path(params.paths.out, params.profile, "settings"))


def stages(params: Params) -> dict[str, dict[str, Any]]:
    """Return the settings of every stage of the profile by name: "train/mrfnet-gopro", "report"."""
    settings: dict[str, dict[str, Any]] = {}
    for name in _datasets(params):
        settings[f"build/{name}"] = _build(params, name)
    for key, stage in params.auxiliary.items():
        made = code_of(declared(params, stage.dataset)[stage.map])
        settings[f"auxiliary/{key}"] = {
            "map": made,
            "code": code.of_stage("auxiliary"),
            **stage.model_dump(mode="json"),
        }
    recipes = _trained(params)
    for name, recipe in recipes.items():
        threads = {"threads": params.threads, "code": code.of_stage("train", [recipe.method])}
        settings[f"train/{name}"] = threads | recipe.model_dump(mode="json")
    for name, members in evaluations(params).items():
        settings[f"evaluate/{name}"] = _evaluate(params, name, members)
    if params.profile != "tour":
        for search in all_searches(params).values():
            settings[f"search/{search.of.run}"] = {
                "search": search.model_dump(mode="json"),
                "settings": search_settings(params, search).model_dump(mode="json"),
                "threads": params.threads,
                "recipe": recipes[search.of.run].model_dump(mode="json"),
                "code": code.of_stage("search", [search.method]),
            }
    # Of a dataset the report uses its official counts alone: another change of its module leaves the report as it is.
    counts = {name: dict(registry.dataset(name).counts) for name in _datasets(params)}
    settings["report"] = {"profile": params.profile, "counts": counts, "code": code.of_stage("report")}
    return settings


def _datasets(params: Params) -> list[str]:
    return list(params.tour.datasets if params.profile == "tour" else params.datasets)


def _build(params: Params, name: str) -> dict[str, Any]:
    originals = params.profile == "paper"
    return {
        "dataset": name,
        "originals": originals,
        "options": dataset_options(params, name, originals),
        "seed": params.seed,
        "code": code.of_stage("build", datasets=[name]),
    }


def _trained(params: Params) -> dict[str, Recipe]:
    """Resolve every run that the profile trains; winners of searches without what is found for them."""
    groups = [params.tour.runs] if params.profile == "tour" else params.runs.values()
    recipes = {name: runs.resolve(params, name)[0] for group in groups for name in group}
    if params.profile == "tour":
        return recipes
    searches = all_searches(params).items()
    return recipes | {name: _winner(params, name, recipes[search.of.run]) for name, search in searches}


def _winner(params: Params, name: str, base: Recipe) -> Recipe:
    """Return the recipe of a search's winner as far as it is known before the search."""
    names = base_recipe(params, name).model_dump(include={"name", "row", "also", "title"})
    return base.model_copy(update=names)


def evaluations(params: Params) -> dict[str, tuple[str, ...]]:
    """Return what the profile's pipeline evaluates, by name, with the runs that take part in it."""
    if params.profile == "tour":
        single, transfers, chains = [params.tour.runs, params.tour.baselines], {}, params.tour.chains
    else:
        single, transfers, chains = [*params.runs.values(), params.baselines], params.transfers, params.chains
        single.append({name: all_runs(params)[name] for name in all_searches(params)})
    members: dict[str, tuple[str, ...]] = {name: (name,) for group in single for name in group}
    members |= {name: (transfer.run,) for name, transfer in transfers.items()}
    return members | {name: (chain.first, chain.second) for name, chain in chains.items()}


def _evaluate(params: Params, name: str, members: Iterable[str]) -> dict[str, Any]:
    """Return how one evaluation is made. What its runs learned is in their own folders, which it depends on too."""
    entries: dict[str, Any] = {**params.transfers, **all_chains(params)}
    untrained = [member for member in members if member in params.baselines | params.tour.baselines]
    return {
        "evaluation": evaluation(params).model_dump(mode="json"),
        "threads": params.threads,
        "entry": entries[name].model_dump(mode="json") if name in entries else {},
        "recipes": [runs.resolve(params, member)[0].model_dump(mode="json") for member in untrained],
        "code": code.of_stage("evaluate", sorted({all_runs(params)[member].method for member in members})),
    }
