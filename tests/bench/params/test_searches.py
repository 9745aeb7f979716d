"""Searches in params.yaml: what is refused, their settings, and the run of a winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import folders
from bench.contracts import ParamsError
from bench.files import sha256
from bench.hashes import write_sealed
from bench.params import loading, values
from bench.params.resolving import (
    base_recipe,
    find_search,
    recipe,
    search_settings,
)
from tests.bench.params.toys import with_run, written
from tests.images import flip_byte


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
    search = with_search()["searches"]["one"]["plain-searched"]
    with pytest.raises(ParamsError, match=r"of: a second search of run plain; one run has one search"):
        loading.load(written(tmp_path, with_search(), {"searches": {"two": {"again": search}}}))
    with pytest.raises(ParamsError, match="two runs have the name 'plain'"):
        loading.load(written(tmp_path, {"searches": {"one": {"plain": search}}}))


def test_settings_of_a_search_follow_profiles_and_its_own_have_the_last_word(tmp_path):
    shared = {"search": {"paper": {"trials": 50, "share": 0.1}, "sample": {"trials": 9}}}
    search = with_search(settings={"paper": {"rungs": []}, "sample": {"share": 0.4}})
    loaded = loading.load(written(tmp_path, shared, search))
    settings = search_settings(loaded, find_search(loaded, "plain")[1])
    assert (settings.trials, settings.share, settings.rungs, settings.metric) == (9, 0.4, (), "psnr-rgb8")


def write_winner(path: Path, text: str, run: str = "plain") -> None:
    """Write what a search found, and the study that lists its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    write_sealed(path.with_name(values.STUDY), {"run": run, "files": {values.WINNER: sha256(path)}})


def test_a_winner_is_its_base_run_with_what_was_found(bare, tmp_path):
    loaded = loading.load(written(tmp_path, with_search(), {"paths": {"out": str(tmp_path / "out")}}))
    assert base_recipe(loaded, "plain-searched").title == "mrfnet (searched)"
    path = folders.search_folder(loaded, "plain") / values.WINNER
    with pytest.raises(
        ParamsError, match=rf"{path}: run plain has not been searched yet in profile sample; run: python"
    ):
        recipe(loaded, "plain-searched")
    write_winner(path, "[1")
    with pytest.raises(ParamsError, match=rf"{path}: not YAML: "):
        recipe(loaded, "plain-searched")
    write_winner(path, "train: {lr: 0.5}")
    with pytest.raises(ParamsError, match=rf"{path}: not written by a search: `train` with `searched` is missing"):
        recipe(loaded, "plain-searched")
    searched = {"run": "plain", "study": "abc", "trial": 3, "mlflow_run": "def"}
    write_winner(path, yaml.safe_dump({"train": {"weights": {"mse": 0.25}, "searched": searched}}))
    winner, base = recipe(loaded, "plain-searched"), recipe(loaded, "plain")
    assert winner.train.weights == {"mse": 0.25, "scale_refinement": 2.0}
    assert winner.train.searched is not None and winner.train.searched.model_dump() == searched
    assert (winner.name, winner.title, winner.row, winner.network) == (
        "plain-searched",
        "mrfnet (searched)",
        *(base.row, base.network),
    )
    assert winner.train.model_dump(exclude={"weights", "searched"}) == base.train.model_dump(
        exclude={"weights", "searched"}
    )


@pytest.mark.parametrize("kind", ["one byte", "another number", "another study", "no study", "a changed study"])
def test_a_winner_that_has_changed_is_refused(bare, tmp_path, kind):
    loaded = loading.load(written(tmp_path, with_search(), {"paths": {"out": str(tmp_path / "out")}}))
    path = folders.search_folder(loaded, "plain") / values.WINNER
    searched = {"run": "plain", "study": "abc", "trial": 3, "mlflow_run": "def"}
    write_winner(path, yaml.safe_dump({"train": {"weights": {"mse": 0.25}, "searched": searched}}))
    assert recipe(loaded, "plain-searched").train.weights["mse"] == 0.25
    study = path.with_name(values.STUDY)
    if kind == "one byte":
        flip_byte(path)
    elif kind == "another number":
        path.write_text(path.read_text().replace("0.25", "0.26"))
    elif kind == "another study":
        write_winner(path, path.read_text(), "other")
    elif kind == "no study":
        study.unlink()
    else:
        study.write_text(study.read_text().replace("plain", "plaid"))
    with pytest.raises(ParamsError, match=r"(winner\.yaml|study\.json): .*; run: python -m bench search plain$"):
        recipe(loaded, "plain-searched")


def test_nobody_but_a_search_says_that_weights_were_searched(tmp_path):
    made = {"run": "plain", "study": "abc", "trial": 3, "mlflow_run": "def"}
    with pytest.raises(ParamsError, match=r"recipe of run plain in profile sample: searched: a search writes it"):
        recipe(loading.load(written(tmp_path, with_run(train={"searched": made}))), "plain")
