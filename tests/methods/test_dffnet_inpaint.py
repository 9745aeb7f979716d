"""DFFNet's inpainting stage: its layers, its switches, the authors' names, its losses and a few steps of training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, WeightsError
from methods.dffnet_inpaint import critic_sees, method
from methods.families.gated_inpainting import GatedConv, InpaintingNet, rename_layer
from methods.layers.sn_patch_critic import SNPatchCritic, critic_input
from tests.methods.schedules import epochs, learning_rate

PHASE = method.phases["train"]
generator_losses = PHASE.players["generator"].losses
GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {1: "dffnet-inpaint", 3: "dffnet-inpaint-1101"}


def tiny(**arguments: object) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**{**method.tiny, **arguments}))


def holes(count: int = 2, size: int = 32) -> dict[str, Tensor]:
    torch.manual_seed(1)
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bilinear")
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return {"x": target * (1 - mask), "mask": mask, "target": target}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# Layers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel_size", "stride", "before"), [(3, 1, 1), (5, 1, 2), (3, 2, 0), (5, 2, 1)])
def test_zeros_around_are_those_of_tensorflow(kernel_size: int, stride: int, before: int) -> None:
    """The first window begins `before` pixels outside the image: SAME, of an even size."""
    conv = GatedConv(1, 2, kernel_size, stride)
    x = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        conv.conv.weight.zero_()
        conv.conv.weight[0, 0, 0, 0] = 1.0  # the values are each window's upper left pixel; the gates are open by half
    y = conv(x)
    assert y.shape == (1, 1, 8 // stride, 8 // stride)
    expected = F.pad(x, (before, 0, before, 0))[..., :8:stride, :8:stride] / 2
    torch.testing.assert_close(y, expected)


def test_the_second_half_of_the_filters_gates_the_first() -> None:
    conv = GatedConv(1, 4, activation=F.elu)
    with torch.no_grad():
        conv.conv.weight.zero_()
        conv.conv.bias.copy_(torch.tensor([1.0, -1.0, 0.0, 2.0]))
    y = conv(torch.rand(1, 1, 4, 4))
    expected = [1.0 * 0.5, (np.exp(-1) - 1) / (1 + np.exp(-2))]
    torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 4, 4))
    relu = GatedConv(1, 4, activation=F.relu)
    relu.load_state_dict(conv.state_dict())
    assert torch.equal(relu(torch.rand(1, 1, 4, 4))[0, 1], torch.zeros(4, 4))


# The network ----------------------------------------------------------------------------------------------------------


def test_parameters_are_those_of_the_code() -> None:
    with torch.device("meta"):
        counts = {modules: count(InpaintingNet(48, modules)) for modules in (1, 3)}
        without = {modules: count(InpaintingNet(48, modules, residual=False)) for modules in (1, 3)}
    assert counts == without == {1: 17_638_794, 3: 20_437_146}
    assert count(method.networks(channels=4)["critic"]) == 5_945_216 + 64 * 25


@pytest.mark.parametrize("modules", [1, 3])
def test_every_variable_of_the_code_has_its_place(modules: int) -> None:
    """Names of the golden case, and shapes; everything else in a checkpoint is dropped."""
    shapes = json.loads((GOLDEN / f"{CASES[modules]}.json").read_text())["state"]
    with torch.device("meta"):
        theirs = {name: torch.empty(shape) for name, shape in shapes.items()}
        more = {"discriminator/sn_patch_gan/conv1/kernel": torch.empty(5, 5, 4, 64), "global_step": torch.empty(())}
        slots = {f"{name}/Adam": value for name, value in theirs.items()}
        expected = InpaintingNet(48, modules).state_dict()
    result = method.reference["generator"](theirs | more | slots)
    assert {name: value.shape for name, value in result.items()} == {n: v.shape for n, v in expected.items()}


def test_a_layer_of_another_network_is_refused() -> None:
    with pytest.raises(WeightsError, match="'r5conv1'"):
        rename_layer("r5conv1")


def test_one_checkpoint_fits_both_attentions_and_they_differ() -> None:
    contextual, coherent = (tiny(attention=kind)["generator"].eval() for kind in ("contextual", "coherent"))
    coherent.load_state_dict(contextual.state_dict())
    batch = holes()
    with torch.no_grad():
        pairs = zip(contextual(batch["x"], batch["mask"]), coherent(batch["x"], batch["mask"]), strict=True)
    for ours, others in pairs:
        assert ours.shape == others.shape == batch["x"].shape
        assert not torch.equal(ours, others)


@pytest.mark.parametrize("attention", ["contextual", "coherent"])
@pytest.mark.parametrize("modules", [1, 3])
def test_results_are_images_and_do_not_depend_on_what_the_hole_holds(attention: str, modules: int) -> None:
    network = tiny(attention=attention, modules=modules)["generator"].eval()
    batch = holes()
    x, mask = (F.pad(batch[name], (0, 16, 0, 0), mode="reflect") for name in ("x", "mask"))
    with torch.no_grad():
        result, filled = network(x, mask), network(x * (1 - mask) + 0.7 * mask, mask)
    for image, other in zip(result, filled, strict=True):
        assert image.shape == x.shape
        assert 0 <= image.min() < image.max() <= 1
        torch.testing.assert_close(image, other)


def test_features_keep_their_size_at_the_start() -> None:
    torch.manual_seed(0)
    network, batch = InpaintingNet(16), holes(1, 64)
    with torch.no_grad():
        refined, coarse = network(batch["x"], batch["mask"])
    assert refined.std() > 0.005
    assert coarse.std() > 0.02


def test_a_gain_scales_the_gated_kernels_alone() -> None:
    torch.manual_seed(0)
    plain = InpaintingNet(16)
    torch.manual_seed(0)
    for name, value in InpaintingNet(16, gain=1.5).state_dict().items():
        factor = 1.0 if name.split(".")[0] in ("coarse", "refined") or name.endswith("bias") else 1.5
        torch.testing.assert_close(value, plain.state_dict()[name] * factor, rtol=0, atol=0)
    for wrong in (0.0, -1.0, math.inf, True):
        with pytest.raises(ParamsError, match=r"gain is .*, expected a number above 0"):
            InpaintingNet(16, gain=wrong)


def test_without_residuals_the_result_is_another() -> None:
    with_them, without = (tiny(residual=residual)["generator"].eval() for residual in (True, False))
    batch = holes()
    assert all(torch.equal(a, b) for a, b in zip(with_them.parameters(), without.parameters(), strict=True))
    with torch.no_grad():
        pairs = zip(with_them(batch["x"], batch["mask"]), without(batch["x"], batch["mask"]), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("attention", ["contextual", "coherent"])
@pytest.mark.parametrize("modules", [1, 3])
def test_details_are_those_of_the_same_computation(attention: str, modules: int) -> None:
    networks = tiny(attention=attention, modules=modules).eval()
    batch = {name: value[:1] for name, value in holes(size=64).items()}
    with torch.no_grad():
        refined, coarse = networks["generator"](batch["x"], batch["mask"])
        result = method.insides(networks, batch)
    kinds = [f"attention {k}: {kind}" for k in range(1, modules + 1) for kind in ("offsets", "heat")]
    assert list(result) == ["coarse", *kinds, "refined"]
    assert torch.equal(result["refined"], refined)
    assert torch.equal(result["coarse"], coarse)
    for name, image in result.items():
        assert image.shape[:2] == (1, 1 if name.endswith("heat") else 3)
        assert 0 <= image.min() <= image.max() <= 1
    heat = result["attention 1: heat"]
    assert heat.max() == 1
    assert heat[..., heat.shape[2] // 3, heat.shape[3] // 2] == 0, "nobody looks at the middle of the hole"


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ParamsError, match="channels is 10"):
        method.networks(channels=10)
    with pytest.raises(ParamsError, match="modules is 2"):
        method.networks(modules=2)
    with pytest.raises(ParamsError, match=r"attention is 'cosine'.*contextual, coherent"):
        method.networks(attention="cosine")
    with pytest.raises(ParamsError, match="critic_channels is 0"):
        method.networks(critic_channels=0)


# Losses ---------------------------------------------------------------------------------------------------------------


def test_the_critic_sees_the_truth_outside_the_hole_and_the_mask() -> None:
    batch = holes()
    pred = torch.rand_like(batch["x"])
    given = critic_sees(pred, batch)
    hole = batch["mask"].bool().expand_as(pred)
    image = torch.where(hole, pred, batch["target"])
    torch.testing.assert_close(given[:, :3], 2 * image.flip(1) - 1)  # blue comes first
    assert torch.equal(given[:, 3:], batch["mask"])
    assert torch.equal(critic_sees(batch["target"], batch), critic_input(batch["target"], batch["mask"]))


def test_losses_are_those_of_the_code() -> None:
    networks, batch = tiny(), holes()
    off = {"pred": batch["target"] + 0.1, "coarse": batch["target"] - 0.3}
    losses = generator_losses(networks, batch, off)
    assert losses["l1"].item() == pytest.approx(0.1, rel=1e-5)
    assert losses["coarse_l1"].item() == pytest.approx(0.3, rel=1e-5)

    class Sure(nn.Module):
        """A critic that gives the same score to everything."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 1), 0.4)

    networks["critic"] = Sure()
    assert generator_losses(networks, batch, off)["adversarial"].item() == pytest.approx(-0.4)
    result = PHASE.players["critic"].losses(networks, batch, off)["adversarial"]
    assert result.item() == pytest.approx(((1 - 0.4) + (1 + 0.4)) / 2)


