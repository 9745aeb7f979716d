from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from bench import folders, registry, runs
from bench.contracts import ParamsError, UserError
from bench.params import loading, recipe_schema, recipes, values
from bench.params.checks import check_arguments, checked
from bench.params.recipe_schema import Schedule, Train
from bench.params.recipes import merged
from bench.params.resolving import (
    all_runs,
    all_searches,
    base_recipe,
    dataset_options,
    evaluation,
    find_search,
    recipe,
    search_folder,
    search_settings,
)
from bench.record import RECORD, write_record
from bench.scoring.restore import restore
from tests.make_scores import Spec, record_of

FILE = Path(__file__).parents[3] / "params.yaml"
PROJECT = yaml.safe_load(FILE.read_text())

SMALL: dict[str, Any] = {
    "profile": "sample",
    "defaults": {
        "paper": {"train": {"lr": 1e-4, "epochs": 50, "batch_size": 16, "crop_size": 256}},
        "sample": {"train": {"steps": 300, "batch_size": 8}},
        "tour": {"train": {"steps": 60}},
    },
    "recipes": {
        "mrfnet": {
            "paper": {"network": {"channels": 64}, "train": {"lr": 2e-4, "weights": {"mse": 0.0}}},
            "sample": {"network": {"channels": 16}, "train": {"lr": 1e-3, "weights": {"scale_refinement": 2.0}}},
            "tour": {"network": {"channels": 8}},
        }
    },
    "runs": {"deblur": {"plain": {"method": "mrfnet", "dataset": "gopro"}}},
}


@pytest.fixture(autouse=True)
def no_profile_outside(monkeypatch):
    monkeypatch.delenv("SHARPBENCH_PROFILE", raising=False)


@pytest.fixture
def bare(monkeypatch):
    """The method's own recipe is empty: what the small file gives is all there is."""
    monkeypatch.setattr(recipes, "method_recipe", lambda name: recipe_schema.MethodRecipe())


def written(folder: Path, *changes: dict[str, Any]) -> Path:
    """Write the small file with some values replaced, mapping by mapping."""
    values: dict[str, Any] = SMALL
    for change in changes:
        values = merged(values, change)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def with_run(**run: Any) -> dict[str, Any]:
    return {"runs": {"deblur": {"plain": run}}}


# The file of the project ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["paper", "sample", "tour"])
def test_every_run_of_the_project_resolves(profile):
    loaded = loading.load(FILE, profile)
    assert all_runs(loaded)
    for name in set(all_runs(loaded)) - set(all_searches(loaded)):  # a winner is known after its search
        found, method = runs.resolve(loaded, name)
        assert found.profile == profile and found.task in method.tasks
        if method.networks is not None:
            assert found.train.steps or found.train.epochs or found.train.phases


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


# Misspelt keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "place", "near"),
    [
        ({"sead": 1}, "sead", "seed"),
        ({"paths": {"dta": "x"}}, "paths.dta", "data"),
        ({"runs": {"deblur": {"plain": {"methd": "x"}}}}, "runs.deblur.plain.methd", "method"),
        ({"recipes": {"mrfnet": {"paper": {"trian": {}}}}}, "recipes.mrfnet.paper.trian", "train"),
        ({"tour": {"runs": {"a": {"method": "m", "dataset": "d", "titel": "x"}}}}, "tour.runs.a.titel", "title"),
        ({"evaluate": {"paper": {"metric": []}}}, "evaluate.paper.metric", "metrics"),
    ],
)
def test_a_misspelt_key_is_named_with_its_place_and_the_nearest(tmp_path, change, place, near):
    path = written(tmp_path, change)
    with pytest.raises(ParamsError) as caught:
        loading.load(path)
    first = next(line for line in str(caught.value).splitlines() if "unknown key" in line)
    assert first.startswith(f"{path}: {place}: unknown key; the nearest are: ")
    assert near in first.rpartition(": ")[2].split(", ")


@pytest.mark.parametrize(
    ("train", "place", "near"),
    [
        ({"bach_size": 4}, "bach_size", "batch_size"),
        ({"schedule": {"kind": "step", "every_epoch": 3, "every_steps": 1}}, "schedule.every_epoch", "every_epochs"),
        ({"players": {"network": {"beta": [0, 1]}}}, "players.network.beta", "betas"),
    ],
)
def test_a_misspelt_key_of_a_recipe_is_found_when_the_run_is_resolved(tmp_path, train, place, near):
    loaded = loading.load(written(tmp_path, with_run(train=train)))
    with pytest.raises(ParamsError, match=rf"recipe of run plain in profile sample: {place}: unknown key.*{near}"):
        recipe(loaded, "plain")


