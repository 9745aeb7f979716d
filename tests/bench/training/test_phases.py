"""Phases: their lengths, the share of them that is done, as batches hold it, and phases that a run does not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.contracts import Method, ParamsError, Phase, Player
from bench.training.phases import absent_phases, phase_steps
from bench.training.state import initial_state
from tests.bench.training.toys import TOY, changed, error, toy_recipe, toy_setup, toy_training


def test_lengths_of_phases():
    two = Method(("deblur",), None, {"a": TOY.phases["train"], "b": TOY.phases["train"]}, TOY.restore)
    assert phase_steps(toy_recipe(), TOY, 7) == {"train": 3}
    assert phase_steps(toy_recipe(steps=None, epochs=4), TOY, 7) == {"train": 28}
    assert phase_steps(toy_recipe(phases={"b": 5}), two, 7) == {"a": 0, "b": 5}
    for recipe, method, message in [
        (toy_recipe(steps=None), TOY, "run toy: train: give steps or epochs"),
        (toy_recipe(), two, r"run toy: train\.phases: give the steps of a, b"),
        (toy_recipe(phases={"a": 0}), two, r"train\.phases: 0 steps in all, expected 1 or more"),
    ]:
        with pytest.raises(ParamsError, match=message):
            phase_steps(recipe, method, 7)


def test_a_batch_holds_the_share_of_its_phase_that_is_done(built, tmp_path):
    shares: list[torch.Tensor] = []

    def forward(networks, batch):
        shares.append(batch["progress"])
        return TOY.phases["train"].forward(networks, batch)

    phase = Phase(forward, TOY.phases["train"].players)
    method, phases = changed(TOY, phases={"one": phase, "two": phase}), {"one": 4, "two": 2}
    toy_training(built, tmp_path / "a", method, phases=phases).run()
    assert all(value.shape == () and value.dtype == torch.float32 for value in shares)
    # The rehearsal of both, then the steps.
    assert [float(value) for value in shares] == [0, 0, 0, 0.25, 0.5, 0.75, 0, 0.5]

    def stop(total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_training(built, tmp_path / "b", method, checkpoint_seconds=0, phases=phases).run(after_step=stop)
    del shares[:]
    toy_training(built, tmp_path / "b", method, phases=phases).run()
    assert [float(value) for value in shares] == [0.25, 0.5, 0.75, 0, 0.5]


# Phases that a run does not have --------------------------------------------------------------------------------------


def staged(first: bool = True) -> dict[str, nn.Module]:
    return ({"first": nn.Conv2d(3, 3, 1)} if first else {}) | {"second": nn.Conv2d(3, 3, 1)}


def staged_phase(network: str, player: str, loss: str) -> Phase:
    return Phase(
        lambda nets, batch: {"pred": nets[network](batch["x"])},
        {player: Player((network,), lambda nets, batch, out: {loss: error(out["pred"], batch["target"])})},
    )


STAGED = Method(
    ("deblur",),
    staged,
    {"one": staged_phase("first", "early", "near"), "two": staged_phase("second", "late", "far")},
    lambda nets, batch: nets["second"](batch["x"]),
)
WITHOUT_FIRST: dict[str, Any] = {"first": False}


def test_a_phase_whose_network_a_run_does_not_have_is_left_out(built, tmp_path):
    phases, weights = {"one": 0, "two": 2}, {"near": 2.0, "early.near": 3.0, "late.far": 1.0}
    training = toy_training(built, tmp_path / "a", STAGED, network=WITHOUT_FIRST, phases=phases, weights=weights)
    assert training.state.trained == ("second",)
    assert absent_phases(STAGED, training.state.trained) == {"one": "first"}
    state = training.run()
    assert state.progress.total == 2
    assert {(loss.phase, loss.player) for loss in state.losses.history} == {("two", "late")}
    with pytest.raises(ParamsError, match=r"train\.weights\.late\.fr: no loss of this name"):
        toy_training(built, tmp_path / "b", STAGED, network=WITHOUT_FIRST, phases=phases, weights={"late.fr": 1.0})


def test_a_training_ends_when_its_last_phase_is_left_out(built, tmp_path):
    method = changed(STAGED, phases=dict(reversed(STAGED.phases.items())))
    options: dict[str, Any] = {"network": WITHOUT_FIRST, "phases": {"two": 2}}
    assert toy_training(built, tmp_path / "a", method, **options).run().progress.total == 2
    assert toy_training(built, tmp_path / "a", method, **options).run().progress.total == 2


def test_steps_of_a_phase_whose_network_a_run_does_not_have_are_refused(built, tmp_path):
    phases = {"one": 5, "two": 2}
    with pytest.raises(ParamsError) as caught:
        initial_state(toy_setup(built, tmp_path / "a", STAGED, network=WITHOUT_FIRST, phases=phases))
    assert str(caught.value) == (
        "params.yaml: run toy: train.phases.one: found 5 steps, expected 0: the phase trains the network first, which "
        "a run of these arguments does not have"
    )
    whole = toy_training(built, tmp_path / "b", STAGED, phases={"one": 1, "two": 1})
    assert absent_phases(STAGED, whole.state.trained) == {} and whole.run().progress.total == 2
