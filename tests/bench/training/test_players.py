"""Players: their updates, their gradients, the weights of their losses, and the losses that a run keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.contracts import ParamsError, supervised
from bench.training import loss_log
from bench.training.weighting import weighted_sum
from tests.bench.training.toys import Toy, error, toy_training, two_players, weights_of


def test_updates_of_a_critic_per_batch_are_counted(built, tmp_path):
    critic_calls = []

    def critic(networks, batch, outputs):
        critic_calls.append(outputs["pred"].detach().clone())
        return {"score": networks["critic"](outputs["pred"].detach()).mean()}

    def generator(networks, batch, outputs):
        return {"error": error(outputs["pred"], batch["target"])}

    state = toy_training(built, tmp_path / "a", two_players(critic, generator, updates=5), steps=3).run()
    updates = {
        name: {int(s["step"]) for s in optimizer.state_dict()["state"].values()}
        for name, optimizer in state.optimizers.items()
    }
    assert updates == {"critic": {15}, "generator": {3}} and len(critic_calls) == 1 + 15
    assert all(torch.equal(critic_calls[1], call) for call in critic_calls[1:6])
    fewer = toy_training(
        built, tmp_path / "b", two_players(critic, generator, 5), steps=3, players={"critic": {"updates": 2}}
    ).run()
    assert int(next(iter(fewer.optimizers["critic"].state_dict()["state"].values()))["step"]) == 6


@pytest.mark.parametrize("still", ["critic", "generator"])
def test_the_gradients_of_one_player_never_change_the_others_networks(built, tmp_path, still):
    def through_both(networks, batch, outputs):  # not detached: it could reach the generator
        return {"score": networks["critic"](outputs["pred"]).square().mean() + error(outputs["pred"], batch["target"])}

    def nothing(networks, batch, outputs):
        return {"score": 0 * sum(p.sum() for p in networks[still].parameters())}

    losses = {"critic": through_both, "generator": through_both, still: nothing}
    training = toy_training(
        built, tmp_path / "a", two_players(losses["critic"], losses["generator"]), optimizer="sgd", betas=(0, 0), lr=0.1
    )
    before = weights_of(training)
    training.run()
    for name, value in weights_of(training).items():
        assert torch.equal(before[name], value) == name.startswith(still)


def test_a_players_update_is_the_gradient_of_its_loss_alone(built, tmp_path):
    def critic(networks, batch, outputs):
        return {"score": networks["critic"](outputs["pred"].detach()).mean()}

    def generator(networks, batch, outputs):
        return {"score": -networks["critic"](outputs["pred"]).mean()}

    training = toy_training(
        built, tmp_path / "a", two_players(critic, generator), optimizer="sgd", betas=(0, 0), lr=0.1, steps=1,
        weights={"generator.score": 3.0},
    )  # fmt: skip
    start = {name: value.requires_grad_() for name, value in weights_of(training).items()}
    training.run()
    x = training.setup.crops.batch(0, 2)["x"]

    def conv(name: str, x: torch.Tensor, padding: int) -> torch.Tensor:
        return nn.functional.conv2d(x, start[f"{name}.weight"], start[f"{name}.bias"], padding=padding)

    pred = conv("generator", x, 1)
    critic_parameters = [start["critic.weight"], start["critic.bias"]]
    grads = torch.autograd.grad(conv("critic", pred.detach(), 0).mean(), critic_parameters)
    expected = [p.detach() - 0.1 * g for p, g in zip(critic_parameters, grads, strict=True)]
    score = -3.0 * nn.functional.conv2d(pred, expected[0], expected[1]).mean()
    generator_parameters = [start["generator.weight"], start["generator.bias"]]
    grads = torch.autograd.grad(score, generator_parameters)
    expected += [p.detach() - 0.1 * g for p, g in zip(generator_parameters, grads, strict=True)]
    names = ["critic.weight", "critic.bias", "generator.weight", "generator.bias"]
    for name, value in zip(names, expected, strict=True):
        assert torch.allclose(weights_of(training)[name], value, atol=1e-7), name


# Losses ---------------------------------------------------------------------------------------------------------------


def test_losses_are_weighted_by_player_then_by_name_then_by_one():
    values = {"l1": torch.tensor(2.0), "adversarial": torch.tensor(3.0), "tv": torch.tensor(5.0)}
    weights = {"l1": 10.0, "adversarial": 100.0, "generator.adversarial": 0.5}
    assert weighted_sum(values, weights, "generator") == 20 + 1.5 + 5
    assert weighted_sum(values, weights, "critic") == 20 + 300 + 5


def test_watched_losses_are_logged_and_neither_weighted_nor_minimised(built, tmp_path):
    def losses(pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"error": error(pred, target), "scale_1": 1000 * error(pred, target).detach(), "scale_2": pred.sum()}

    method = supervised("deblur", Toy, losses, watched=("scale_1", "scale_2"))
    logged: list[Any] = []
    watched = toy_training(built, tmp_path / "a", method, weights={"error": 2.0})
    history = watched.run(logged.extend).losses.history
    plain = toy_training(built, tmp_path / "b", supervised("deblur", Toy, error), weights={"error": 2.0})
    plain.run()
    for name, value in weights_of(plain).items():
        assert torch.equal(value, weights_of(watched)[name])
    first = {loss.name: loss.value for loss in history[:4]}
    assert set(first) == {"error", "scale_1", "scale_2", "total"}
    assert first["total"] == pytest.approx(2 * first["error"])
    assert first["scale_1"] == pytest.approx(1000 * first["error"])
    assert {point[0] for point in logged} >= {"loss.network.scale_1", "loss.network.scale_2"}
    for weight in ("scale_1", "network.scale_2"):
        with pytest.raises(ParamsError, match=rf"train\.weights\.{weight}: this loss is only logged, for its curve"):
            toy_training(built, tmp_path / weight, method, weights={weight: 1.0})


def test_kept_losses_of_a_long_training_are_evenly_spaced(built, tmp_path, monkeypatch):
    monkeypatch.setattr(loss_log, "KEPT_STEPS", 4)
    logged: list[Any] = []
    history = toy_training(built, tmp_path / "a", steps=14).run(logged.extend).losses.history
    assert [loss.step for loss in history if loss.name == "total"] == [0, 3, 6, 9, 12, 13]
    assert [point[2] for point in logged if point[0] == "loss.network.total"] == [0, 3, 6, 9, 12, 13]
