"""RFR: partial convolutions and attention against the formulas of the code, frozen norms, losses and training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods.families.rfr import RFR, Attention, frozen_norms, partial_conv, region_losses, vgg_losses
from methods.losses import perceptual
from methods.losses.pixel import composite
from methods.rfr import losses, method
from tests.methods.schedules import learning_rate

TRAIN, FINETUNE = method.phases["train"], method.phases["finetune"]
WEIGHTS = {"hole": 6.0, "valid": 1.0, "total_variation": 0.1}


def tiny() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**method.tiny))


def holes(count: int = 2, size: int = 48) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return {"x": target * (1 - mask), "mask": mask, "target": target}


@pytest.mark.parametrize(("kernel_size", "expected"), [(7, 31_224_065), (5, 31_224_065 - 3 * 64 * 64 * (49 - 25))])
def test_parameters_are_those_of_the_papers_network(kernel_size: int, expected: int) -> None:
    assert sum(p.numel() for p in RFR(kernel_size=kernel_size).parameters()) == expected


# Partial convolution --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("apart", [False, True])
def test_partial_convolution_is_the_sum_over_known_values_scaled_up(stride: int, apart: bool) -> None:
    """The code's formula: a mask of as many channels as x, convolved with ones."""
    conv = nn.Conv2d(4, 5, 7, stride, padding=3, bias=False)
    x, valid = torch.randn(2, 4, 20, 24), (torch.rand(2, 4, 20, 24) < 0.2).float()
    valid[..., 8:, 8:] = 0  # windows without any known value
    if not apart:
        valid = valid[:, :1].expand(-1, 4, -1, -1)
    known = F.conv2d(valid, torch.ones(1, 4, 7, 7), stride=stride, padding=3)
    expected = F.conv2d(x * valid, conv.weight, stride=stride, padding=3) * 4 * 49 / (known + 1e-8) * (known > 0)
    y, grown = partial_conv(conv, x, valid if apart else valid[:, :1])
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(grown, known.clamp(0, 1))
    assert 0 < grown.mean() < 1


def test_partial_convolution_of_a_constant_is_constant_wherever_something_is_known() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(conv.weight, 1 / 9)
    valid = torch.ones(1, 1, 9, 9)
    valid[..., 2:7, 2:7] = 0
    y, grown = partial_conv(conv, torch.full((1, 1, 9, 9), 3.0), valid)
    expected = torch.full((1, 1, 9, 9), 3.0)
    expected[..., 3:6, 3:6] = 0  # the hole shrinks by one pixel a side
    torch.testing.assert_close(y, expected)
    assert torch.equal(grown, (expected > 0).float())


# Attention ------------------------------------------------------------------------------------------------------------


def attend(x: Tensor) -> Tensor:
    """The scores of one map (C, h, w), as the code finds them: pixels as 1x1 kernels, then a mean over 3x3 scores."""
    kernels = x.flatten(1).T + 1e-7
    kernels = kernels / kernels.square().sum(dim=1, keepdim=True).sqrt()
    scores = F.conv2d(x[None], kernels[:, :, None, None])
    return (F.avg_pool2d(scores, 3, stride=1, padding=1) * 9).softmax(dim=1)


def test_attention_is_that_of_the_code_in_two_rounds() -> None:
    attention = Attention(6)
    with torch.no_grad():
        attention.ratio.fill_(-0.6)  # its size counts, not its sign
    first, second = 0.5 * torch.randn(2, 1, 6, 5, 7)
    valid = (torch.rand(1, 1, 5, 7) < 0.5).float()
    _, before = attention(first, valid, None)
    y, (scores, _) = attention(second, torch.ones_like(valid), before)
    expected = (attend(first[0]) * valid + 0.6 * attend(second[0])) / (valid + 0.6)
    torch.testing.assert_close(scores.mT.view(1, 35, 5, 7), expected, rtol=1e-4, atol=1e-6)
    kernels = F.normalize(second.flatten(2) + 1e-7, dim=1)
    seen = torch.einsum("ncj,njhw->nchw", kernels, expected)
    torch.testing.assert_close(y, attention.combine(torch.cat([seen, second], dim=1)), rtol=1e-4, atol=1e-5)


