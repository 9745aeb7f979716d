"""What a run, a dataset and an evaluation get in the chosen profile."""

from __future__ import annotations

import pytest

from bench.contracts import ParamsError
from bench.params import loading
from bench.params.resolving import (
    dataset_options,
    evaluation,
    recipe,
)
from tests.bench.params.toys import with_run, written


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
    run = with_run(
        train={"batch_size": 3},
        paper={"train": {"epochs": 9, "lr": 0.25, "batch_size": 5}},
        sample={"network": {"channels": 6}, "train": {"steps": 5}},
    )
    resolved = recipe(loading.load(written(tmp_path, run), profile), "plain")
    assert (resolved.train.epochs, resolved.train.steps, resolved.train.lr) == (epochs, steps, lr)
    assert resolved.network["channels"] == {"paper": 64, "sample": 6, "tour": 8}[profile]
    assert resolved.train.batch_size == 3 and resolved.paper_network == {"channels": 64}


def test_a_run_has_the_last_word(bare, tmp_path):
    run = with_run(network={"channels": 5}, train={"lr": 0.5, "weights": {"mse": 3.0}}, seed=9)
    resolved = recipe(loading.load(written(tmp_path, run), "tour"), "plain")
    assert resolved.network == {"channels": 5} and resolved.paper_network == {"channels": 5}
    assert (resolved.train.lr, resolved.train.steps, resolved.seed) == (0.5, 60, 9)
    assert resolved.train.weights == {"mse": 3.0, "scale_refinement": 2.0}


def test_dataset_options_follow_the_profile(tmp_path):
    gopro = {"originals": {"response": "linear"}, "offline": {"draws": 6, "max_side": 320}, "tour": {"draws": 2}}
    path = written(tmp_path, {"datasets": {"gopro": gopro}})
    assert dataset_options(loading.load(path), "gopro", originals=False) == {"draws": 6, "max_side": 320}
    assert dataset_options(loading.load(path, "tour"), "gopro", originals=False) == {"draws": 2, "max_side": 320}
    assert dataset_options(loading.load(path, "tour"), "gopro", originals=True) == {"response": "linear"}
    assert dataset_options(loading.load(path), "kohler", originals=False) == {}


def test_evaluation_merges_along_the_profiles(tmp_path):
    given = {"evaluate": {"paper": {"metrics": ["mae"], "keep_images": 4}, "sample": {"keep_images": 1}}}
    merged_evaluation = evaluation(loading.load(written(tmp_path, given)))
    assert (merged_evaluation.metrics, merged_evaluation.keep_images, merged_evaluation.timing_repeats) == (
        ["mae"],
        1,
        3,
    )


def test_an_unknown_run_gives_the_nearest(tmp_path):
    with pytest.raises(ParamsError, match="no run 'plian'; the nearest are: plain"):
        recipe(loading.load(written(tmp_path)), "plian")