def test_an_unknown_key_offers_only_the_keys_of_its_own_place(tmp_path):
    with pytest.raises(ParamsError) as caught:
        loading.load(written(tmp_path, {"paths": {"zzz": "x"}}))
    near = str(caught.value).rpartition(": ")[2].split(", ")
    assert sorted(near) == ["data", "originals", "out", "reports", "resume", "weights"]


@pytest.mark.parametrize(
    ("package", "key", "near"),
    [("recipes", "mrfnt", "mrfnet"), ("datasets", "goprro", "gopro")],
)
def test_a_block_for_an_entry_that_is_not_there_is_refused(tmp_path, package, key, near):
    with pytest.raises(ParamsError, match=rf"{package}\.{key}: no \w+ '{key}'; the nearest are: {near}"):
        loading.load(written(tmp_path, {package: {key: {}}}))


def test_a_run_names_its_method_like_its_file(tmp_path):
    with pytest.raises(
        ParamsError, match=r"method: found 'mrfnet-edges'; a method is named like its file here: write mrf"
    ):
        loading.load(written(tmp_path, with_run(method="mrfnet-edges")))


def test_a_dataset_is_named_with_hyphens(tmp_path):
    with pytest.raises(
        ParamsError, match=r"dataset: found 'canon_dp'; a dataset is named with hyphens: write canon-dp"
    ):
        loading.load(written(tmp_path, with_run(method="dpdnet", dataset="canon_dp")))


def test_a_misspelt_profile_block_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"defaults\.sampel.*found 'sampel'; input should be 'paper', 'sample'"):
        loading.load(written(tmp_path, {"defaults": {"sampel": {}}}))


def test_a_misspelt_network_argument_names_the_nearest(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(network={"chanels": 4})))
    with pytest.raises(ParamsError, match=r"run plain: network\.chanels: unknown argument; the nearest are: channels"):
        runs.resolve(loaded, "plain")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("flip_horizontl", r"unknown operation 'flip_horizontl'; the nearest are: flip_horizontal"),
        ({"rotate": {"degree": 3}}, r"rotate has no option 'degree'; the nearest are: degrees"),
        ({"rotate": {}, "noise": {}}, r"expected a name, or one name with its options"),
    ],
)
def test_a_misspelt_augmentation_is_found_before_training(tmp_path, entry, message):
    loaded = loading.load(written(tmp_path, with_run(train={"augment": [entry]})))
    with pytest.raises(ParamsError, match=rf"params\.yaml: run plain: train\.augment: .*{message}"):
        runs.resolve(loaded, "plain")


def test_an_unknown_player_and_an_unknown_phase_are_found_before_training(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(train={"players": {"netwrok": {"lr": 1e-3}}})))
    with pytest.raises(ParamsError, match=r"train\.players\.netwrok: mrfnet has none .* nearest are: network"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(train={"phases": {"tran": 3}})))
    with pytest.raises(ParamsError, match=r"train\.phases\.tran: mrfnet has none .* nearest are: train"):
        runs.resolve(loaded, "plain")


@pytest.mark.parametrize(("size", "fits"), [(32, True), (64, True), (48, False), (16, False)])
def test_a_crop_that_the_network_cannot_take_is_found_before_training(tmp_path, size, fits):
    loaded = loading.load(written(tmp_path, with_run(train={"crop_size": size})))
    if fits:
        assert runs.resolve(loaded, "plain")[0].train.crop_size == size
        return
    with pytest.raises(
        ParamsError, match=rf"crop_size is {size}; mrfnet takes images .* multiples of 32 and at least 32"
    ):
        runs.resolve(loaded, "plain")


