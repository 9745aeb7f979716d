"""RN: the region norms against the formula of the code, batch mates, and a step of its training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods.rn import BasicRegionNorm, Generator, LearnableRegionNorm, method, region_norm
from tests.methods.schedules import learning_rate

PHASE = method.phases["train"]
generator_losses = PHASE.players["generator"].losses


def tiny() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**method.tiny))


def holes(count: int = 2, size: int = 32) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(count, 3, size // 4, size // 4), size, mode="bilinear")
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return {"x": target * (1 - mask), "mask": mask, "target": target}


def test_parameters_are_those_of_the_papers_networks() -> None:
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in method.networks().items()}
    assert counts == {"generator": 11_596_591, "critic": 2_763_776}


def filled_batch_norm(x: Tensor, region: Tensor) -> Tensor:
    """The two parts as the code has them: fill with the mean, batch norm, times the root of the region's share."""
    total = torch.zeros_like(x)
    for part in (region.float(), 1 - region.float()):
        inside = x * part
        count = part.sum()
        mean = inside.sum(dim=(0, 2, 3), keepdim=True) / (count if count > 0 else 1)
        filled = F.batch_norm(inside + (1 - part) * mean, None, None, training=True)
        total = total + filled * torch.sqrt((count if count > 0 else torch.ones(())) / part.numel())
    return total


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 1.0])
def test_region_norm_is_the_batch_norm_of_the_filled_map(share: float) -> None:
    x = 2 * torch.randn(3, 4, 12, 10) + 1
    region = torch.rand(3, 1, 12, 10) < share
    torch.testing.assert_close(region_norm(x, region), filled_batch_norm(x, region), rtol=1e-4, atol=1e-5)


def test_each_region_is_normalised_by_itself_over_the_whole_batch() -> None:
    region = torch.rand(2, 1, 16, 16) < 0.3
    x = torch.where(region, 5 + 3 * torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16) - 2)
    y = region_norm(x, region).transpose(0, 1)
    for part in (region, ~region):
        values = y[:, part[:, 0]]
        assert values.mean(dim=1).abs().max() < 1e-5
        torch.testing.assert_close(values.var(dim=1, correction=0), torch.ones(4), rtol=1e-3, atol=0)


def test_region_norm_has_the_gradient_of_that_formula() -> None:
    x = torch.randn(2, 3, 6, 6, dtype=torch.float32, requires_grad=True)
    region, weight = torch.rand(2, 1, 6, 6) < 0.4, torch.randn(2, 3, 6, 6)
    (ours,) = torch.autograd.grad((region_norm(x, region) * weight).sum(), x)
    (theirs,) = torch.autograd.grad((filled_batch_norm(x, region) * weight).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_basic_norm_scales_each_region_and_adds_both_biases_everywhere() -> None:
    norm, x, mask = BasicRegionNorm(3), torch.randn(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) < 0.3).float()
    plain = norm(x, mask)
    torch.testing.assert_close(plain, region_norm(x, mask > 0.5))
    with torch.no_grad():
        norm.hole_gamma.fill_(1.0)
        norm.known_gamma.fill_(-0.5)
        norm.hole_beta.fill_(0.2)
        norm.known_beta.fill_(0.3)
    torch.testing.assert_close(norm(x, mask), plain * torch.where(mask > 0.5, 2.0, 0.5) + 0.5)


def test_basic_norm_takes_the_nearest_pixel_of_a_larger_mask() -> None:
    norm, x = BasicRegionNorm(1), torch.randn(1, 1, 2, 2)
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, 0] = mask[0, 0, 1, 3] = 1  # nearest takes the upper left of each 2x2: the second is not seen
    torch.testing.assert_close(norm(x, mask), region_norm(x, torch.tensor([[[[True, False], [False, False]]]])))


def test_learnable_norm_finds_its_region_above_the_threshold() -> None:
    norm, x = LearnableRegionNorm(0.8), torch.zeros(1, 2, 12, 12)
    x[..., 6:] = 4.0
    x += 0.1 * torch.randn_like(x)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.zero_()
        norm.importance.weight[0, 0, 3, 3] = 1.0  # importance = sigmoid(mean of the channels): 0.98 right, 0.5 left
    torch.testing.assert_close(norm(x), region_norm(x, x.mean(dim=1, keepdim=True) > 2))
    norm.beta.bias.data.fill_(0.25)
    torch.testing.assert_close(norm(x), region_norm(x, x.mean(dim=1, keepdim=True) > 2) + 0.25)


def test_every_parameter_of_the_learnable_norm_learns() -> None:
    norm = LearnableRegionNorm()
    norm(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in norm.parameters())


