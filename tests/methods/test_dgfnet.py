"""DGFNet: its parts and their sizes, the fusion module by its equations, the losses of each part, and its training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from bench.runs import settled
from bench.scoring.restore import prepared
from methods.dgfnet import (
    DPFM,
    DGFNet,
    Fusion,
    clipped_hinge_generator,
    critic_losses,
    generator_losses,
    insides,
    method,
)
from methods.families.edge_model import Generator
from methods.layers.sn_patch_critic import SNPatchCritic
from tests.methods.schedules import learning_rate

TRAIN, FINETUNE = method.phases["train"], method.phases["finetune"]
ABLATIONS = [{"texture": False, "dpfm": False}, {"texture": True, "dpfm": False}, {"texture": True, "dpfm": True}]


def tiny(**arguments: float) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**{**method.tiny, **arguments}))


def holes(count: int = 2, size: int = 48) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    texture = 0.1 * torch.randn(count, 3, size, size)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return {"x": target * (1 - mask), "mask": mask, "target": target, "texture": texture}


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_are_those_of_the_sheet() -> None:
    made = method.networks()
    generator = made["generator"]
    assert {name: size_of(part) for name, part in generator.named_children()} == {
        "coarse": 31_224_065,
        "texture": 10_774_595,
        "fusion": 13_727_491,
    }
    assert size_of(generator) == 55_726_151
    assert size_of(made["critic"]) == 5_945_216


def test_parameters_of_the_ablations() -> None:
    def conv(before: int, after: int, side: int = 3) -> int:
        return before * after * side * side + after

    def normed(before: int, after: int) -> int:
        return conv(before, after) + 2 * after

    widths = (32, 64, 128, 256, 512)
    ends = conv(3, 32, 7), conv(32, 3)
    steps = list(pairwise(widths))
    # One stream: encoder 32 to 512, decoder on what comes up and the skip.
    single = sum(ends) + sum(normed(a, b) for a, b in steps)
    single += normed(512 + 256, 256) + normed(256 + 128, 128) + normed(128 + 64, 64) + normed(64 + 32, 32)
    both = ends[0] + sum(ends) + sum(normed(2 * a, 2 * b) for a, b in steps)
    both += normed(1024 + 512, 256) + normed(256 + 256, 128) + normed(128 + 128, 64) + normed(64 + 32, 32)
    assert size_of(Fusion(texture=False, dpfm=False)) == single == 3_926_723
    assert size_of(Fusion(dpfm=False)) == both == 10_588_291
    assert size_of(DGFNet(texture=False, dpfm=False)) == 31_224_065 + single
    assert size_of(DGFNet(dpfm=False)) == 31_224_065 + 10_774_595 + both


# The fusion -----------------------------------------------------------------------------------------------------------


def test_dpfm_is_equations_1_to_3() -> None:
    module = DPFM(3, 5).eval()
    for norm in (module.gate_norm, module.coarse_norm, module.texture_norm):
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    coarse, texture = torch.randn(2, 2, 3, 8, 12)

    def strided(conv: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), conv.weight, conv.bias)[..., ::2, ::2]

    gates = torch.sigmoid(module.gate_norm(strided(module.gate, torch.cat([coarse, texture], dim=1))))
    leaky = [torch.where(x > 0, x, 0.2 * x) for x in (strided(module.coarse, coarse), strided(module.texture, texture))]
    new_coarse, new_texture, (w_c, w_t) = module(coarse, texture)
    assert new_coarse.shape == (2, 5, 4, 6)
    torch.testing.assert_close(w_c, gates[:, :5])
    torch.testing.assert_close(w_t, gates[:, 5:])
    torch.testing.assert_close(new_coarse, module.coarse_norm(gates[:, :5] * leaky[0]))
    torch.testing.assert_close(new_texture, module.texture_norm(gates[:, 5:] * leaky[1]))


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_each_fusion_keeps_the_size_and_only_dpfms_have_gates(ablation: dict[str, bool]) -> None:
    fusion = Fusion(4, **ablation).eval()
    images = [torch.rand(1, 3, 32, 48) for _ in range(2 if ablation["texture"] else 1)]
    with torch.no_grad():
        image, gates = fusion(images)
    assert image.shape == (1, 3, 32, 48)
    shapes = [(1, 4 * 2**level, 32 // 2**level, 48 // 2**level) for level in (1, 2, 3, 4)]
    assert [pair[0].shape for pair in gates] == (shapes if ablation["dpfm"] else [])
    assert all(gate.min() > 0 and gate.max() < 1 for pair in gates for gate in pair)


def test_the_texture_generator_is_the_colours_one_without_the_shift_to_an_image() -> None:
    signed, plain = Generator(False, 4, 1, signed=True), Generator(False, 4, 1)
    plain.load_state_dict(signed.state_dict())
    x = torch.randn(1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(signed(x), 2 * plain(x) - 1, rtol=1e-4, atol=1e-6)


# The generator --------------------------------------------------------------------------------------------------------


def test_what_image_and_texture_hold_in_the_hole_does_not_matter() -> None:
    networks, batch = tiny().eval(), holes()
    noise = batch["mask"] * torch.randn_like(batch["texture"])
    with torch.no_grad():
        pred = method.restore(networks, batch)
        other = method.restore(networks, batch | {"x": batch["target"], "texture": batch["texture"] + noise})
        known = method.restore(networks, batch | {"texture": batch["texture"] + 0.1 * (1 - batch["mask"])})
    torch.testing.assert_close(pred, other)
    assert (known - pred).abs().max() > 1e-4


def test_without_its_texture_branch_no_texture_is_asked_for() -> None:
    batch = holes()
    del batch["texture"]
    with torch.no_grad():
        pred = method.restore(tiny(texture=False, dpfm=False).eval(), batch)
    assert pred.shape == batch["x"].shape
    with pytest.raises(KeyError, match="texture"):
        method.restore(tiny().eval(), batch)


def test_the_fusion_sees_composites() -> None:
    seen: list[Tensor] = []
    networks, batch = tiny().eval(), holes()
    networks["generator"].fusion.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))
    with torch.no_grad():
        completed = networks["generator"](batch)
    hole = batch["mask"].bool().expand_as(batch["x"])
    truths = (batch["x"], batch["texture"])
    for image, made, known in zip(seen, (completed.coarse, completed.texture), truths, strict=True):
        assert torch.equal(image[hole], made[hole])
        assert torch.equal(image[~hole], known[~hole])


def test_gradients_flow_from_the_fused_image_into_both_branches() -> None:
    networks, batch = tiny().train(), holes()
    TRAIN.forward(networks, batch)["pred"].sum().backward()
    for part in ("coarse", "texture", "fusion"):
        gradients = [p.grad for p in getattr(networks["generator"], part).parameters()]
        assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0, part


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_each_branchs_losses_move_that_branch_alone_and_the_fusions_move_all(phase: str) -> None:
    networks, batch = tiny().train(), holes(size=64)
    networks["vgg16"] = Plain()
    result = generator_losses(networks, batch, method.phases[phase].forward(networks, batch))
    parts = {"coarse", "texture", "fusion"}
    for name, value in result.items():
        networks.zero_grad()
        value.backward(retain_graph=True)
        named = networks["generator"].named_parameters()
        moved = {key.partition(".")[0] for key, p in named if p.grad is not None and p.grad.any()}
        branch = name.partition("_")[0]
        assert moved == ({branch} if branch in ("coarse", "texture") else parts), name


def test_insides_are_images_and_the_gates_means() -> None:
    networks, batch = tiny().eval(), {name: value[:1] for name, value in holes(size=32).items()}
    with torch.no_grad():
        result = insides(networks, batch)
        completed = networks["generator"](batch)
    images = ["coarse result", "texture given", "texture result", "fused result"]
    streams = ("coarse", "texture")
    gates = [f"gate of the {stream} features, DPFM {level}" for level in (1, 2, 3, 4) for stream in streams]
    assert list(result) == images + gates
    assert all(result[name].shape == (1, 3, 32, 32) for name in images)
    assert all(value.min() >= 0 and value.max() <= 1 for value in result.values())
    assert torch.equal(result["gate of the texture features, DPFM 2"], completed.gates[1][1].mean(dim=1, keepdim=True))
    assert result["texture given"][batch["mask"].expand(1, 3, -1, -1) > 0].unique().tolist() == [0.5]  # grey: none
    known = batch["mask"].expand(1, 3, -1, -1) == 0
    assert torch.equal(result["fused result"][known], batch["x"][known])
    bare = insides(tiny(texture=False, dpfm=False).eval(), batch)
    assert list(bare) == ["coarse result", "fused result"]


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ParamsError, match="set dpfm to false"):
        method.networks(texture=False)
    with pytest.raises(ParamsError, match="there is no texture; set masked_texture to false"):
        method.networks(texture=False, dpfm=False, masked_texture=True)
    with pytest.raises(ParamsError, match=r"RTV: .* eps 0, iterations 3; expected all of them above"):
        method.networks(eps=0)
    with pytest.raises(ParamsError, match="num_blocks is 0"):
        method.networks(num_blocks=0)
    with pytest.raises(ParamsError, match="critic_channels is 0"):
        method.networks(critic_channels=0)
    with pytest.raises(ParamsError, match="expected an even number of channels"):
        method.networks(channels=5)


# The critic -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("in_channels", "expected"), [(3, 5_945_216), (4, 5_945_216 + 64 * 25)])
def test_the_critic_has_the_published_size_and_a_map_of_a_sixty_fourth(in_channels: int, expected: int) -> None:
    critic = SNPatchCritic(in_channels)
    assert size_of(critic) == expected
    with torch.no_grad():
        assert SNPatchCritic(in_channels, 4)(torch.rand(2, in_channels, 256, 128)).shape == (2, 16, 4, 2)


def test_the_critics_kernels_have_norm_one_and_every_layer_is_activated() -> None:
    critic = SNPatchCritic(3, 4)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for _ in range(1000):  # the power iteration settles; two singular values here are nearly the same
            critic(x)
        critic.eval()
        expected = x
        for conv in critic.convs:
            norm = np.linalg.norm(conv.weight.flatten(1).numpy(), 2)
            assert norm == pytest.approx(1, abs=1e-3)
            y = F.conv2d(F.pad(expected, (2, 2, 2, 2)), conv.weight, conv.bias, stride=2)
            expected = torch.maximum(y, 0.2 * y)
        torch.testing.assert_close(critic(x), expected)


# Losses and phases ----------------------------------------------------------------------------------------------------


def test_the_clipped_hinge_by_hand() -> None:
    fake = torch.tensor([3.0, 1.0, 0.5, -2.0], requires_grad=True)
    value = clipped_hinge_generator(fake)
    assert value.item() == pytest.approx((0 + 0 + 0.5 + 3) / 4)
    value.backward()
    assert fake.grad.tolist() == [0.0, 0.0, -0.25, -0.25]  # no pull where the critic is convinced


class Plain(nn.Module):
    """Eyes that give the image itself, three times."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        return [x for _ in names]