def test_scores_of_a_place_sum_to_one_in_every_round_and_stay_float32() -> None:
    attention, before = Attention(8), None
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            x = torch.randn(2, 8, 6, 6, dtype=torch.bfloat16)
            y, before = attention(x, torch.rand(2, 1, 6, 6).round(), before)
        assert before[0].dtype == torch.float32
        assert y.shape == x.shape
        torch.testing.assert_close(before[0].sum(dim=-1), torch.ones(2, 36))


# The network ----------------------------------------------------------------------------------------------------------


def test_what_the_input_holds_in_the_hole_does_not_matter() -> None:
    networks, batch = tiny().eval(), holes()
    with torch.no_grad():
        pred = method.restore(networks, batch)
        other = method.restore(networks, batch | {"x": batch["target"]})
        alone = method.restore(networks, {name: value[1:] for name, value in batch.items()})
    torch.testing.assert_close(pred, other)
    torch.testing.assert_close(pred[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_hole_and_nothing_but_a_hole_give_finite_images(share: float) -> None:
    networks = tiny().eval()
    x = torch.rand(1, 3, 16, 32)
    with torch.no_grad():
        pred = networks["network"](x, torch.full((1, 1, 16, 32), share))
    assert pred.shape == x.shape
    assert pred.isfinite().all()
    assert (pred.abs().max() == 0) == (share == 1.0)  # nothing known, no biases on the way out


def test_more_rounds_reach_deeper_into_the_hole() -> None:
    """A pixel that no round has reached has nothing to be made of: it is 0, as no layer after the merge has a bias."""
    mask = torch.ones(1, 1, 128, 128)
    mask[..., :2, :] = 0
    reached = []
    for rounds in (1, 2, 3):
        torch.manual_seed(0)
        network = RFR(2, rounds, kernel_size=3).eval()
        with torch.no_grad():
            pred = network(torch.rand(1, 3, 128, 128), mask)
        reached.append(int((pred.abs().sum(dim=(0, 1, 3)) > 0).sum()))
    # Two partial convolutions of 3x3 a round, at half the size: 2 * 2 rows of the image.
    assert reached[1] - reached[0] == reached[2] - reached[1] == 4


def test_arguments_out_of_range_are_refused() -> None:
    for wrong in ({"channels": 3}, {"channels": 0}, {"rounds": 0}, {"kernel_size": 4}):
        with pytest.raises(ParamsError, match="expected an even number of channels"):
            method.networks(**wrong)


def test_the_authors_checkpoint_is_understood() -> None:
    ours = RFR(4, 1).state_dict()
    theirs = {
        "entry1_norm.": "bn1.",
        "entry2_norm.": "bn20.",
        "grow_norm.": "bn2.",
        "up_norm.": "bn3.",
        "entry1.": "Pconv1.",
        "entry2.": "Pconv2.",
        "grow1.": "Pconv21.",
        "grow2.": "Pconv22.",
        "reasoning.attention.combine.": "RFRModule.att.combiner.",
        "reasoning.attention.ratio": "RFRModule.att.att.ratio",
        "bottleneck.norm": "tail2.bn",
        "bottleneck.conv": "tail2.conv",
        "tail.": "tail1.",
        "exit.": "out.",
        "up.": "Tconv.",
    }
    theirs |= {f"reasoning.encoder.{i}.": f"RFRModule.enc_{i + 1}." for i in range(6)}
    theirs |= {f"reasoning.decoder.{i}.": f"RFRModule.dec_{5 - i}." for i in range(5)}

    def old(name: str) -> str:
        new = next(new for new in theirs if name.startswith(new))
        return theirs[new] + name.removeprefix(new)

    result = method.reference["network"]({"n_iter": 7, "generator": {f"module.{old(n)}": v for n, v in ours.items()}})
    assert result.keys() == ours.keys()
    assert all(torch.equal(result[name], ours[name]) for name in ours)


# Losses and phases ----------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """Eyes that give the image itself, three times."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        return [x for _ in names]


def test_losses_by_hand() -> None:
    networks, batch = tiny(), holes()
    share = batch["mask"].mean().item()  # 1/16
    result = losses(networks, batch, {"pred": batch["target"] + 0.2})
    assert set(result) == {"hole", "valid", "total_variation"}
    assert result["hole"].item() == pytest.approx(0.2 * share, rel=1e-4)
    assert result["valid"].item() == pytest.approx(0.2 * (1 - share), rel=1e-4)
    ones = batch | {"target": torch.zeros_like(batch["target"])}
    # A square of ones, 12 a side, in 48 x 48: 12 steps up and 12 down along each axis, over 47 * 48 differences.
    assert losses(networks, ones, {"pred": torch.ones_like(ones["target"])})["total_variation"].item() == pytest.approx(
        2 * 24 / (47 * 48), rel=1e-4
    )
    networks["vgg16"] = Plain()
    result = losses(networks, batch, {"pred": batch["target"] + 0.2})
    # Three layers; the output errs everywhere, the composite in the hole alone.
    assert result["perceptual"].item() == pytest.approx(3 * 0.2 * (1 + share), rel=1e-4)
    assert set(method.helpers["vgg16"].losses) == {"perceptual", "style"} <= set(result)


def test_vgg_losses_are_the_shared_ones_of_output_and_composite() -> None:
    torch.manual_seed(3)
    vgg, batch = perceptual.Vgg("vgg16").eval().requires_grad_(False), holes(1)
    pred = (batch["target"] + 0.1 * torch.randn(1, 3, 48, 48)).requires_grad_()
    target, mask = batch["target"], batch["mask"]
    result = vgg_losses(vgg, pred, target, mask)
    images = (pred, composite(pred, target, mask))
    pools = ("pool1", "pool2", "pool3")
    torch.testing.assert_close(result["perceptual"], sum(perceptual.perceptual(vgg, i, target, pools) for i in images))
    torch.testing.assert_close(result["style"], sum(perceptual.style(vgg, i, target, pools) for i in images))
    assert vgg_losses(vgg, target, target, mask)["style"].item() == 0
    (gradient,) = torch.autograd.grad(result["perceptual"] + result["style"], pred)
    assert gradient.abs().sum() > 0


def test_regions_add_up_to_the_whole() -> None:
    batch, pred = holes(), torch.rand(2, 3, 48, 48)
    result = region_losses(pred, batch["target"], batch["mask"])
    torch.testing.assert_close(result["hole"] + result["valid"], (pred - batch["target"]).abs().mean())


def statistics(network: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in network.named_buffers() if name.endswith(("mean", "var"))]


def test_finetuning_uses_and_keeps_the_running_statistics() -> None:
    networks, batch = tiny().train(), holes()
    TRAIN.forward(networks, batch)
    before = statistics(networks)
    pred = FINETUNE.forward(networks, batch)["pred"]
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(networks), strict=True))
    assert all(module.training for module in networks.modules())  # a rehearsal runs this phase before the first
    with torch.no_grad():
        torch.testing.assert_close(pred, method.restore(networks.eval(), batch))
    networks.train()
    moving = TRAIN.forward(networks, batch)["pred"]
    assert (moving - pred).abs().max() > 1e-4
    assert not all(torch.equal(a, b) for a, b in zip(before, statistics(networks), strict=True))


