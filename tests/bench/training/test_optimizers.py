"""Optimisers, learning rates, clipped gradients and precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bench.contracts import supervised
from bench.params.recipe_schema import Schedule, Train
from bench.training.optimizers import make_optimizer, rate_factor
from tests.bench.training.toys import Toy, toy_training, two_phases, weights_of


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), {0: 1, 99: 1}),
        (Schedule(kind="step", every_steps=10, factor=0.1), {0: 1, 9: 1, 10: 0.1, 25: 0.01}),
        (Schedule(kind="step", every_epochs=2, factor=0.5), {13: 1, 14: 0.5, 28: 0.25}),  # 7 steps per epoch
        (Schedule(kind="cosine"), {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0}),
        (Schedule(kind="linear", start=0.5), {0: 1, 50: 1, 75: 0.5, 99: 0.02}),
        (Schedule(kind="linear", start=0.0), {0: 1, 20: 0.8}),
        (Schedule(kind="linear", start=1.0), {0: 1, 99: 1}),
        (Schedule(warmup_steps=4), {0: 0.25, 1: 0.5, 3: 1, 4: 1}),
    ],
)
def test_factors_of_the_learning_rate(schedule, expected):
    assert {step: rate_factor(schedule, step, 100, 7) for step in expected} == pytest.approx(expected)


def test_each_phase_starts_its_schedule_again_and_a_player_keeps_its_rate(built, tmp_path):
    training = toy_training(
        built, tmp_path / "a", two_phases(), lr=0.1, players={"network": {"lr": 0.01}},
        phases={"one": 4, "two": 2}, schedule=Schedule(kind="linear", start=0.0),
    )  # fmt: skip
    rates = []
    training.run(after_step=lambda total: rates.append(training.state.optimizers["network"].param_groups[0]["lr"]))
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.01, 0.005])


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimisers_follow_the_recipe_and_the_player(name, kind):
    train = Train(
        optimizer=name, lr=0.1, betas=(0.8, 0.9), weight_decay=0.2, players={"critic": {"lr": 0.3, "betas": (0.1, 0.2)}}
    )
    parameters = [nn.Parameter(torch.zeros(1))]
    common, critic = (make_optimizer(train, player, parameters) for player in ("generator", "critic"))
    assert type(common) is kind and (common.defaults["lr"], critic.defaults["lr"]) == (0.1, 0.3)
    assert common.defaults["weight_decay"] == 0.2
    key = "momentum" if name == "sgd" else "betas"
    expected = (0.8, 0.1) if name == "sgd" else ((0.8, 0.9), (0.1, 0.2))
    assert (common.defaults[key], critic.defaults[key]) == expected


def test_gradients_are_clipped_to_the_norm(built, tmp_path):
    training = toy_training(
        built, tmp_path / "a", optimizer="sgd", betas=(0.0, 0.0), lr=1.0, steps=1, clip_grad_norm=0.05,
        weights={"error": 1000.0},
    )  # fmt: skip
    before = torch.cat([p.detach().flatten().clone() for p in training.state.networks.parameters()])
    training.run()
    after = torch.cat([p.detach().flatten() for p in training.state.networks.parameters()])
    assert (after - before).norm() == pytest.approx(0.05, rel=1e-3)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(built, tmp_path):
    kinds = set()

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        kinds.add(pred.dtype)
        return (pred.float() - target).square().mean()

    training = toy_training(built, tmp_path / "a", supervised("deblur", Toy, error), precision="bfloat16", lr=0.01)
    before = weights_of(training)["network.conv.weight"]
    training.run()
    assert kinds == {torch.bfloat16}
    after = weights_of(training)["network.conv.weight"]
    assert after.dtype == torch.float32 and torch.isfinite(after).all() and not torch.equal(before, after)