# Wrong types and ranges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"batch_size": "four"}, r"batch_size: found 'four'; input should be a valid integer$"),
        ({"batch_size": True}, r"batch_size: found True; input should be a valid integer$"),
        ({"batch_size": 2.5}, r"batch_size: found 2\.5; input should be a valid integer"),
        ({"batch_size": 0}, r"batch_size: found 0; input should be greater than 0$"),
        ({"lr": -1e-4}, r"lr: found -0\.0001; input should be greater than 0$"),
        ({"lr": 3.0}, r"lr: found 3\.0; input should be less than or equal to 1$"),
        ({"lr": float("nan")}, r"lr: found nan; input should be less than or equal to 1$"),
        ({"betas": [0.9]}, r"betas\.1: found .*field required$"),
        ({"optimizer": "adem"}, r"optimizer: found 'adem'; input should be 'adam', 'adamw' or 'sgd'$"),
        ({"weights": {"mse": -1.0}}, r"weights\.mse: found -1\.0; input should be greater than or equal to 0$"),
        ({"schedule": {"kind": "step"}}, r"schedule: found .*; kind step needs every_epochs or every_steps$"),
        ({"precision": "half"}, r"precision: found 'half'; input should be 'float32', 'bfloat16' or 'float16'$"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found_and_expected(bare, tmp_path, train, message):
    loaded = loading.load(written(tmp_path, with_run(train=train)))
    with pytest.raises(ParamsError, match=message):
        recipe(loaded, "plain")


def test_a_number_that_yaml_reads_as_text_is_explained(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 1e-3"))
    assert yaml.safe_load(path.read_text())["recipes"]["mrfnet"]["sample"]["train"]["lr"] == "1e-3"
    with pytest.raises(ParamsError, match=r"lr: found '1e-3'.*\(YAML reads 1e-4 as text: write 1\.0e-4\)$"):
        recipe(loading.load(path), "plain")


def test_seeds_below_zero_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"seed: found -1; input should be greater than or equal to 0"):
        loading.load(written(tmp_path, {"seed": -1}))
    with pytest.raises(ParamsError, match=r"runs\.deblur\.plain\.seed: found -3; input should be greater"):
        loading.load(written(tmp_path, with_run(seed=-3)))


def test_several_mistakes_come_in_one_message(tmp_path):
    with pytest.raises(ParamsError) as caught:
        loading.load(written(tmp_path, {"sead": 1, "threads": -2}))
    assert len(str(caught.value).splitlines()) == 2


def network(channels: int = 8, slope: float = 0.1, rounds: int | None = 2, light: bool = True, sides=(3, 5)):
    """Stand in for a network's constructor."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": "many"}, r"run a: network\.channels: found 'many', expected int like 8$"),
        ({"channels": 8.0}, r"channels: found 8\.0, expected int like 8$"),
        ({"slope": "1e-3"}, r"slope: found '1e-3', expected float like 0\.1 \(YAML reads 1e-4 as text"),
        ({"light": 1}, r"light: found 1, expected bool like True$"),
        ({"sides": 3}, r"sides: found 3, expected tuple like \(3, 5\)$"),
        ({"rounds": True}, r"rounds: found True, expected int like 2$"),
    ],
)
def test_an_argument_of_another_kind_than_its_default_is_refused(arguments, message):
    with pytest.raises(ParamsError, match=message):
        check_arguments(network, arguments, "run a: network")


def test_arguments_of_the_kind_of_their_defaults_pass():
    check_arguments(network, {"channels": 4, "slope": 1, "rounds": None, "light": False, "sides": [1, 2]}, "here")


def maker(
    root: str, *, masks: str | None = None, count: int | None = None, share: float | None = None, kind: str = "x"
):
    """Stand in for a dataset's builder."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": "abc"}, r"here\.count: found 'abc', expected int or null$"),
        ({"count": 1.5}, r"count: found 1\.5, expected int or null$"),
        ({"count": True}, r"count: found True, expected int or null$"),
        ({"share": "1e-3"}, r"share: found '1e-3', expected float or null \(YAML reads 1e-4 as text"),
        ({"masks": True}, r"masks: found True, expected str or null$"),
        ({"masks": 5}, r"""found 5, expected str or null \(a number to YAML; as text it is "5", and in a sh"""),
        ({"kind": 256}, r"""found 256, expected str like 'x' \(a number to YAML; as text it is "256", and"""),
        ({"kind": None}, r"kind: found None, expected str like 'x'$"),
        ({"root": "x"}, r"here\.root: unknown argument; the nearest are: count, kind, masks, share$"),
    ],
)
def test_an_argument_without_a_default_value_is_checked_by_its_annotation(arguments, message):
    with pytest.raises(ParamsError, match=message):
        check_arguments(maker, arguments, "here", given=("root",))


def test_arguments_that_their_annotation_allows_pass():
    check_arguments(maker, {"masks": None, "count": 3, "share": 1, "kind": "y"}, "here", given=("root",))
    check_arguments(lambda sides=None: None, {"sides": "anything"}, "here")


# Longer trainings -----------------------------------------------------------------------------------------------------


