"""EdgeConnect: its edges, its inputs, its three phases and its losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import rgb2gray
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods.edgeconnect import colour_input, joint_forward, method
from methods.families.edge_model import Generator, canny, edge_generator_losses, edge_input, luminance, predicted_edges
from tests.methods.schedules import learning_rate

generator_losses = method.phases["inpaint"].players["generator"].losses
WEIGHTS = {
    "edge_critic": {"adversarial": 1.0},
    "edge_generator": {"adversarial": 1.0, "feature_matching": 10.0},
    "critic": {"adversarial": 1.0},
    "generator": {"l1": 1.0, "adversarial": 0.1},
}


def tiny() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**method.tiny))


def holes(count: int = 2, size: int = 48) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return {"x": target * (1 - mask), "mask": mask, "target": target}


def test_parameters_are_those_of_the_papers_networks() -> None:
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in method.networks().items()}
    assert counts == {
        "edge_generator": 10_761_089,
        "edge_critic": 2_762_752,  # the known 2,763,776 for 3 channels, less a channel of 64 4x4 kernels
        "generator": 10_774_595,
        "critic": 2_763_776,
    }


def test_luminance_is_scikit_images() -> None:
    image = torch.rand(2, 3, 5, 7)
    expected = rgb2gray(image.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(luminance(image)[:, 0].numpy(), expected, rtol=1e-5)


def test_canny_finds_a_step_where_it_is() -> None:
    grey = torch.zeros(2, 1, 32, 40)
    grey[0, :, :, 20:] = 1.0  # the first image has a step between columns 19 and 20, the second has none
    edges = canny(grey)
    columns = edges[0, 0].sum(dim=0).nonzero().flatten().tolist()
    assert edges.shape == grey.shape and set(edges.unique().tolist()) == {0.0, 1.0}
    assert columns and set(columns) <= {19, 20}
    assert edges[1].sum() == 0


def test_canny_told_the_known_region_sees_no_edge_of_the_hole() -> None:
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 16:32, 16:32] = 1
    x = 0.8 * (1 - mask)
    assert canny(x).sum() > 0
    assert canny(x, known=1 - mask).sum() == 0
    noise = torch.rand(1, 1, 48, 48)
    assert torch.equal(canny(x + noise * mask, known=1 - mask), canny(x, known=1 - mask))


def test_inputs_hold_one_in_the_hole_and_no_edge_there() -> None:
    grey, edges, mask = torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    stacked = edge_input(grey, edges, mask)
    assert torch.equal(stacked[:, :1], torch.where(mask > 0, 1.0, grey))
    assert torch.equal(stacked[:, 1:2], 1 - mask)
    assert torch.equal(stacked[:, 2:], mask)
    image = torch.rand(1, 3, 4, 4)
    stacked = colour_input(image * (1 - mask), edges, mask)
    assert torch.equal(stacked[:, :3], torch.where(mask > 0, 1.0, image))
    assert torch.equal(stacked[:, 3:], edges)


def test_predicted_edges_stay_in_the_hole_and_carry_no_gradient() -> None:
    networks, batch = tiny().eval(), holes()
    grey = luminance(batch["target"])
    edges = canny(grey)
    composite = predicted_edges(networks, grey, edges, batch["mask"])
    known = batch["mask"] == 0
    assert torch.equal(composite[known], edges[known])
    assert not composite.requires_grad
    raw = networks["edge_generator"](edge_input(grey, edges, batch["mask"]))
    assert torch.equal(composite[~known], raw[~known])


@pytest.mark.parametrize(("height", "width"), [(12, 12), (32, 52)])
def test_restoring_keeps_the_size_and_does_not_look_into_the_hole(height: int, width: int) -> None:
    networks, target = tiny().eval(), torch.rand(2, 3, height, width)
    mask = torch.zeros(2, 1, height, width)
    mask[..., 2:9, 3:8] = 1
    with torch.no_grad():
        pred = method.restore(networks, {"x": target * (1 - mask), "mask": mask})
        alone = method.restore(networks, {"x": (target * (1 - mask))[1:], "mask": mask[1:]})
    assert pred.shape == target.shape
    assert pred.min() >= 0 and pred.max() <= 1
    torch.testing.assert_close(pred[1:], alone)


def test_feature_matching_is_l1_over_all_five_outputs() -> None:
    networks, batch = tiny().eval(), holes()
    outputs = method.phases["edge"].forward(networks, batch)
    losses = edge_generator_losses(networks, batch, outputs)
    critic = networks["edge_critic"]
    pairs = zip(critic(outputs["fake"]), critic(outputs["real"]), strict=True)
    torch.testing.assert_close(losses["feature_matching"], sum((a - b).abs().mean() for a, b in pairs))
    same = edge_generator_losses(networks, batch, {"real": outputs["real"], "fake": outputs["real"]})
    assert same["feature_matching"].item() == 0


def test_losses_of_the_colours_by_hand() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
            return [x for _ in names]

    networks, batch = tiny(), holes()
    pred = batch["target"] + 0.1 * (1 - batch["mask"])
    losses = generator_losses(networks, batch, {"pred": pred})
    assert set(losses) == {"l1", "adversarial"}
    assert losses["l1"].item() == pytest.approx(0.1 * (1 - 1 / 16) / (1 / 16), rel=1e-4)  # the known part counts too
    networks["vgg19"] = Plain()
    losses = generator_losses(networks, batch, {"pred": pred})
    assert losses["perceptual"].item() == pytest.approx(5 * 0.1 * (1 - 1 / 16), rel=1e-4)
    assert losses["style"].item() == 0  # it looks at the hole alone, where nothing differs
    assert generator_losses(networks, batch, {"pred": batch["target"] + 0.1})["style"].item() > 0
    assert set(method.helpers["vgg19"].losses) == {"perceptual", "style"} <= set(losses)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("phase", ["edge", "inpaint", "joint"])
def test_a_phase_moves_its_players_and_nothing_else(phase: str, bfloat16: bool) -> None:
    networks, batch = tiny().train(), holes()
    before = {name: parameter.detach().clone() for name, parameter in networks.named_parameters()}
    playing = method.phases[phase].players
    errors = []
    rates = {name: 1e-4 if "critic" in name else 1e-3 for name in playing}
    optimisers = {name: torch.optim.Adam(networks[name].parameters(), rates[name], (0.0, 0.9)) for name in playing}
    for _ in range(10):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = method.phases[phase].forward(networks, batch)
        for name, player in playing.items():
            assert player.networks == (name,)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                losses = player.losses(networks, batch, outputs)
            networks.zero_grad()
            sum(WEIGHTS[name][key] * value for key, value in losses.items()).backward(retain_graph=True)
            optimisers[name].step()
        result, true = (outputs["fake"], outputs["real"]) if phase == "edge" else (outputs["pred"], batch["target"])
        errors.append((result - true).abs().mean().item())
    generator = "edge_generator" if phase == "edge" else "generator"
    assert list(playing) == ["edge_critic" if phase == "edge" else "critic", generator]
    assert errors[-1] < 0.9 * errors[0]
    for name, parameter in networks.named_parameters():
        assert torch.equal(parameter, before[name]) != (name.split(".")[0] in playing), name


def test_the_joint_phase_paints_over_predicted_edges() -> None:
    networks, batch = tiny().eval(), holes()
    grey = luminance(batch["target"])
    edges = predicted_edges(networks, grey, canny(grey), batch["mask"])
    expected = networks["generator"](colour_input(batch["x"], edges, batch["mask"]))
    assert torch.equal(joint_forward(networks, batch)["pred"], expected)
    assert not torch.equal(method.phases["inpaint"].forward(networks, batch)["pred"], expected)


def test_one_seed_gives_one_network_and_spectral_norm_is_on_all_edge_convolutions_but_the_last() -> None:
    first, second = tiny(), tiny()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    names = [name for name, _ in first["edge_generator"].named_parameters() if name.endswith("original")]
    assert len(names) == 3 + 2 * method.tiny["num_blocks"] + 2
    assert not [name for name, _ in first["generator"].named_parameters() if name.endswith("original")]


def test_the_authors_file_wraps_its_state_and_old_statistics_are_dropped() -> None:
    ours = Generator(False, 8, 1).state_dict()
    layers = {
        "entry": "encoder.1",
        "down1": "encoder.4",
        "down2": "encoder.7",
        "blocks.0.conv1": "middle.0.conv_block.1",
        "blocks.0.conv2": "middle.0.conv_block.5",
        "up1": "decoder.0",
        "up2": "decoder.3",
        "exit": "decoder.7",
    }
    theirs = {
        f"module.{layers[layer]}.{kind}": ours[f"{layer}.{kind}"] for layer in layers for kind in ("weight", "bias")
    }
    theirs["module.encoder.2.running_mean"] = torch.zeros(8)
    result = method.reference["generator"]({"iteration": 7, "generator": theirs})
    assert result.keys() == ours.keys()
    assert all(torch.equal(result[name], ours[name]) for name in ours)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ParamsError, match="critic_channels is 0; expected at least 1"):
        method.networks(critic_channels=0)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("edge", "edge_generator", "step", 1_999_999, 1e-4),
        ("edge", "edge_critic", "step", 0, 1e-5),
        ("inpaint", "generator", "step", 1_999_999, 1e-4),
        ("joint", "critic", "step", 1_999_999, 1e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """The code: constant, each critic at a tenth of its generator."""
    assert learning_rate("edgeconnect-paris", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