def test_restoring_does_not_depend_on_batch_mates_though_the_network_does() -> None:
    networks, batch = tiny().eval(), holes(3)
    with torch.no_grad():
        together = method.restore(networks, batch)
        alone = method.restore(networks, {name: value[1:2] for name, value in batch.items()})
        raw = networks["generator"](batch["x"], batch["mask"])
    assert together.shape == batch["x"].shape
    torch.testing.assert_close(together[1:2], alone)
    assert (raw - together).abs().max() > 1e-4
    assert any("batch" in limit for limit in method.limits)


def test_what_the_input_holds_in_the_hole_does_not_matter() -> None:
    networks, batch = tiny().eval(), holes()
    with torch.no_grad():
        pred = method.restore(networks, batch)
        torch.testing.assert_close(pred, method.restore(networks, batch | {"x": batch["target"]}))
        smallest = networks["generator"](torch.rand(1, 3, method.min_size, method.min_size), torch.zeros(1, 1, 12, 12))
    assert pred.min() >= 0 and pred.max() <= 1
    assert torch.isfinite(smallest).all()


def test_l1_counts_the_hole_alone() -> None:
    networks, batch = tiny(), holes(size=64)
    losses = generator_losses(networks, batch, {"pred": batch["target"] + 0.2})
    assert set(losses) == {"l1", "adversarial"}
    assert losses["l1"].item() == pytest.approx(0.2, rel=1e-4)
    outside = batch["target"] + 0.2 * (1 - batch["mask"])
    assert generator_losses(networks, batch, {"pred": outside})["l1"].item() == 0


@pytest.mark.parametrize("bfloat16", [False, True])
def test_steps_as_the_engine_takes_them_lower_l1(bfloat16: bool) -> None:
    networks, batch = tiny().train(), holes()
    optimisers = {
        name: torch.optim.Adam(
            networks[player.networks[0]].parameters(), 1e-4 if name == "critic" else 1e-3, (0.0, 0.9)
        )
        for name, player in PHASE.players.items()
    }
    assert list(PHASE.players) == ["critic", "generator"]
    values = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = PHASE.forward(networks, batch)
        for name, player in PHASE.players.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                losses = player.losses(networks, batch, outputs)
            networks.zero_grad()
            (losses["adversarial"] * 0.1 + losses.get("l1", 0)).backward(retain_graph=True)
            assert all(p.grad is not None for p in networks[player.networks[0]].parameters())
            assert name == "generator" or all(p.grad is None for p in networks["generator"].parameters())
            optimisers[name].step()
        values.append(losses["l1"].item())
    assert sum(values[-3:]) < 0.8 * sum(values[:3])


def test_names_of_the_whole_models_checkpoint_are_understood() -> None:
    ours = Generator(8, 1).state_dict()
    theirs = {
        "entry.": "encoder_conv1.",
        "down1.": "encoder_conv2.",
        "down2.": "encoder_conv3.",
        "entry_norm.": "encoder_in1.",
        "down1_norm.": "encoder_in2.",
        "down2_norm.": "encoder_in3.",
        "hole_": "foreground_",
        "known_": "background_",
        "blocks.": "middle.",
        ".conv1.": ".conv_block.1.",
        ".norm1.": ".conv_block.2.",
        ".conv2.": ".conv_block.5.",
        ".norm2.": ".conv_block.6.",
        "up1.": "decoder.0.",
        "up1_norm.": "decoder.2.",
        "up2.": "decoder.4.",
        "up2_norm.": "decoder.6.",
        "exit.": "decoder.9.",
        ".importance.": ".sa.conv1.",
        ".gamma.": ".sa.gamma_conv.",
        ".beta.": ".sa.beta_conv.",
    }

    def old(name: str) -> str:
        for new, before in theirs.items():
            name = name.replace(new, before)
        return f"generator.module.{name}"

    state = {old(name): value for name, value in ours.items()} | {"discriminator.conv1.0.weight_u": torch.zeros(1)}
    result = method.reference["generator"](state)
    assert result.keys() == ours.keys()
    assert all(torch.equal(result[name], ours[name]) for name in ours)


def test_biases_start_at_zero_and_arguments_out_of_range_are_refused() -> None:
    assert all(p.abs().sum() == 0 for name, p in tiny()["generator"].named_parameters() if name.endswith("bias"))
    with pytest.raises(ParamsError, match=r"threshold is 1\.5"):
        method.networks(threshold=1.5)
    with pytest.raises(ParamsError, match="at least 1"):
        method.networks(channels=0)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "generator", "epoch", 9, 1e-4),
        ("train", "critic", "epoch", 9, 1e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """The code: constant, the critic at a tenth."""
    assert learning_rate("rn-places2", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