def longer() -> dict[str, dict[str, Any]]:
    """The changes that docs/pipeline.md lays on params.yaml to train longer, by run: its table's, and its blocks."""
    text = (FILE.parent / "docs" / "pipeline.md").read_text()
    text = text.partition("## Longer than the sample profile\n")[2].partition("\n## ")[0]
    groups = {run: group for group, members in PROJECT["runs"].items() for run in members}
    found = {}
    for run, changes in re.findall(r"^\| `([\w-]+)`[^|]*\| `([^`|]+)` \|", text, re.MULTILINE):
        found[run] = {"runs": {groups[run]: {run: {"sample": {"train": yaml.safe_load(f"{{{changes}}}")}}}}}
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        change = yaml.safe_load(block)
        ((run, _),) = (pair for members in change["runs"].values() for pair in members.items())
        found[run] = change
    return found


@pytest.mark.parametrize(("run", "change"), longer().items())
def test_a_longer_training_of_the_docs_is_one_that_params_yaml_takes(tmp_path, run, change):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merged(PROJECT, change)))
    before, after = (runs.resolve(loading.load(file, "sample"), run)[0] for file in (FILE, path))
    (group,) = (members for members in change["runs"].values() if run in members)
    asked = group[run]["sample"]
    for name, value in asked["train"].items():
        was, found = (recipe.train.model_dump()[name] for recipe in (before, after))
        assert found != was and (found == merged(was, value) if isinstance(value, dict) else found == value)
    total = lambda recipe: sum(recipe.train.phases.values()) or recipe.train.steps  # noqa: E731
    assert total(after) > 5 * total(before)


# The file itself ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, or not a mapping"),
        (b"- 1\n- 2\n", "empty, or not a mapping"),
        (b"a: [1, 2", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"tracking: 2026-99-99", "not YAML: month must be in 1..12"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=rf"{tmp_path}/params\.yaml: {message}"):
        loading.load(tmp_path / "params.yaml")


def test_a_key_that_is_given_twice_is_refused_with_its_line(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text() + "threads: 1\nseed: 2\nthreads: 2\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(ParamsError, match=rf"(?s)not YAML: key 'threads' is given twice.*line {line}, column 1"):
        loading.load(path)


def test_two_runs_of_one_name_are_refused(tmp_path):
    twice = {"baselines": {"plain": {"method": "input", "dataset": "gopro"}}}
    with pytest.raises(ParamsError, match=r"two runs have the name 'plain'"):
        loading.load(written(tmp_path, twice))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"no\.yaml: no such file; run the command in the project's folder"):
        loading.load(tmp_path / "no.yaml")
    with pytest.raises(ParamsError, match="cannot be read: Is a directory"):
        loading.load(tmp_path)


# Profiles and merging -------------------------------------------------------------------------------------------------


def test_merging_goes_mapping_by_mapping_and_replaces_everything_else_whole():
    base = {"a": 1, "b": {"c": [1, 2], "d": 3}, "e": {"f": 1}}
    assert merged(base, {"b": {"c": [9]}, "e": 5, "g": 7}) == {"a": 1, "b": {"c": [9], "d": 3}, "e": 5, "g": 7}
    assert base == {"a": 1, "b": {"c": [1, 2], "d": 3}, "e": {"f": 1}}


@pytest.mark.parametrize(
    ("profile", "channels", "lr", "steps", "batch_size", "weights"),
    [
        ("paper", 64, 2e-4, None, 16, {"mse": 0.0}),
        ("sample", 16, 1e-3, 300, 8, {"mse": 0.0, "scale_refinement": 2.0}),
        ("tour", 8, 1e-3, 60, 8, {"mse": 0.0, "scale_refinement": 2.0}),
    ],
)
def test_profiles_extend_each_other(bare, tmp_path, profile, channels, lr, steps, batch_size, weights):
    resolved = recipe(loading.load(written(tmp_path), profile), "plain")
    assert resolved.network == {"channels": channels} and resolved.paper_network == {"channels": 64}
    assert (resolved.train.lr, resolved.train.steps, resolved.train.batch_size) == (lr, steps, batch_size)
    assert resolved.train.epochs == 50 and resolved.train.crop_size == 256
    assert resolved.train.weights == weights


@pytest.mark.parametrize(
    ("profile", "epochs", "steps", "lr"), [("paper", 9, None, 0.25), ("sample", 9, 5, 1e-3), ("tour", 9, 60, 1e-3)]
)
def test_what_a_run_says_of_a_profile_is_laid_on_what_its_method_says_there(bare, tmp_path, profile, epochs, steps, lr):
    """Not on what the method says of a profile that extends it: the paper's rate does not reach two cores."""
    own = with_run(
        train={"batch_size": 3},
        paper={"train": {"epochs": 9, "lr": 0.25, "batch_size": 5}},
        sample={"network": {"channels": 6}, "train": {"steps": 5}},
    )
    resolved = recipe(loading.load(written(tmp_path, own), profile), "plain")
    assert (resolved.train.epochs, resolved.train.steps, resolved.train.lr) == (epochs, steps, lr)
    assert resolved.network["channels"] == {"paper": 64, "sample": 6, "tour": 8}[profile]
    assert resolved.train.batch_size == 3 and resolved.paper_network == {"channels": 64}


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


