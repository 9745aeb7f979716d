"""DFFNet: its three stages in a row, what each phase moves, alpha, and the switches of its ablations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, numbered
from methods import dffnet
from methods.dffnet import (
    critic_losses,
    deblur_losses,
    filling_losses,
    fuse_losses,
    inpaint_losses,
    insides,
    method,
    restore,
)
from methods.families.fusion import Fusion
from methods.families.multipath import MRFNet
from tests.methods.schedules import epochs, learning_rate

STAGES = ("stage_one", "stage_two", "stage_three")
MOVED = {
    "deblur": {"stage_one"},
    "edge": {"edge_critic", "edge_generator"},
    "inpaint": {"critic", "stage_two"},
    "fuse": {"critic", "stage_three"},
    "together": {"critic", *STAGES},
}


def tiny(**arguments) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**(method.tiny | arguments)))


def blurred_holes(count: int = 2, size: int = 32, progress: float = 0.25) -> dict[str, Tensor]:
    """Smooth pictures, their blurred versions, and a hole of a quarter of the size at an even place."""
    torch.manual_seed(1)
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(target, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    x = blurred * (1 - mask)
    return {"x": x, "mask": mask, "target": target, "blurred": blurred, "progress": torch.tensor(progress)}


class Brighter(nn.Module):
    """In the place of stage one: 0.1 more everywhere."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x + 0.1]


