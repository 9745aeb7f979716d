"""DFFNet: its losses by hand, and what each phase moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import numbered
from methods import dffnet
from methods.dffnet import (
    critic_losses,
    deblur_losses,
    filling_losses,
    fuse_losses,
    inpaint_losses,
    method,
)
from methods.families.multipath import MRFNet
from tests.methods.dffnet_toys import STAGES, blurred_holes, tiny

MOVED = {
    "deblur": {"stage_one"},
    "edge": {"edge_critic", "edge_generator"},
    "inpaint": {"critic", "stage_two"},
    "fuse": {"critic", "stage_three"},
    "together": {"critic", *STAGES},
}


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
