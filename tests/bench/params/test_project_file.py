"""The project's params.yaml in every profile, and the changes to it that the docs propose."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bench import runs
from bench.params import loading, recipes
from bench.params.recipe_schema import Schedule
from bench.params.recipes import merged
from bench.params.resolving import (
    all_runs,
    all_searches,
    find_search,
    recipe,
    search_settings,
)
from tests.bench.params.toys import FILE, PROJECT


@pytest.mark.parametrize("profile", ["paper", "sample", "tour"])
def test_every_run_of_the_project_resolves(profile):
    loaded = loading.load(FILE, profile)
    assert all_runs(loaded)
    for name in set(all_runs(loaded)) - set(all_searches(loaded)):  # a winner is known after its search
        resolved, method = runs.resolve(loaded, name)
        assert resolved.profile == profile and resolved.task in method.tasks
        if method.networks is not None:
            assert resolved.train.steps or resolved.train.epochs or resolved.train.phases


@pytest.mark.parametrize("profile", ["paper", "sample", "tour"])
def test_every_search_of_the_project_has_settings_and_sets_losses_of_its_run(profile):
    loaded = loading.load(FILE, profile)
    methods = {search.method for search in all_searches(loaded).values()}
    assert methods == {"mrfnet", "dffnet", "dgfnet"}
    for name, search in all_searches(loaded).items():
        assert search_settings(loaded, search).metric == "psnr-rgb8"
        assert find_search(loaded, search.of.run) == (name, search)
        weights = recipe(loaded, search.of.run).train.weights
        assert [weight for weight in search.weights if weight not in weights] == []


def test_paper_profile_has_the_papers_values():
    train = recipe(loading.load(FILE, "paper"), "mrfnet-gopro").train
    assert (train.lr, train.epochs, train.batch_size, train.crop_size) == (1e-4, 50, 16, 256)
    assert train.schedule == Schedule(kind="step", every_epochs=10, factor=0.5)
    critic = recipe(loading.load(FILE, "paper"), "rn-places2").train.players["critic"]
    assert critic.lr == 1e-5


def longer() -> dict[str, dict[str, Any]]:
    """The changes that docs/pipeline.md lays on params.yaml to train longer, by run: its table's, and its blocks."""
    text = (FILE.parent / "docs" / "pipeline.md").read_text()
    text = text.partition("## Longer than the sample profile\n")[2].partition("\n## ")[0]
    groups = {run: group for group, members in PROJECT["runs"].items() for run in members}
    changes_of = {}
    for run, changes in re.findall(r"^\| `([\w-]+)`[^|]*\| `([^`|]+)` \|", text, re.MULTILINE):
        changes_of[run] = {"runs": {groups[run]: {run: {"sample": {"train": yaml.safe_load(f"{{{changes}}}")}}}}}
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        change = yaml.safe_load(block)
        ((run, _),) = (pair for members in change["runs"].values() for pair in members.items())
        changes_of[run] = change
    return changes_of


@pytest.mark.parametrize(("run", "change"), longer().items())
def test_a_longer_training_of_the_docs_is_one_that_params_yaml_takes(tmp_path, run, change):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merged(PROJECT, change)))
    before, after = (runs.resolve(loading.load(file, "sample"), run)[0] for file in (FILE, path))
    (group,) = (members for members in change["runs"].values() if run in members)
    asked = group[run]["sample"]
    for name, value in asked["train"].items():
        value_before, value_after = (recipe.train.model_dump()[name] for recipe in (before, after))
        assert value_after != value_before and (
            value_after == merged(value_before, value) if isinstance(value, dict) else value_after == value
        )
    total = lambda recipe: sum(recipe.train.phases.values()) or recipe.train.steps  # noqa: E731
    assert total(after) > 5 * total(before)


def test_every_run_of_the_sample_profile_takes_minutes_at_most():
    loaded = loading.load(FILE, "sample")
    for name in (name for group in loaded.runs.values() for name in group):
        resolved = recipe(loaded, name).train
        assert 0 < (sum(resolved.phases.values()) or resolved.steps) <= 2500, name


def test_no_run_of_the_paper_profile_has_a_length_that_its_method_does_not_know():
    """A length for two cores must not reach the paper's recipe, which gives epochs, phases or steps itself."""
    loaded = loading.load(FILE, "paper")
    for group in loaded.runs.values():
        for name, run in group.items():
            method = recipes.method_recipe(run.method).paper.train
            train = recipe(loaded, name).train
            assert train.steps == method.get("steps"), name
            assert set(train.phases) == set(method.get("phases", {})), name
