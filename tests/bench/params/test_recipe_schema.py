"""The keys and values of a recipe: wrong ones are named with what was expected."""

from __future__ import annotations

import pytest
import yaml

from bench.contracts import ParamsError
from bench.params import loading
from bench.params.checks import checked
from bench.params.recipe_schema import Train
from bench.params.resolving import (
    recipe,
)
from tests.bench.params.toys import FILE, with_run, written


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


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"batch_size": "four"}, r"batch_size: found 'four'; input should be a valid integer$"),
        ({"batch_size": True}, r"batch_size: found True; input should be a valid integer$"),
        ({"batch_size": 2.5}, r"batch_size: found 2\.5; input should be a valid integer"),
        ({"batch_size": 0}, r"batch_size: found 0; input should be greater than 0$"),
        ({"lr": -1e-4}, r"lr: found -0\.0001; input should be greater than 0$"),
        ({"lr": 3.0}, r"lr: found 3\.0; input should be less than or equal to 1$"),
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


def test_a_recipe_survives_its_own_json():
    train = recipe(loading.load(FILE, "paper"), "edgeconnect-paris").train
    assert checked(Train, train.model_dump(mode="json"), "here") == train
