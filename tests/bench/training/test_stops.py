"""What stops a training: losses that diverge, and recipes that are refused before the first update."""

from __future__ import annotations

import math
import subprocess

import pytest
import torch
import yaml

from bench.contracts import Method, ParamsError, Phase, Player, UserError, supervised
from bench.training.train import _explained_memory_errors
from tests.bench.training.toys import (
    SHORT,
    SUPERVISED,
    TOY,
    Toy,
    changed,
    checkpoint_of,
    command,
    error,
    toy_recipe,
    toy_training,
    two_phases,
)


def failing_at(call: int, value: float) -> Method:
    """A toy whose loss becomes `value` at one call; the rehearsal is call 0."""
    calls = iter(range(10**6))

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        factor = value if next(calls) == call else 1.0
        return (pred - target).square().mean() * factor

    return supervised("deblur", Toy, error)


@pytest.mark.parametrize(("value", "printed"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite_stops_with_step_losses_and_checkpoint(built, tmp_path, value, printed):
    with pytest.raises(UserError) as caught:
        toy_training(built, tmp_path / "a", failing_at(3, value), steps=5).run()
    assert str(caught.value).startswith(
        f"toy: a loss of network is not finite at step 2 (phase train): error = {printed}, total = {printed}; "
        "no checkpoint yet."
    )
    checkpoint = tmp_path / "a" / "state.pt"
    with pytest.raises(UserError, match=rf"the last good checkpoint is {checkpoint}"):
        toy_training(built, tmp_path / "a", failing_at(3, value), checkpoint_seconds=0, steps=5).run()
    assert checkpoint_of(checkpoint.parent)["progress"]["total"] == 2


def exploding(factor: float) -> Method:
    """A toy whose loss is multiplied by `factor` from the sixth update on; the rehearsal is call 0."""
    calls = iter(range(10**6))

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (pred - target).square().mean() * (factor if next(calls) > 5 else 1.0)

    return supervised("deblur", Toy, error)


def test_a_loss_far_above_its_first_value_for_twenty_updates_stops_a_training(built, tmp_path):
    training = toy_training(built, tmp_path / "a", exploding(1e12), checkpoint_seconds=0, steps=40, lr=1e-9)
    with pytest.raises(UserError) as caught:
        training.run()
    checkpoint = tmp_path / "a" / "state.pt"
    assert str(caught.value).startswith("toy: a loss of network is far above its first value at step 24 (phase train)")
    assert f"the last good checkpoint is {checkpoint}" in str(caught.value)
    # None is written while the loss is too high.
    assert checkpoint_of(checkpoint.parent)["progress"]["total"] == 5
    state = toy_training(built, tmp_path / "b", exploding(1e3), steps=40, lr=1e-9).run()
    assert state.progress.total == 40


def test_a_misspelt_loss_weight_is_found_before_the_first_update(built, tmp_path):
    message = r"run toy: train\.weights\.eror: no loss of this name; the nearest are: error$"
    with pytest.raises(ParamsError, match=message):
        toy_training(built, tmp_path / "a", weights={"eror": 2.0})


def test_the_losses_of_later_phases_are_known_before_the_first_step(built, tmp_path):
    losses = {"network": Player(("network",), lambda n, b, o: {"late": error(o["pred"], b["target"])})}
    method = two_phases(Phase(TOY.phases["train"].forward, losses))
    training = toy_training(built, tmp_path / "a", method, phases={"one": 2, "two": 0}, weights={"network.late": 2.0})
    assert training.run().progress.total == 2
    with pytest.raises(ParamsError, match=r"train\.weights\.lte: no loss of this name; the nearest are: late"):
        toy_training(built, tmp_path / "b", method, phases={"one": 10**9}, weights={"lte": 2.0})


def test_an_augmentation_option_out_of_range_is_found_before_the_first_update(built, tmp_path):
    message = r"^params\.yaml: run toy: train\.augment: augmentation: rotate: found degrees 999, expected 0 to 180"
    with pytest.raises(ParamsError, match=message):
        toy_training(built, tmp_path / "a", augment=[{"rotate": {"degrees": 999}}])


def test_an_argument_that_the_network_refuses_is_named_with_its_run(built, tmp_path):
    def networks(channels: int = 3):
        raise ParamsError(f"toy: channels is {channels}, expected at least 4")

    with pytest.raises(ParamsError, match=r"^params\.yaml: run toy: network: toy: channels is 3, expected at least 4$"):
        toy_training(built, tmp_path / "a", changed(TOY, networks=networks))


def test_several_updates_of_the_player_that_restored_the_batch_are_refused(built, tmp_path):
    with pytest.raises(ParamsError, match=r"train\.players\.network\.updates: found 2, expected 1"):
        toy_training(built, tmp_path / "a", players={"network": {"updates": 2}})


def test_the_rehearsal_leaves_running_statistics_as_they_were(built, tmp_path):
    training = toy_training(built, tmp_path / "a")
    norm = training.state.networks["network"].norm
    assert norm.num_batches_tracked == 0 and norm.running_mean.abs().max() == 0
    training.run()
    assert norm.num_batches_tracked == 3


def test_an_error_of_the_devices_memory_names_what_to_lower():
    message = r"^toy: out of memory Lower train\.batch_size \(now 2\) or train\.crop_size \(24\)"
    with pytest.raises(UserError, match=message), _explained_memory_errors(toy_recipe()):
        raise torch.OutOfMemoryError("out of memory\nmore")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"weights": {"msse": 1.0}}, "run bad: train.weights.msse: no loss of this name; the nearest are: mse"),
        (
            {"augment": [{"rotate": {"degrees": 999}}]},
            "run bad: train.augment: augmentation: rotate: found degrees 999",
        ),
    ],
)
def test_a_recipe_that_cannot_start_leaves_no_run_in_the_store(project, tmp_path, train, message):
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["runs"] = {"deblur": {"bad": SUPERVISED | {"train": SHORT | {"steps": 2} | train}}}
    values["paths"] = {"data": str(project / "data")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(**command(tmp_path, "-m", "bench", "train", "bad"), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 2 and done.stderr.decode().count("\n") == 1
    assert message in done.stderr.decode()
    assert not list(tmp_path.glob("mlflow.db*")) and not list(tmp_path.glob("out/sample/runs/*"))
