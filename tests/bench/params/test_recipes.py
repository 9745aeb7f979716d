"""Recipes next to methods, their variants, and how values are merged."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import registry
from bench.contracts import ParamsError
from bench.params import loading, recipes
from bench.params.recipe_schema import Train
from bench.params.recipes import merged
from bench.params.resolving import (
    recipe,
)
from tests.bench.params.toys import FILE


def test_merging_goes_mapping_by_mapping_and_replaces_everything_else_whole():
    base = {"a": 1, "b": {"c": [1, 2], "d": 3}, "e": {"f": 1}}
    assert merged(base, {"b": {"c": [9]}, "e": 5, "g": 7}) == {"a": 1, "b": {"c": [9], "d": 3}, "e": 5, "g": 7}
    assert base == {"a": 1, "b": {"c": [1, 2], "d": 3}, "e": {"f": 1}}


@pytest.fixture
def method(tmp_path, monkeypatch) -> Path:
    """The path of a recipe: that of the method `plainnet` in a separate folder."""
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
    overridden = of_plainnet(
        tmp_path, variant="named", **{"as": "mine", "title": "Mine", "sample": {"train": {"lr": 0.4}}}
    )
    assert (overridden.row, overridden.title, overridden.train.lr) == ("mine", "Mine", 0.4)


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
    """Return the places of values that equal the value below them. A schedule is one value."""
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