def test_losses_of_each_part_by_hand() -> None:
    networks, batch = tiny(), holes()
    share = 1 / 16
    outputs = {
        "pred": batch["target"] + 0.1,
        "coarse": batch["target"] + 0.2,
        "texture": batch["texture"] + 0.3,  # its truth is the truth's texture
    }
    networks["vgg16"] = Plain()
    result = generator_losses(networks, batch, outputs)
    parts, names = ("coarse", "texture", "fusion"), ("hole", "valid", "perceptual", "style")
    assert set(result) == {f"{part}_{name}" for part in parts for name in names} | {"adversarial"}
    for part, error in zip(parts, (0.2, 0.3, 0.1), strict=True):
        assert result[f"{part}_hole"].item() == pytest.approx(error * share, rel=1e-4)
        assert result[f"{part}_valid"].item() == pytest.approx(error * (1 - share), rel=1e-4)
        assert result[f"{part}_perceptual"].item() == pytest.approx(3 * error * (1 + share), rel=1e-4)
    assert set(method.helpers["vgg16"].losses) == {name for name in result if name.endswith(("perceptual", "style"))}


def test_the_critic_sees_truth_and_composite() -> None:
    networks, batch = tiny().eval(), holes(size=64)
    critic, pred = networks["critic"], torch.rand(2, 3, 64, 64, requires_grad=True)
    known_error = {"pred": pred + 0.5 * (1 - batch["mask"]), "coarse": pred}
    scores = critic(torch.where(batch["mask"] > 0, pred, batch["target"])), critic(batch["target"])
    result = critic_losses(networks, batch, known_error)["adversarial"]
    torch.testing.assert_close(result, F.relu(1 + scores[0]).mean() + F.relu(1 - scores[1]).mean())
    torch.testing.assert_close(
        generator_losses(networks, batch, known_error)["adversarial"], F.relu(1 - scores[0]).mean()
    )
    result.backward()
    assert pred.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_the_baseline_has_no_losses_of_the_texture() -> None:
    networks, batch = tiny(texture=False, dpfm=False), holes()
    result = generator_losses(networks, batch, TRAIN.forward(networks, batch))
    assert set(result) == {"coarse_hole", "coarse_valid", "fusion_hole", "fusion_valid", "adversarial"}