def test_a_run_has_the_last_word(bare, tmp_path):
    own = with_run(network={"channels": 5}, train={"lr": 0.5, "weights": {"mse": 3.0}}, seed=9)
    resolved = recipe(loading.load(written(tmp_path, own), "tour"), "plain")
    assert resolved.network == {"channels": 5} and resolved.paper_network == {"channels": 5}
    assert (resolved.train.lr, resolved.train.steps, resolved.seed) == (0.5, 60, 9)
    assert resolved.train.weights == {"mse": 3.0, "scale_refinement": 2.0}


# Recipes next to methods ----------------------------------------------------------------------------------------------


@pytest.fixture
def method(tmp_path, monkeypatch) -> Path:
    """The path of a recipe: that of a method in a folder of its own, `plainnet`."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "plainnet.py").write_text((FILE.parent / "docs" / "examples" / "mine.py").read_text())
    monkeypatch.setenv(registry.FOLDER, str(folder))
    return folder / "plainnet.yaml"


def of_plainnet(folder: Path, **run: Any) -> Any:
    """The recipe of a run of `plainnet` in the profile sample."""
    entry = {"plain": {"method": "plainnet", "dataset": "gopro"} | run}
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"profile": "sample", "runs": {"all": entry}}))
    return recipe(loading.load(path), "plain")


RECIPE = """\
as: [one, two]
paper: {network: {channels: 64}, train: {lr: 0.1, epochs: 9, weights: {a: 1.0, b: 2.0}}}
sample: {network: {channels: 4}, train: {lr: 0.2, steps: 5}}
datasets:
  gopro: {paper: {train: {epochs: 70}}, train: {batch_size: 3}}
  places2: {train: {batch_size: 4}}
variants:
  narrow: {network: {channels: 2}, train: {weights: {b: null}}}
  named: {as: row, sample: {train: {lr: 0.3}}}