def test_frozen_norms_come_back_as_they_were_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2).eval())
    with pytest.raises(ZeroDivisionError), frozen_norms(network):
        assert not network[0].training
        raise ZeroDivisionError
    assert [module.training for module in network] == [True, False]


def test_the_players_of_the_phases_have_names_of_their_own() -> None:
    assert list(method.phases) == ["train", "finetune"]
    assert list(TRAIN.players) == ["network"]
    assert list(FINETUNE.players) == ["finetune_network"]
    assert FINETUNE.players["finetune_network"].networks == ("network",)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_steps_as_the_engine_takes_them_lower_the_losses(bfloat16: bool) -> None:
    networks, batch = tiny().train(), holes()
    values = []
    for phase, lr in [(TRAIN, 3e-3), (FINETUNE, 3e-4)]:
        (player,) = phase.players.values()
        optimizer = torch.optim.Adam(networks.parameters(), lr)
        for _ in range(25):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                result = player.losses(networks, batch, phase.forward(networks, batch))
            optimizer.zero_grad()
            total = torch.stack([WEIGHTS[key] * value for key, value in result.items()]).sum()
            total.backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in networks.parameters())
            optimizer.step()
            values.append(total.item())
    assert sum(values[22:25]) < 0.6 * sum(values[:3])
    assert values[-1] < values[25]


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "step", 0, 2e-4),
        ("finetune", "finetune_network", "step", 0, 5e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """The code: 2e-4, then 5e-5 for fine-tuning."""
    assert learning_rate("rfr-paris", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