@pytest.mark.parametrize("attention", ["contextual", "coherent"])
def test_a_few_steps_lower_the_losses_and_each_player_moves_its_own(attention: str) -> None:
    networks, batch = tiny(attention=attention).train(), holes()
    optimisers = {
        name: torch.optim.Adam(networks[player.networks[0]].parameters(), 3e-3, (0.5, 0.9))
        for name, player in PHASE.players.items()
    }
    assert list(PHASE.players) == ["critic", "generator"]
    values = []
    for _ in range(12):
        outputs = PHASE.forward(networks, batch)
        for name, player in PHASE.players.items():
            losses = player.losses(networks, batch, outputs)
            networks.zero_grad()
            (losses["adversarial"] * 0.001 + losses.get("l1", 0) + losses.get("coarse_l1", 0)).backward(
                retain_graph=True
            )
            assert name == "generator" or all(p.grad is None for p in networks["generator"].parameters())
            optimisers[name].step()
        values.append((losses["l1"] + losses["coarse_l1"]).item())
    assert sum(values[-3:]) < 0.8 * sum(values[:3])


# The critic's names ---------------------------------------------------------------------------------------------------


def test_the_critics_variables_keep_its_kernels_and_norms() -> None:
    """From kernels (height, width, in, out) and u alone: v is what one more half step gives."""
    torch.manual_seed(0)
    critic = SNPatchCritic(4, 4).eval()
    theirs: dict[str, Tensor] = {"inpaint_net/conv1/kernel": torch.zeros(5, 5, 5, 48)}
    for i, conv in enumerate(critic.convs, start=1):
        layer = f"discriminator/sn_patch_gan/conv{i}"
        theirs[f"{layer}/kernel"] = conv.parametrizations.weight.original.detach().permute(2, 3, 1, 0)
        theirs[f"{layer}/bias"] = torch.rand(conv.bias.shape)
        theirs[f"{layer}/kernel_sn/u"] = conv.parametrizations.weight[0].u[None]
    result = method.reference["critic"](theirs)
    assert result.keys() == critic.state_dict().keys()
    other = SNPatchCritic(4, 4).eval()
    other.load_state_dict(result)
    for read, ours in zip(other.convs, critic.convs, strict=True):
        torch.testing.assert_close(read.weight, ours.weight, rtol=1e-3, atol=1e-4)
        norm = torch.linalg.matrix_norm(read.weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1, rel=0.05)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "generator", "epoch", 9, 1e-4),
        ("train", "generator", "epoch", 49, 6.25e-6),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 4.1: as DFFNet's."""
    assert learning_rate("dffnet-inpaint-places2", phase, player, unit, when) == pytest.approx(
        rate, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    ("run", "phase", "length"), [("dffnet-inpaint-places2", "train", 50), ("dffnet-inpaint-visdrone", "train", 70)]
)
def test_a_run_is_as_long_as_the_paper_says(run, phase, length):
    """Section 4.1."""
    assert epochs(run, phase) == length
