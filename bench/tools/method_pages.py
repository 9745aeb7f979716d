"""Write a page on a method from what the project holds of it: nothing is written twice.

Text and arguments come from docstrings, readings and limits from the entry, weights and recipes from the parameters,
sizes and the names of losses from the networks, golden cases from the modules that run them. The same files give the
same page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench import registry, runs, weights
from bench.code import ROOT
from bench.contracts import Method
from bench.params import loading
from bench.params.recipe_schema import Recipe
from bench.params.schema import Params, Run
from bench.tools import method_facts
from bench.tools.markdown import WIDTH, code, escaped, flow, listing, prose, table, wrapped


@dataclass(frozen=True)
class Subject:
    """The method of a page.

    Args:
        name: the entry, with hyphens.
        method: its `Method`.
        params: the parameters, in the profile `paper`.
        runs: its runs in `params.yaml`, by name.
        recipes: the resolved recipe of each.
        up: from the page's folder to the project's, for links.
    """

    name: str
    method: Method
    params: Params
    runs: Mapping[str, Run]
    recipes: Mapping[str, Recipe]
    up: str

    @property
    def first(self) -> Recipe | None:
        """The recipe of the first run; None where the method has no run."""
        return next(iter(self.recipes.values()), None)


def page(name: str, params: Params, up: str = "../..") -> str:
    """Write the page of a method.

    Args:
        name: the entry.
        params: the parameters, in the profile `paper`.
        up: from the page's folder to the project's, for links.

    Raises:
        UserError: an unknown method.
        ParamsError: one of its runs cannot be resolved.
    """
    method = registry.method(name)
    name = name.replace("_", "-")
    # Runs of the tour are left out: they repeat others in small.
    groups = [*params.runs.values(), params.baselines]
    its_runs = {key: run for group in groups for key, run in group.items() if run.method.replace("_", "-") == name}
    recipes = {key: runs.resolve(params, key)[0] for key in its_runs}
    subject = Subject(name, method, params, its_runs, recipes, up)
    sections = [
        ("", _head(subject)),
        ("Our readings", listing(method.readings)),
        ("Arguments", _arguments(subject)),
        ("Losses", _losses(subject)),
        ("Runs", _runs(subject)),
        ("As in the paper", _recipe(subject)),
        ("Sizes and limits", _limits(method)),
        ("Golden cases", _cases(subject)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections if text) + "\n"


def _head(subject: Subject) -> str:
    title, rest = method_facts.about(subject.name)
    paths = [
        path.relative_to(ROOT).as_posix() for path in method_facts.files(subject.name) if path.is_relative_to(ROOT)
    ]
    links = ", ".join(f"[{path}]({subject.up}/{path})" for path in paths)
    return "\n\n".join(
        [
            "<!-- Written by `make docs` from the sources: change them, not this page. -->",
            f"# {escaped(title)}",
            wrapped(f"Entry `{subject.name}`; {', '.join(map(code, subject.method.tasks))}; {links}."),
            prose(rest),
        ]
    ).strip()


def _arguments(subject: Subject) -> str:
    if subject.method.networks is None:
        return ""
    rows = [
        (code(entry.name), code(entry.kind), code(entry.default), escaped(entry.meaning))
        for entry in method_facts.arguments(subject.method)
    ]
    counts = method_facts.sizes(subject.name, {})
    total = f"; {sum(counts.values()):,} in all" if len(counts) > 1 else ""
    listed = ", ".join(f"{code(key)} {count:,}" for key, count in counts.items())
    return "\n\n".join(
        [
            table(("argument", "type", "default", "meaning"), rows),
            wrapped(f"Parameters with the defaults: {listed}{total}."),
        ]
    )


def _losses(subject: Subject) -> str:
    method, recipe = subject.method, subject.first
    if method.networks is None:
        return ""
    chosen, steps = (recipe.train.weights, recipe.train.phases) if recipe else ({}, {})
    helper_of = {loss: helper.weights for helper in method.helpers.values() for loss in helper.losses}
    rows = []
    for phase, player, loss in method_facts.losses(method):
        if steps and not steps.get(phase):
            continue
        weight = f"{chosen.get(f'{player}.{loss}', chosen.get(loss, 1.0)):g}" if recipe else "?"
        needs = f"the weights of {helper_of[loss]}" if loss in helper_of else ""
        moved = ", ".join(map(code, method.phases[phase].players[player].networks))
        watched = loss in method.watched
        rows.append((phase, code(player), moved, code(loss), "only watched" if watched else weight, needs))
    title = "weight in the paper's recipe" if recipe else "weight (no run in `params.yaml` yet)"
    head = ("phase", "player", "moves", "loss", title, "needs")
    return "\n\n".join([table(head, rows), *map(wrapped, _notes_on_losses(method, helper_of, steps))])


def _notes_on_losses(method: Method, helper_of: Mapping[str, str], steps: Mapping[str, int]) -> list[str]:
    updates = {
        name: player.updates
        for phase in method.phases.values()
        for name, player in phase.players.items()
        if player.updates != 1
    }
    notes = [f"`{player}` takes {count} steps on each batch." for player, count in updates.items()]
    if unused := [code(phase) for phase in method.phases if steps and not steps.get(phase)]:
        notes.append(f"Without steps here, for ablations: {', '.join(unused)}.")
    if helper_of:
        files = ", ".join(sorted({weights.known(key).name for key in helper_of.values()}))
        notes.append(
            f"A loss that needs published weights ({files}) is left out where they are absent; every table tells so."
        )
    return notes


def _runs(subject: Subject) -> str:
    if not subject.runs:
        return "`params.yaml` has no run of it."
    rows = []
    for key, run in subject.runs.items():
        recipe = subject.recipes[key]
        values = run.model_dump(exclude_unset=True)
        differs = {
            part: values[part] for part in ("variant", "network", "train", "paper", "sample") if values.get(part)
        }
        trained = subject.method.networks is not None
        count = f"{sum(method_facts.sizes(subject.name, recipe.network).values()):,}" if trained else "0"
        listed = ", ".join(map(code, (recipe.row, *recipe.also)))
        rows.append((code(key), run.dataset, recipe.task, listed, flow(differs), count))
    others = [
        f"{code(key)}: `{chain.first}`, then `{chain.second}`, on {chain.dataset}."
        for key, chain in subject.params.chains.items()
        if chain.first in subject.runs or chain.second in subject.runs
    ]
    others += [
        f"{code(key)}: `{transfer.run}` scored on {transfer.dataset}."
        for key, transfer in subject.params.transfers.items()
        if transfer.run in subject.runs
    ]
    head = ("run", "dataset", "task", "rows of the published tables", "differs by", "parameters in `paper`")
    return "\n\n".join(part for part in (table(head, rows), "\n".join(wrapped(o, "- ") for o in others)) if part)


def _recipe(subject: Subject) -> str:
    recipe, method, params = subject.first, subject.method, subject.params
    if recipe is None:
        return ""
    dataset = recipe.dataset
    stages = [("build", dataset)]
    if method.auxiliary:
        stages.append(("auxiliary", dataset))
    if method.networks is not None:
        stages.append(("train", recipe.name))
    stages.append(("evaluate", recipe.name))
    lines = "\n".join(f"python -m bench --profile {params.profile} {stage} {what}" for stage, what in stages)
    originals = f"{params.paths.originals}/{dataset}"
    parts = [
        wrapped(
            f"With the official files of {registry.dataset(dataset).title} in `{originals}` "
            f"(`python -m bench verify {dataset} --originals {originals}` checks them):"
        ),
        f"```\n{lines}\n```",
    ]
    if method.networks is not None:
        parts += [f"The recipe of `{recipe.name}`, resolved:", f"```yaml\n{_resolved(recipe)}```"]
    return "\n\n".join(parts)


def _resolved(recipe: Recipe) -> str:
    train = recipe.train.model_dump(mode="json", exclude_none=True)
    lengths = [length for length in ("phases", "steps", "epochs") if train.get(length)]
    for unused in {"phases", "steps", "epochs"} - set(lengths[:1]):
        train.pop(unused, None)
    # Of a schedule only what its kind uses: the rest would look as if it counted.
    train["schedule"] = {"kind": recipe.train.schedule.kind} | recipe.train.schedule.model_dump(exclude_unset=True)
    both = {"network": recipe.network, "train": train}
    return yaml.safe_dump(both, sort_keys=False, default_flow_style=None, width=WIDTH)


def _limits(method: Method) -> str:
    facts = []
    if method.multiple > 1 or method.min_size > 1:
        facts.append(
            f"Sides are padded by reflection to multiples of {method.multiple} pixels and at least {method.min_size}; "
            "the result is cropped back."
        )
    margin = runs.settled(method, {}).margin
    if margin is not None:
        facts.append(f"Tiles of a large image overlap by {margin} pixels and agree with the whole.")
    facts += [text for text in (method.tiling, *method.limits) if text]
    facts += [
        f"Needs the auxiliary map `{name}` of every image, made by `{made.module}`."
        for name, made in method.auxiliary.items()
    ]
    return listing(facts)


def _cases(subject: Subject) -> str:
    cases = method_facts.golden_cases(subject.name)
    if not cases:
        return ""
    links = [f"- [{case}]({subject.up}/tests/golden/{case}.json)" for case in cases]
    text = "`tests/test_golden.py` compares these networks, or parts of them, with the results of the authors' code:"
    return "\n".join([wrapped(text), "", *links])


def write(names: Sequence[str], params_path: Path, out: Path) -> list[Path]:
    """Write pages of methods.

    Args:
        names: the methods; all of them if there are none.
        params_path: the parameters.
        out: the folder of the pages.

    Returns:
        The pages.
    """
    from bench.files import need_writable, write_text

    for name in names:
        registry.module_name("methods", name)  # before the folder is made
    need_writable(out)
    params = loading.load(params_path, "paper")
    up = os.path.relpath(ROOT, out.resolve())
    pages = {name.replace("_", "-"): page(name, params, up) for name in names or registry.names("methods")}
    written = []
    for name, text in pages.items():
        written.append(out / f"{name}.md")
        write_text(written[-1], text)
    return written