class Fill(nn.Module):
    """In the place of stage two: 0.7 everywhere, 0.2 coarsely; keeps what it was given."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.given = x
        return torch.full_like(x, 0.7), torch.full_like(x, 0.2)


class Keep(Fusion):
    """In the place of stage three: keeps what it was given, gives R."""

    def __init__(self):
        super().__init__(4, progressive=False)

    def forward(self, blurred, refined, mask, edges=None, alpha=1.0):
        self.given = {"blurred": blurred, "refined": refined, "mask": mask, "edges": edges, "alpha": alpha}
        return refined, mask


# Sizes and switches ---------------------------------------------------------------------------------------------------

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
    beside = {"edge_channels": 4, "critic_channels": 4} if arguments else {}  # no switch reaches these
    made = method.networks(**(arguments | beside))
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


# Stage three ----------------------------------------------------------------------------------------------------------


def test_alpha_rises_to_the_middle_and_stays():
    assert [Fusion(4).alpha(share) for share in (0, 0.125, 0.25, 0.5, 0.75, 1)] == [0, 0.25, 0.5, 1, 1, 1]
    assert Fusion(4, progressive=False).alpha(0) == 1


def test_at_its_ends_alpha_takes_the_edges_or_the_refined_image_out_of_m():
    torch.manual_seed(0)
    fusion = Fusion(8)
    images, maps = torch.rand(2, 1, 3, 16, 16), torch.rand(2, 1, 1, 16, 16)
    assert torch.equal(fusion.mixed(images[0], maps[0], 0.0), fusion.mixed(images[1], maps[0], 0.0))
    assert torch.equal(fusion.mixed(images[0], maps[0], 1.0), fusion.mixed(images[0], maps[1], 1.0))
    assert torch.equal(fusion.mixed(images[0], maps[0], 1.0), fusion.mixed(images[0], None, 1.0))
    half = fusion.mixed(images[0], maps[0], 0.5)
    assert not torch.equal(half, fusion.mixed(images[1], maps[0], 0.5))
    assert not torch.equal(half, fusion.mixed(images[0], maps[1], 0.5))


@pytest.mark.parametrize(("bias", "share"), [(-200.0, 0.0), (200.0, 1.0)])
def test_x_shares_the_result_out_between_the_blurred_and_the_mixed_features(bias, share):
    torch.manual_seed(0)
    fusion, mask = Fusion(8), torch.zeros(1, 1, 16, 16)
    nn.init.constant_(fusion.share[-1].bias, bias)
    blurred, refined = torch.rand(2, 1, 3, 16, 16)
    pred, x = fusion(blurred, refined, mask)
    assert torch.equal(x, torch.full_like(mask, share))
    low = fusion.blurred(blurred)
    mixed = fusion.narrow(torch.cat([low, fusion.mixed(refined, None, 1.0)], dim=1))
    torch.testing.assert_close(pred, fusion.image(torch.cat([(1 - share) * low, share * mixed], dim=1)))


def test_attention_gets_quarter_size_averages_where_one_hole_pixel_makes_a_hole():
    class Spy(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            self.given = x, mask
            return x

    fusion, mask = Fusion(8), torch.zeros(1, 1, 16, 32)
    fusion.attention = Spy()
    mask[..., 5, 11] = 1
    blurred, refined = torch.rand(2, 1, 3, 16, 32)
    _, share = fusion(blurred, refined, mask)
    features, hole = fusion.attention.given
    expected = torch.zeros(1, 1, 4, 8)
    expected[..., 1, 2] = 1
    assert torch.equal(hole, expected)
    assert features.shape == (1, 16, 4, 8)
    torch.testing.assert_close(features[:, :8], F.avg_pool2d(fusion.blurred(blurred), 4))
    assert share.shape == mask.shape


# The stages in a row --------------------------------------------------------------------------------------------------


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


# Losses ---------------------------------------------------------------------------------------------------------------


class Constant(nn.Module):
    """A critic that gives true images 0.5 and others -0.25, by their mean, and keeps the shape that it saw."""

    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        return torch.where(x[:, :3].mean() > 0.2, 0.5, -0.25)


def test_losses_by_hand():
    batch = blurred_holes(size=64)
    target = torch.full_like(batch["target"], 0.7)
    batch = batch | {"target": target}
    networks = nn.ModuleDict({"critic": Constant()})
    fused = fuse_losses(networks, batch, {"pred": target - 0.2, "judged": target - 0.2})
    assert networks["critic"].shape == (2, 4, 64, 64)
    assert fused["scale"].item() == pytest.approx(0.04 / 2)  # 1/(2K) of K equal terms
    assert fused["adversarial"].item() == 0.25
    filled = inpaint_losses(networks, batch, {"refined": target - 0.1, "coarse": target + 0.3, "judged": target - 0.2})
    assert {name: round(value.item(), 5) for name, value in filled.items()} == {
        "l1": 0.1,
        "coarse_l1": 0.3,
        "hole": 0.1,  # 0.1^2 + 0.3^2, whatever the size of the hole
        "adversarial": 0.25,
    }
    whole = {**batch, "mask": torch.zeros_like(batch["mask"])}
    assert filling_losses(whole, {"refined": target - 0.1, "coarse": target + 0.3})["hole"].item() == 0
    judged = critic_losses(networks, batch, {"judged": target - 0.2})
    assert judged["adversarial"].item() == pytest.approx(((1 - 0.5) + (1 - 0.25)) / 2)


def test_the_critic_is_given_what_the_code_gives_it():
    image, mask = torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    stacked = dffnet.critic_input(image, mask)
    torch.testing.assert_close(stacked[:, 0], 2 * image[:, 2] - 1)  # blue
    torch.testing.assert_close(stacked[:, 2], 2 * image[:, 0] - 1)
    assert torch.equal(stacked[:, 3:], mask)


def test_the_scale_loss_looks_at_averages():
    """Noise of mean 0 is 1/4 as strong at each coarser scale: 0.01 (1 + 1/4 + 1/16 + 1/64) / 8 about."""
    torch.manual_seed(0)
    target = torch.rand(1, 3, 256, 256)
    pred = target + 0.1 * torch.randn_like(target)
    networks, outputs = nn.ModuleDict({"critic": Constant()}), {"pred": pred, "judged": pred}
    batch = {"target": target, "mask": target[:, :1]}
    expected = 0.01 * (1 + 1 / 4 + 1 / 16 + 1 / 64) / 8
    assert fuse_losses(networks, batch, outputs)["scale"].item() == pytest.approx(expected, rel=0.02)


def test_losses_of_stage_one_and_what_is_watched_by_scale():
    target = torch.rand(2, 3, 32, 32)
    scales = [F.avg_pool2d(target, 2**k) + 0.1 * (k + 1) for k in range(4)]
    result = deblur_losses(nn.ModuleDict(), {"target": target}, numbered("scale", scales))
    assert {name: round(value.item(), 5) for name, value in result.items()} == {
        "scale_refinement": round((0.01 + 0.04 + 0.09 + 0.16) / 8, 5),
        "mse": 0.01,
        "scale_1": 0.01,
        "scale_2": 0.04,
        "scale_3": 0.09,
        "scale_4": 0.16,
    }
    assert method.watched == ("scale_1", "scale_2", "scale_3", "scale_4")
    assert len(MRFNet(4)(target)) == len(method.watched)


def test_stage_three_starts_as_the_blurred_image_with_its_hole_filled():
    torch.manual_seed(0)
    network, batch = Fusion(8), blurred_holes()
    refined = torch.rand_like(batch["x"])
    for alpha in (0.0, 0.5, 1.0):
        pred, _ = network(batch["blurred"], refined, batch["mask"], torch.rand_like(batch["mask"]), alpha)
        torch.testing.assert_close(pred, batch["blurred"], rtol=0, atol=0.1)
        assert (pred - batch["blurred"]).abs().mean() < 0.02


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", list(method.phases))
def test_a_phase_moves_its_players_and_nothing_else(name, bfloat16):
    # At 32 pixels the critic ends on single ones, where bfloat16 gradients of torch are not to be trusted.
    networks, batch, phase = tiny().train(), blurred_holes(size=64), method.phases[name]
    before = {key: parameter.detach().clone() for key, parameter in networks.named_parameters()}
    optimisers = {
        key: torch.optim.Adam([p for net in player.networks for p in networks[net].parameters()], 2e-4)
        for key, player in phase.players.items()
    }
    followed = {"deblur": "scale_refinement", "edge": "feature_matching", "inpaint": "l1"}.get(name, "scale")
    values = []
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = phase.forward(networks, batch)
        for key, player in phase.players.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                losses = player.losses(networks, batch, outputs)
            optimisers[key].zero_grad()
            weighed = [(0.01 if loss == "adversarial" and "critic" not in key else 1) * v for loss, v in losses.items()]
            sum(weighed).backward(retain_graph=True)
            optimisers[key].step()
        values.append(losses[followed].item())
    if name != "edge":  # where its critic, whose features it matches, moves too
        assert values[-1] < values[0]
    assert {net for player in phase.players.values() for net in player.networks} == MOVED[name]
    moved = {key for key, parameter in networks.named_parameters() if not torch.equal(parameter, before[key])}
    assert {key.split(".")[0] for key in moved} == MOVED[name]
    # Edges are out of play where alpha is 1.
    assert any(key.startswith("stage_three.edges.") for key in moved) == (name == "fuse")


@pytest.mark.parametrize("progressive", [True, False])
def test_in_the_last_phase_each_loss_moves_the_stages_before_it_alone(progressive):
    """Gradients flow back, never on: stage one's own losses reach it alone, those of the fillings not stage three."""
    networks, batch = tiny(progressive=progressive).train(), blurred_holes(size=64)
    phase = method.phases["together"]
    result = phase.players["joint"].losses(networks, batch, phase.forward(networks, batch))
    filled, every = {"stage_one", "stage_two"}, set(STAGES)
    expected = {"mse": {"stage_one"}, "scale_refinement": {"stage_one"}, "l1": filled, "coarse_l1": filled}
    expected |= {"hole": filled, "scale": every, "adversarial": every}
    assert set(result) - set(method.watched) == set(expected)
    for name, stages in expected.items():
        networks.zero_grad()
        result[name].backward(retain_graph=True)
        moved = {key.partition(".")[0] for key, p in networks.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved & every == stages, name


def test_frozen_stages_get_no_gradient():
    networks, batch = tiny(), blurred_holes()
    for name, moving in (("inpaint", {"stage_two"}), ("fuse", {"stage_three"})):
        networks.zero_grad()
        phase = method.phases[name]
        outputs = phase.forward(networks, batch)
        losses = phase.players[next(iter(moving))].losses(networks, batch, outputs)
        sum(losses.values()).backward()
        touched = {key.split(".")[0] for key, p in networks.named_parameters() if p.grad is not None}
        assert touched == moving | {"critic"}, name  # the loop leaves another player's networks out


def test_the_last_phase_has_players_of_its_own_for_their_rates():
    earlier = {player for name in ("deblur", "edge", "inpaint", "fuse") for player in method.phases[name].players}
    assert set(method.phases["together"].players) == {"joint", "joint_critic"}
    assert earlier.isdisjoint({"joint", "joint_critic"})


# What the engine is told ----------------------------------------------------------------------------------------------


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


# The recipe -----------------------------------------------------------------------------------------------------------


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
