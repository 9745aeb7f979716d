"""DFFNet: its sizes, its three stages in a row, its ablations and its recipe."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods import dffnet
from methods.dffnet import (
    insides,
    method,
    restore,
)
from tests.methods.dffnet_toys import STAGES, Brighter, Fill, Keep, blurred_holes, tiny
from tests.methods.schedules import epochs, learning_rate

FULL = {
    "stage_one": 5_428_524,  # MRFNet
    "edge_generator": 10_761_089,  # EdgeConnect's
    "edge_critic": 2_762_752,
    "stage_two": 20_437_146,  # refinenet1101 of the code
    "stage_three": 170_980,
    "critic": 5_946_816,  # 1,600 more than with 3 channels: 64 5x5 kernels for the mask
}


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        ({}, {}),
        ({"deblur": False}, {"stage_one": None}),
        ({"modules": 1}, {"stage_two": 17_638_794}),  # refinenet of the code
        ({"progressive": False}, {}),
        ({"light": False, "residual": False}, {"stage_one": 9_014_124}),
        ({"light": False}, {"stage_one": 9_401_644}),
        ({"residual": False}, {"stage_one": 5_041_004}),
        ({"attention": "contextual"}, {}),
    ],
)
def test_parameters_of_every_variant(arguments, change):
    narrow = {"edge_channels": 4, "critic_channels": 4} if arguments else {}  # no switch reaches these
    made = method.networks(**(arguments | narrow))
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in made.items()}
    expected = {name: count for name, count in (FULL | change).items() if count is not None}
    assert counts.keys() == expected.keys()
    compared = STAGES if arguments else expected
    assert {name: counts.get(name) for name in compared} == {name: expected.get(name) for name in compared}


def test_the_residual_switch_reaches_stage_two_whose_weights_stay_the_same():
    with_sums, without = tiny(), tiny(residual=False)
    batch = blurred_holes()
    without["stage_two"].load_state_dict(with_sums["stage_two"].state_dict())
    pair = [networks["stage_two"](batch["x"], batch["mask"])[0] for networks in (with_sums, without)]
    assert not torch.equal(*pair)


@pytest.mark.parametrize("arguments", [{"deblur": False}, {"modules": 1}, {"attention": "contextual"}])
def test_every_variant_trains_and_restores(arguments):
    networks, batch = tiny(**arguments), blurred_holes()
    for name, phase in method.phases.items():
        if all(net in networks for player in phase.players.values() for net in player.networks):
            outputs = phase.forward(networks, batch)
            result = [player.losses(networks, batch, outputs) for player in phase.players.values()]
            assert all(value.isfinite() for losses in result for value in losses.values()), name
    with torch.no_grad():
        assert restore(networks.eval(), {"x": batch["x"], "mask": batch["mask"]}).shape == batch["x"].shape


@pytest.mark.parametrize("deblur", [True, False])
@pytest.mark.parametrize("how", ["restore", "fuse", "together"])
def test_known_pixels_of_both_images_stay_and_the_hole_is_stage_twos(how, deblur):
    """R is the deblurred image outside the hole, B the blurred one; inside, both are what stage two gives."""
    batch, fill, keep = blurred_holes(), Fill(), Keep()
    networks = nn.ModuleDict({"stage_two": fill, "stage_three": keep} | ({"stage_one": Brighter()} if deblur else {}))
    known = (batch["mask"] == 0).expand_as(batch["x"])
    if how == "restore":
        restore(networks, {"x": batch["x"], "mask": batch["mask"]})
    else:
        method.phases[how].forward(networks, batch)
    sharp = batch["blurred"] + (0.1 if deblur else 0)
    assert torch.equal(keep.given["blurred"][known], batch["blurred"][known])
    torch.testing.assert_close(keep.given["refined"][known], sharp[known])
    assert (keep.given["blurred"][~known] == 0.7).all() and (keep.given["refined"][~known] == 0.7).all()
    assert keep.given["edges"] is None and keep.given["alpha"] == 1
    torch.testing.assert_close(fill.given[known], sharp[known])
    assert (fill.given[~known] == 0).all()


def test_stage_one_learns_from_the_image_without_its_hole():
    class Spy(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            self.given = x
            return [x]

    spy, batch = Spy(), blurred_holes()
    method.phases["deblur"].forward(nn.ModuleDict({"stage_one": spy}), batch)
    assert torch.equal(spy.given, batch["blurred"])


def test_the_critic_sees_stage_twos_pixels_in_the_true_image_then_the_whole_final_one():
    batch = blurred_holes()
    networks = nn.ModuleDict({"stage_one": Brighter(), "stage_two": Fill(), "stage_three": Keep()})
    judged = method.phases["inpaint"].forward(networks, batch)["judged"]
    assert torch.equal(judged, torch.where(batch["mask"] > 0, 0.7, batch["target"]))
    outputs = method.phases["fuse"].forward(networks, batch)
    assert outputs["judged"] is outputs["pred"]


def test_edges_are_drawn_from_the_truth_while_alpha_is_below_one_and_never_to_restore(monkeypatch):
    networks, drawn = tiny().eval(), []

    def spy(grey: Tensor) -> Tensor:
        drawn.append(grey)
        return torch.zeros_like(grey)

    monkeypatch.setattr(dffnet, "canny", spy)
    batch = blurred_holes(progress=0.5)
    method.phases["fuse"].forward(networks, batch)
    method.phases["together"].forward(networks, batch)
    restore(networks, {"x": batch["x"], "mask": batch["mask"]})
    assert drawn == []
    method.phases["fuse"].forward(networks, blurred_holes(progress=0.25))
    assert len(drawn) == 1
    torch.testing.assert_close(drawn[0], dffnet.luminance(batch["target"]))


def test_the_middle_of_fuse_gives_what_restoring_gives():
    networks, batch = tiny().eval(), blurred_holes(progress=0.5)
    with torch.no_grad():
        pred = restore(networks, {"x": batch["x"], "mask": batch["mask"]})
        for phase in ("fuse", "together"):
            assert torch.equal(method.phases[phase].forward(networks, batch)["pred"], pred)
        early = method.phases["fuse"].forward(networks, blurred_holes(progress=0.0))["pred"]
    assert not torch.allclose(early, pred)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 80)])
def test_restoring_keeps_the_size_and_does_not_look_into_the_hole(height, width):
    networks, target = tiny().eval(), torch.rand(2, 3, height, width)
    mask = torch.zeros(2, 1, height, width)
    mask[..., 2:9, 3:8] = 1
    with torch.no_grad():
        pred = restore(networks, {"x": target * (1 - mask), "mask": mask})
        alone = restore(networks, {"x": (target * (1 - mask))[1:], "mask": mask[1:]})
    assert pred.shape == target.shape
    torch.testing.assert_close(pred[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("deblur", [True, False])
def test_insides_are_images_of_every_stage(deblur):
    networks, batch = tiny(deblur=deblur).eval(), blurred_holes(count=1)
    with torch.no_grad():
        result = insides(networks, {"x": batch["x"], "mask": batch["mask"]})
        pred = restore(networks, {"x": batch["x"], "mask": batch["mask"]})
    assert {"edges, predicted in the hole", "stage two, coarse", "stage two, refined", "result"} <= set(result)
    assert ("deblurred" in result) == ("stage two without deblurring, refined" in result) == deblur
    assert "stage two, attention 3: offsets" in result and "stage two, attention 3: heat" in result
    for name, image in result.items():
        assert image.dim() == 4 and image.shape[0] == 1 and image.shape[1] in (1, 3), name
        assert image.min() >= 0 and image.max() <= 1, name
    assert torch.equal(result["result"], pred.clamp(0, 1))


@pytest.mark.parametrize("name", ["edge_channels", "edge_blocks", "fusion_channels", "critic_channels"])
def test_arguments_out_of_range_are_refused(name):
    with pytest.raises(ParamsError, match=f"dffnet: {name} is 0; expected at least 1"):
        method.networks(**(method.tiny | {name: 0}))
    with pytest.raises(ParamsError, match="modules is 2, expected 3 or 1"):
        method.networks(**(method.tiny | {"modules": 2}))
    with pytest.raises(ParamsError, match="channels is 2"):
        method.networks(**(method.tiny | {"deblur_channels": 2}))
    with pytest.raises(ParamsError, match="gain is 0, expected a number above 0"):
        method.networks(**(method.tiny | {"inpaint_gain": 0}))


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("deblur", "stage_one", "epoch", 9.99, 1e-4),
        ("fuse", "stage_three", "epoch", 10, 5e-5),
        ("inpaint", "critic", "epoch", 49, 6.25e-6),
        ("together", "joint", "step", 0, 1e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 4.1: 1e-4, halved every 10 epochs, 50 on Places2; a tenth of it with all stages together."""
    assert learning_rate("dffnet-places2", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("run", "phase", "length"),
    [
        ("dffnet-places2", "inpaint", 50),
        ("dffnet-plain-places2", "together", 50),
        ("dffnet-no-deblur-places2", "deblur", 0),
        ("dffnet-visdrone", "inpaint", 70),
    ],
)
def test_a_run_is_as_long_as_the_paper_says(run, phase, length):
    """Section 4.1."""
    assert epochs(run, phase) == length