def test_finetuning_keeps_every_running_statistic() -> None:
    networks, batch = tiny().train(), holes()
    outputs = TRAIN.forward(networks, batch)
    before = {name: value.clone() for name, value in networks["generator"].named_buffers()}
    frozen = FINETUNE.forward(networks, batch)
    assert all(torch.equal(value, before[name]) for name, value in networks["generator"].named_buffers())
    assert all(module.training for module in networks.modules())
    assert (frozen["pred"] - outputs["pred"]).abs().max() > 1e-4
    with torch.no_grad():
        torch.testing.assert_close(frozen["pred"], method.restore(networks.eval(), batch))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_steps_as_the_engine_takes_them_lower_every_part(ablation: dict[str, bool], bfloat16: bool) -> None:
    networks, batch = tiny(**ablation).train(), holes()
    assert [list(phase.players) for phase in method.phases.values()] == [
        ["critic", "generator"],
        ["finetune_critic", "finetune_generator"],
    ]
    optimizers = {
        name: torch.optim.Adam(networks[player.networks[0]].parameters(), 1e-4 if name == "critic" else 3e-3)
        for name, player in TRAIN.players.items()
    }
    history = []
    for _ in range(15):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = TRAIN.forward(networks, batch)
        values = {}
        for name, player in TRAIN.players.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                losses = player.losses(networks, batch, outputs)
            networks.zero_grad()
            weights = {key: 0.01 if key == "adversarial" else 6.0 if key.endswith("hole") else 1.0 for key in losses}
            torch.stack([weights[key] * value for key, value in losses.items()]).sum().backward(retain_graph=True)
            assert all(p.grad is not None and p.grad.isfinite().all() for p in networks[name].parameters())
            assert name == "generator" or all(p.grad is None for p in networks["generator"].parameters())
            optimizers[name].step()
            values |= {f"{name}.{key}": value.item() for key, value in losses.items()}
        history.append(values)
    lowered = [key for key in history[0] if key.endswith(("hole", "valid"))]
    assert len(lowered) == (6 if ablation["texture"] else 4)
    for key in lowered:
        assert sum(values[key] for values in history[-3:]) < 0.9 * sum(values[key] for values in history[:3]), key


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_masked_texture_trains_on_what_restoring_is_given(phase: str) -> None:
    """With another value of RTV, so that both are seen to have it; the truth's texture stays the aim."""
    arguments = {"lam": 0.03, "iterations": 1}
    networks, batch = tiny(masked_texture=True, **arguments).train(), holes()
    seen: list[Tensor] = []
    networks["generator"].texture.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, :3]))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = method.phases[phase].forward(networks, batch)
    given = prepared(settled(method, arguments), {name: batch[name] for name in ("x", "mask")})["texture"]
    torch.testing.assert_close(seen[0], given, rtol=0, atol=1e-6)
    assert (given - prepared(method, batch)["texture"]).abs().max() > 0.01
    plain = tiny(**arguments).train()
    plain["generator"].texture.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, :3]))
    method.phases[phase].forward(plain, batch)
    assert torch.equal(seen[1], batch["texture"] * (1 - batch["mask"]))
    error = (outputs["texture"].float() - batch["texture"]).abs() * batch["mask"]
    assert generator_losses(networks, batch, outputs)["texture_hole"].item() == pytest.approx(error.mean().item(), 1e-3)


def test_the_auxiliary_map_is_the_texture_by_relative_total_variation() -> None:
    """A flat image has none; what is made of an image with a hole is 0 in the hole and does not see the hole's rim."""
    auxiliary_map = method.auxiliary["texture"]
    assert auxiliary_map.module == "methods/auxiliary/rtv.py"
    flat = np.full((32, 32, 3), 0.6, np.float32)
    mask = np.zeros((32, 32, 1), np.float32)
    mask[8:20, 10:18] = 1
    np.testing.assert_allclose(auxiliary_map.of_target(flat), 0, atol=1e-6)
    made = auxiliary_map.of_input(flat * (1 - mask), mask)
    assert made.shape == flat.shape and made.dtype == np.float32
    assert np.abs(made[mask[..., 0] > 0]).max() == 0
    assert np.abs(made).max() < 0.05


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "generator", "step", 0, 5e-4),
        ("finetune", "finetune_generator", "step", 0, 5e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 4.1: 5e-4, then 5e-5 for fine-tuning."""
    assert learning_rate("dgfnet-paris", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