"""


def test_a_method_without_a_recipe_takes_the_defaults(tmp_path, method):
    resolved = of_plainnet(tmp_path)
    assert resolved.network == {} and resolved.train == Train()
    assert (resolved.row, resolved.also, resolved.title) == ("plainnet", (), "plainnet")


def test_a_recipe_is_read_next_to_its_method(tmp_path, method):
    method.write_text(RECIPE)
    resolved = of_plainnet(tmp_path)
    assert resolved.network == {"channels": 4} and resolved.paper_network == {"channels": 64}
    train = resolved.train
    assert (train.lr, train.steps, train.epochs, train.batch_size) == (0.2, 5, 70, 3)
    assert resolved.train.weights == {"a": 1.0, "b": 2.0}
    assert (resolved.row, resolved.also, resolved.title) == ("one", ("two",), "plainnet")


def test_a_variant_lays_its_values_on_the_recipe_and_names_row_and_title(tmp_path, method):
    method.write_text(RECIPE)
    narrow, named = (of_plainnet(tmp_path, variant=name) for name in ("narrow", "named"))
    assert narrow.network == narrow.paper_network == {"channels": 2}
    assert narrow.train.weights == {"a": 1.0}  # null takes b back
    assert (narrow.row, narrow.also, narrow.title) == ("plainnet-narrow", (), "plainnet (narrow)")
    assert (named.row, named.title, named.train.lr) == ("row", "plainnet (named)", 0.3)
    own = of_plainnet(tmp_path, variant="named", **{"as": "mine", "title": "Mine", "sample": {"train": {"lr": 0.4}}})
    assert (own.row, own.title, own.train.lr) == ("mine", "Mine", 0.4)


def test_an_unknown_variant_names_the_nearest(tmp_path, method):
    method.write_text(RECIPE)
    with pytest.raises(ParamsError, match=r"run plain: variant 'narow': plainnet has none .*; the nearest are: narrow"):
        of_plainnet(tmp_path, variant="narow")
    method.unlink()
    with pytest.raises(ParamsError, match=r"the nearest are: none, its recipe has no variants"):
        of_plainnet(tmp_path, variant="narrow")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("papr: {}", r"plainnet\.yaml: papr: unknown key; the nearest are: paper"),
        ("variants: {a: {netwrk: {}}}", r"plainnet\.yaml: variants\.a\.netwrk: unknown key; the nearest are: network"),
        ("paper: [", r"plainnet\.yaml: not YAML"),
        ("paper: {}\npaper: {}", r"key 'paper' is given twice"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_with_its_place(tmp_path, method, text, message):
    method.write_text(text)
    with pytest.raises(ParamsError, match=message):
        of_plainnet(tmp_path)


def values_below(values: Any, below: Any, place: str) -> list[str]:
    """Return the places of values that equal what they are laid upon. A schedule is one value."""
    if isinstance(values, dict) and isinstance(below, dict) and not place.endswith(".schedule"):
        shared = [key for key in values if key in below]
        return [text for key in shared for text in values_below(values[key], below[key], f"{place}.{key}")]
    return [place] if values == below else []


@pytest.mark.parametrize("name", registry.names("methods"))
def test_no_recipe_repeats_a_value_that_it_would_have_anyway(name):
    loaded = loading.load(FILE)
    networks = registry.method(name).networks
    arguments = {p.name: p.default for p in inspect.signature(networks).parameters.values()} if networks else {}
    recipe_of = recipes.method_recipe(name)
    below: dict[str, Any] = {"network": arguments, "train": Train().model_dump(mode="json")}
    for profile in ("paper", "sample", "tour"):
        below = merged(below, loaded.defaults[profile].model_dump(exclude_unset=True))
        part = getattr(recipe_of, profile).model_dump(exclude_unset=True)
        assert values_below(part, below, f"{name}: {profile}") == []
        below = merged(below, part)
    for variant, part in recipe_of.variants.items():
        assert values_below(part.network, arguments | recipe_of.paper.network, f"{name}: variants.{variant}") == []


# Profiles -------------------------------------------------------------------------------------------------------------


def test_the_profile_is_the_arguments_the_environments_or_the_files(tmp_path, monkeypatch):
    path = written(tmp_path)
    assert loading.load(path).profile == "sample"
    monkeypatch.setenv("SHARPBENCH_PROFILE", "tour")
    assert loading.load(path).profile == "tour"
    assert loading.load(path, "paper").profile == "paper"


@pytest.mark.parametrize("profile", ["papr", "PAPER", ""])
def test_an_unknown_profile_is_refused(tmp_path, monkeypatch, profile):
    path = written(tmp_path, {"profile": profile})
    with pytest.raises(ParamsError, match=rf"{path}: profile: found '{profile}', the nearest are: .*paper"):
        loading.load(path)
    if profile:
        monkeypatch.setenv("SHARPBENCH_PROFILE", profile)
        with pytest.raises(ParamsError, match=f"profile: found '{profile}'"):
            loading.load(written(tmp_path))


def test_dataset_options_follow_the_profile(tmp_path):
    gopro = {"originals": {"response": "linear"}, "offline": {"draws": 6, "max_side": 320}, "tour": {"draws": 2}}
    path = written(tmp_path, {"datasets": {"gopro": gopro}})
    assert dataset_options(loading.load(path), "gopro", originals=False) == {"draws": 6, "max_side": 320}
    assert dataset_options(loading.load(path, "tour"), "gopro", originals=False) == {"draws": 2, "max_side": 320}
    assert dataset_options(loading.load(path, "tour"), "gopro", originals=True) == {"response": "linear"}
    assert dataset_options(loading.load(path), "kohler", originals=False) == {}


def test_evaluation_merges_along_the_profiles(tmp_path):
    given = {"evaluate": {"paper": {"metrics": ["mae"], "keep_images": 4}, "sample": {"keep_images": 1}}}
    found = evaluation(loading.load(written(tmp_path, given)))
    assert (found.metrics, found.keep_images, found.timing_repeats) == (["mae"], 1, 3)


# Runs -----------------------------------------------------------------------------------------------------------------


def test_an_unknown_run_gives_the_nearest(tmp_path):
    with pytest.raises(ParamsError, match="no run 'plian'; the nearest are: plain"):
        recipe(loading.load(written(tmp_path)), "plian")


def test_an_unknown_method_or_dataset_of_a_run_gives_the_nearest(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(method="mrfnt")))
    with pytest.raises(UserError, match=r"no entry 'mrfnt' in methods/; the nearest are: mrfnet"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(dataset="gorpo")))
    with pytest.raises(UserError, match=r"no entry 'gorpo' in datasets/; the nearest are: gopro"):
        runs.resolve(loaded, "plain")


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ParamsError, match=r"task: .*no task 'deblurr'; expected one of deblur, inpaint, sharp-inpaint"):
        loading.load(written(tmp_path, with_run(task="deblurr")))


def test_a_task_that_method_or_dataset_does_not_serve_is_refused(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(task="dual-pixel")))
    with pytest.raises(ParamsError, match="mrfnet does deblur, gopro serves deblur, the run asks for dual-pixel"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(dataset="canon-dp")))
    with pytest.raises(ParamsError, match=r"mrfnet does deblur, canon-dp serves dual-pixel$"):
        runs.resolve(loaded, "plain")


def reach(rounds: int, num_paths: int = 4) -> int:
    return 10 * rounds + num_paths


def test_a_margin_may_depend_on_the_networks_arguments():
    plain = registry.method("mrfnet")
    method = replace(plain, margin=reach)
    assert runs.settled(method, {"channels": 8, "rounds": 3}).margin == 34
    assert runs.settled(method, {"num_paths": 2, "rounds": 1}).margin == 12
    for fixed in (None, 7):
        method = replace(plain, margin=fixed)
        assert runs.settled(method, {"channels": 8}) is method


@pytest.mark.parametrize(("arguments", "margin"), [({}, 219), ({"num_paths": 1}, 11), ({"residual": False}, 131)])
def test_a_loaded_run_is_tiled_by_the_margin_of_its_own_network(tmp_path, arguments, margin):
    loaded = loading.load(written(tmp_path, {"paths": {"out": str(tmp_path / "out")}}))
    place = folders.run_folder(loaded, "plain")
    place.mkdir(parents=True)
    torch.manual_seed(0)
    arguments = {"channels": 4} | arguments
    networks = nn.ModuleDict(registry.method("mrfnet").networks(**arguments))
    save_file(networks.state_dict(), place / runs.WEIGHTS)
    write_record(place / RECORD, replace(record_of(Spec("mrfnet", "gopro", "deblur", 29.0)), network=arguments))
    trained = runs.load(loaded, "plain")
    assert trained.method.margin == margin
    batch = {"x": torch.rand(1, 3, 64, 640)}
    whole, tiled = (
        restore(trained.method, trained.networks, batch),
        restore(trained.method, trained.networks, batch, 0, 64),
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


# Searches -------------------------------------------------------------------------------------------------------------


def with_search(weights: Any = None, **changes: Any) -> dict[str, Any]:
    search = {"method": "mrfnet", "dataset": "gopro", "of": {"group": "deblur", "run": "plain"}}
    weights = {"mse": {"low": 0.1, "high": 10.0}} if weights is None else weights
    return {"searches": {"one": {"plain-searched": search | {"weights": weights} | changes}}}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (with_search({"mse": {"low": 2.0, "high": 1.0}}), r"mse: found .*; expected low below high, both above 0"),
        (with_search({"mse": {"low": 2.0}}), r"mse: found .*; expected low below high, both above 0"),
        (with_search({"mse": {"low": 0.0, "high": 1.0}}), r"mse\.low: found 0\.0; input should be greater than 0"),
        (with_search({"mse": {"low": "1e-3", "high": 1.0}}), r"mse\.low: found '1e-3'.*write 1\.0e-4"),
        (with_search({"mse": {}}), r"mse: found \{\}; give low and high, or a number, or `of` another"),
        (with_search({"mse": {"low": 0.1, "high": 1.0, "of": "a"}}), r"mse: found .*; give low and high, or a number"),
        (with_search({"mse": {"value": 1.0, "times": 2.0}}), r"mse: found .*; `times` goes with `of`"),
        (with_search({"mse": -1.0}), r"mse\.value: found -1\.0; input should be greater than or equal to 0"),
        (with_search({"mse": {"hihg": 1.0}}), r"mse\.hihg: unknown key; the nearest are: high"),
        (with_search({"mse": 1.0}), r"searches\.one\.plain-searched: nothing is searched; give at least one weight"),
        (
            with_search({"mse": {"low": 0.1, "high": 1.0}, "b": {"of": "mes"}}),
            r"plain-searched\.weights\.b\.of: no number 'mes' here; the nearest are: mse",
        ),
        (
            with_search({"a": {"of": "b"}, "b": {"of": "c"}, "c": {"of": "b"}}),
            r"plain-searched\.weights\.a\.of: goes in a circle: a of b of c of b",
        ),
        (with_search(of={"group": "deblr", "run": "plain"}), r"of: no group 'deblr' of runs; the nearest are: deblur"),
        (
            with_search(of={"group": "deblur", "run": "plian"}),
            r"of: no run 'plian' in group 'deblur'; the nearest are: plain",
        ),
        (with_search(method="rn"), r"plain-searched\.method: found 'rn', expected 'mrfnet' as in run plain"),
        (with_search(dataset="places2"), r"plain-searched\.dataset: found 'places2', expected 'gopro' as in run plain"),
        ({"search": {"sample": {"rungs": [0.5, 0.2]}}}, r"search\.sample: found .*rungs: expected shares that rise"),
        (
            {"search": {"sample": {"rungs": [1.0]}}},
            r"search\.sample\.rungs\.0: found 1\.0; input should be less than 1",
        ),
        ({"search": {"sample": {"validation": 1.0}}}, r"validation: found 1\.0; input should be less than 1"),
        ({"search": {"sample": {"trails": 3}}}, r"search\.sample\.trails: unknown key; the nearest are: trials"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path, search, message):
    with pytest.raises(ParamsError, match=message):
        loading.load(written(tmp_path, search))


def test_a_second_search_of_a_run_and_a_name_that_is_taken_are_refused(tmp_path):
    one = with_search()["searches"]["one"]["plain-searched"]
    with pytest.raises(ParamsError, match=r"of: a second search of run plain; one run has one search"):
        loading.load(written(tmp_path, with_search(), {"searches": {"two": {"again": one}}}))
    with pytest.raises(ParamsError, match="two runs have the name 'plain'"):
        loading.load(written(tmp_path, {"searches": {"one": {"plain": one}}}))


def test_settings_of_a_search_follow_profiles_and_its_own_have_the_last_word(tmp_path):
    shared = {"search": {"paper": {"trials": 50, "share": 0.1}, "sample": {"trials": 9}}}
    own = with_search(settings={"paper": {"rungs": []}, "sample": {"share": 0.4}})
    loaded = loading.load(written(tmp_path, shared, own))
    found = search_settings(loaded, find_search(loaded, "plain")[1])
    assert (found.trials, found.share, found.rungs, found.metric) == (9, 0.4, (), "psnr-rgb8")


def test_a_winner_is_its_base_run_with_what_was_found(bare, tmp_path):
    loaded = loading.load(written(tmp_path, with_search(), {"paths": {"out": str(tmp_path / "out")}}))
    assert base_recipe(loaded, "plain-searched").title == "mrfnet (searched)"
    path = search_folder(loaded, "plain") / values.WINNER
    with pytest.raises(
        ParamsError, match=rf"{path}: run plain has not been searched yet in profile sample; run: python"
    ):
        recipe(loaded, "plain-searched")
    path.parent.mkdir(parents=True)
    path.write_text("[1")
    with pytest.raises(ParamsError, match=rf"{path}: not YAML: "):
        recipe(loaded, "plain-searched")
    path.write_text("train: {lr: 0.5}")
    with pytest.raises(ParamsError, match=rf"{path}: not written by a search: `train` with `searched` is missing"):
        recipe(loaded, "plain-searched")
    searched = {"run": "plain", "study": "abc", "trial": 3, "mlflow_run": "def"}
    path.write_text(yaml.safe_dump({"train": {"weights": {"mse": 0.25}, "searched": searched}}))
    found, base = recipe(loaded, "plain-searched"), recipe(loaded, "plain")
    assert found.train.weights == {"mse": 0.25, "scale_refinement": 2.0}
    assert found.train.searched is not None and found.train.searched.model_dump() == searched
    assert (found.name, found.title, found.row, found.network) == (
        "plain-searched",
        "mrfnet (searched)",
        *(base.row, base.network),
    )
    assert found.train.model_dump(exclude={"weights", "searched"}) == base.train.model_dump(
        exclude={"weights", "searched"}
    )


def test_nobody_but_a_search_says_that_weights_were_searched(tmp_path):
    made = {"run": "plain", "study": "abc", "trial": 3, "mlflow_run": "def"}
    with pytest.raises(ParamsError, match=r"recipe of run plain in profile sample: searched: a search writes it"):
        recipe(loading.load(written(tmp_path, with_run(train={"searched": made}))), "plain")


def test_a_recipe_survives_its_own_json():
    train = recipe(loading.load(FILE, "paper"), "edgeconnect-paris").train
    assert checked(Train, train.model_dump(mode="json"), "here") == train


def test_registry_names_are_hyphened_and_leave_shared_files_out():
    assert "paris-streetview" in registry.names("datasets") and "edgeconnect" in registry.names("methods")
    assert not [name for name in registry.names("methods") if name.startswith(("-", "_"))]
    assert registry.module_name("datasets", "paris-streetview") == "datasets.paris_streetview"
