"""MRFNet with its edge and blur-class branches: its switches, its phases, the blurs it learns from, and its maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from bench.contracts import ParamsError
from datasets.degradations import blur
from methods import mrfnet
from methods.families.blur_class import (
    CLASSES,
    BlurClassifier,
    class_logits,
    class_shares,
    convolve,
    draw_blurred,
    gaussian_kernels,
    location_scores,
    motion_kernels,
    normalised_gradients,
)
from methods.families.edge_model import canny, edge_input, luminance
from methods.families.multipath import MRFNet
from methods.mrfnet_edges import LastStage, classify_forward, deblur, edges_and_scores, method, mix_edges, predict_edges
from tests.methods.schedules import learning_rate


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def tiny(**arguments) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**(method.tiny | arguments)))


def stirred(**arguments) -> nn.ModuleDict:
    """Networks whose last stage does not start at 0."""
    networks = tiny(**arguments)
    if networks["network"].last is not None:
        nn.init.normal_(networks["network"].last.exit.weight, std=0.1)
    return networks.eval()


def blurry(count: int = 2, height: int = 64, width: int = 64) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(count, 3, height // 8, width // 8), (height, width), mode="nearest")
    return {"x": F.avg_pool2d(F.pad(target, (2, 2, 2, 2), mode="replicate"), 5, 1), "target": target}


# The switches ---------------------------------------------------------------------------------------------------------

SWITCHES = [(True, True), (True, False), (False, True), (False, False)]


def test_parameters_of_the_papers_width():
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in method.networks().items()}
    last = (97 * 32 * 9 + 32) + 2 * (32 * 32 * 9 + 32) + (32 * 3 * 9 + 3)
    assert counts == {
        "network": 5_428_524 + last,
        "edge_generator": 10_761_089,
        "edge_critic": 2_762_752,
        "classifier": 3 * 32 * 49 + (32 * 128 + 128) + (128 * 128 + 128) + 2 * 128,
    }


@pytest.mark.parametrize(("edges", "classes"), SWITCHES)
def test_a_switch_makes_its_networks_and_nothing_else(edges, classes):
    networks = tiny(edges=edges, classes=classes)
    expected = {"network"} | ({"edge_generator", "edge_critic"} if edges else set())
    assert set(networks) == expected | ({"classifier"} if classes else set())
    last = networks["network"].last
    assert (last is None) == (not edges and not classes)
    if last is not None:
        assert last.entry.in_channels == 3 * 4 + edges
        assert len(last.kernels) == 2 * classes
    batch = blurry()
    outputs = method.phases["deblur"].forward(networks, batch)
    losses = method.phases["deblur"].players["network"].losses(networks, batch, outputs)
    assert set(losses) == {"scale_refinement", "mse", *(f"scale_{k}" for k in (1, 2, 3, 4))}
    (losses["scale_refinement"] + losses["mse"]).backward()
    parameters = dict(networks["network"].named_parameters())
    assert [name for name, parameter in parameters.items() if parameter.grad is None] == []
    others = [p for name in networks if name != "network" for p in networks[name].parameters()]
    assert all(parameter.grad is None for parameter in others), "the branches rest"


def test_without_both_it_is_mrfnet_exactly():
    networks, plain = tiny(edges=False, classes=False).eval(), MRFNet(channels=4).eval()
    plain.load_state_dict(networks["network"].trunk.state_dict())
    batch = blurry()
    with torch.no_grad():
        assert torch.equal(method.restore(networks, batch), plain(batch["x"])[0])
        for ours, theirs in zip(deblur(networks, batch), plain(batch["x"]), strict=True):
            assert torch.equal(ours, theirs)
    assert {f"trunk.{name}" for name in plain.state_dict()} == set(networks["network"].state_dict())


@pytest.mark.parametrize(("edges", "classes"), SWITCHES)
def test_training_begins_with_mrfnets_own_image(edges, classes):
    networks, batch = tiny(edges=edges, classes=classes).eval(), blurry()
    with torch.no_grad():
        assert torch.equal(method.restore(networks, batch), networks["network"].trunk(batch["x"])[0])


@pytest.mark.parametrize(("edges", "classes"), SWITCHES[:3])
def test_a_branch_changes_the_finest_image_alone(edges, classes):
    networks, batch = stirred(edges=edges, classes=classes), blurry()
    with torch.no_grad():
        ours, plain = deblur(networks, batch), networks["network"].trunk(batch["x"])
        assert (ours[0] - plain[0]).abs().max() > 1e-3
        assert all(torch.equal(a, b) for a, b in zip(ours[1:], plain[1:], strict=True))


# Broad view and alpha -------------------------------------------------------------------------------------------------


def test_the_generator_is_given_the_blurred_image_its_edges_and_no_hole():
    networks, batch = tiny().eval(), blurry()
    grey = luminance(batch["x"])
    given = torch.cat([grey, canny(grey), torch.zeros_like(grey)], dim=1)
    assert torch.equal(given, edge_input(grey, canny(grey), torch.zeros_like(grey)))
    with torch.no_grad():
        assert torch.equal(predict_edges(networks, grey), networks["edge_generator"](given))
        edges, scores = edges_and_scores(networks, batch["x"])
        assert torch.equal(edges, networks["edge_generator"](given))
        assert torch.equal(scores, networks["classifier"](grey, edges))
        result = method.phases["edge"].forward(networks, batch)
    truth = luminance(batch["target"])
    assert torch.equal(result["real"], torch.cat([truth, canny(truth)], dim=1))
    assert torch.equal(result["fake"], torch.cat([truth, edges], dim=1))


def test_without_the_generator_the_classifier_sees_canny_edges():
    networks, batch = tiny(edges=False).eval(), blurry()
    grey = luminance(batch["x"])
    with torch.no_grad():
        edges, scores = edges_and_scores(networks, batch["x"])
        assert edges is None
        assert torch.equal(scores, networks["classifier"](grey, canny(grey)))


@pytest.mark.parametrize(("progress", "alpha"), [(0.0, 0.0), (0.125, 0.25), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)])
def test_alpha_grows_from_0_to_1_in_the_middle(progress, alpha):
    batch = blurry() | {"progress": torch.tensor(progress)}
    predicted = torch.full((2, 1, 64, 64), 0.5)
    truth = canny(luminance(batch["target"]))
    torch.testing.assert_close(mix_edges(predicted, batch), alpha * predicted + (1 - alpha) * truth)


def test_training_begins_on_true_edges_and_restoring_never_sees_them():
    networks, batch = stirred(classes=False), blurry()
    truth = canny(luminance(batch["target"]))
    with torch.no_grad():
        first = deblur(networks, batch | {"progress": torch.tensor(0.0)})[0]
        late = deblur(networks, batch | {"progress": torch.tensor(0.5)})[0]
        assert torch.equal(first, networks["network"](batch["x"], truth, None)[0])
        assert torch.equal(late, method.restore(networks, {"x": batch["x"]}))
        assert not torch.equal(first, late)
        assert torch.equal(late, method.restore(networks, batch | {"progress": torch.tensor(0.0)}))


# The blurs of the labelled data ---------------------------------------------------------------------------------------


def placed(kernel: np.ndarray) -> np.ndarray:
    """`kernel` in the middle of 31x31 zeros; the middle of an even side is the pixel behind its centre."""
    whole = np.zeros((31, 31))
    top, left = (15 - side // 2 for side in kernel.shape)
    whole[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
    return whole


def test_the_kernels_are_those_of_the_data_sets_at_every_value_that_is_drawn():
    motions = [(length, angle) for length in range(5, 35, 5) for angle in range(0, 360, 15)]
    result = motion_kernels(*torch.tensor(motions).unbind(1))
    expected = np.stack([placed(blur.motion_kernel(*drawn)) for drawn in motions])
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    gaussians = [(size, tenths / 10) for size in range(1, 6) for tenths in range(1, 11)]
    sizes, sigmas = torch.tensor(gaussians).unbind(1)
    expected = np.stack([placed(blur.gaussian_kernel(*drawn)) for drawn in gaussians])
    np.testing.assert_allclose(gaussian_kernels(sizes.long(), sigmas).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kernels", "kernel"),
    [
        (gaussian_kernels(torch.tensor([4]), torch.tensor([0.9])), blur.gaussian_kernel(4, 0.9)),
        (motion_kernels(torch.tensor([25]), torch.tensor([60])), blur.motion_kernel(25, 60)),
    ],
    ids=["even gaussian", "motion"],
)
def test_convolving_is_that_of_the_data_sets_up_to_their_rounding(kernels, kernel):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    result = convolve(torch.tensor(image[None, None, ..., 0]).float(), kernels)[0, 0]
    assert np.abs(result.numpy() - blur.convolve(image, kernel)[..., 0]).max() < 0.51


def test_half_of_a_batch_is_blurred_by_either_and_the_step_says_how():
    sharp = torch.rand(6, 1, 40, 40)
    torch.manual_seed(3)
    blurred, labels = draw_blurred(sharp)
    torch.manual_seed(3)
    again, same = draw_blurred(sharp)
    assert torch.equal(blurred, again) and torch.equal(labels, same)
    assert blurred.shape == sharp.shape
    assert labels.bincount().tolist() == [3, 3]
    assert not torch.equal(draw_blurred(sharp)[0], blurred)
    lots = torch.cat([draw_blurred(sharp[:1])[1] for _ in range(64)])
    assert 16 < lots.sum() < 48, "a batch of one has either class"
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(3)
        assert torch.equal(draw_blurred(sharp)[0], blurred)


# Class and location ---------------------------------------------------------------------------------------------------


def test_logits_are_the_weighted_averages_of_the_maps():
    classifier = BlurClassifier(4)
    seen = []
    classifier.layers.register_forward_hook(lambda module, inputs, output: seen.append(output))
    scores = classifier(torch.rand(2, 1, 32, 48), torch.rand(2, 1, 32, 48))
    assert scores.shape == (2, 2, 4, 6)
    expected = seen[0].mean((2, 3)) @ classifier.weights.weight[:, :, 0, 0].T
    torch.testing.assert_close(class_logits(scores), expected)


def test_slopes_know_neither_brightness_nor_contrast():
    grey = torch.rand(2, 1, 9, 12)
    result = normalised_gradients(grey)
    torch.testing.assert_close(normalised_gradients(0.3 * grey + 0.5), result, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(result.square().mean((1, 2, 3)), torch.ones(2))
    assert (result[:, 0, :, -1] == 0).all() and (result[:, 1, -1] == 0).all()
    scale = (grey[0, 0, 0, 1] - grey[0, 0, 0, 0]) / result[0, 0, 0, 0]
    torch.testing.assert_close(result[0, 1, :-1] * scale, grey[0, 0, 1:] - grey[0, 0, :-1])
    assert (normalised_gradients(torch.full((1, 1, 4, 4), 0.7)) == 0).all()


def test_location_by_hand():
    scores = torch.tensor([[[[1.0, 3.0], [-4.0, 0.0]], [[-1.0, -2.0], [-3.0, -4.0]]]])
    assert location_scores(scores)[0, 0].tolist() == [[0.25, 0.75], [0.0, 0.0]]
    assert location_scores(scores)[0, 1].unique().tolist() == [0.0]
    shares = class_shares(scores, 2, 2)
    probability = 1 / (1 + math.exp(-2.5))  # mean scores of 0 and -2.5
    torch.testing.assert_close(shares[0, 0], probability * torch.tensor([[1 / 3, 1.0], [0.0, 0.0]]))
    assert (shares[0, 1] == 0).all()
    assert class_shares(scores, 16, 24).shape == (1, 2, 16, 24)


def test_the_last_stage_mixes_the_kernels_by_place():
    stage = LastStage(4, edges=True, classes=True)
    nn.init.normal_(stage.exit.weight)
    blurred, refined, edges = torch.randn(1, 8, 6, 8), torch.randn(1, 4, 6, 8), torch.rand(1, 1, 6, 8)
    shares = torch.zeros(1, 2, 6, 8)
    shares[:, 0, :, :4], shares[:, 1, :, 4:] = 1.0, 0.5
    x = F.relu(stage.entry(torch.cat([blurred, refined, edges], 1)))
    left, right = (x + F.relu(weight * kernel(x)) for weight, kernel in zip((1, 0.5), stage.kernels, strict=True))
    expected = stage.exit(torch.cat([left[..., :4], right[..., 4:]], -1))
    torch.testing.assert_close(stage(blurred, refined, edges, shares), expected)


# Training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["edge", "classify", "deblur"])
def test_a_phase_moves_its_players_and_nothing_else(phase):
    networks, batch = tiny().train(), blurry()
    before = {name: parameter.detach().clone() for name, parameter in networks.named_parameters()}
    playing = method.phases[phase].players
    optimisers = {
        name: torch.optim.Adam([p for net in player.networks for p in networks[net].parameters()], 1e-3)
        for name, player in playing.items()
    }
    for _ in range(3):
        outputs = method.phases[phase].forward(networks, batch)
        for name, player in playing.items():
            losses = player.losses(networks, batch, outputs)
            networks.zero_grad()
            sum(losses.values()).backward(retain_graph=True)
            optimisers[name].step()
    assert (
        list(playing)
        == {
            "edge": ["edge_critic", "edge_generator"],
            "classify": ["classifier"],
            "deblur": ["network"],
        }[phase]
    )
    moved = {name.split(".")[0] for name, p in networks.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(playing)


def crops(pictures: list[Tensor], count: int, side: int, generator: torch.Generator) -> Tensor:
    """`count` square cuts of each picture."""
    cut = []
    for picture in pictures:
        for _ in range(count):
            top, left = (int(torch.randint(size - side, (), generator=generator)) for size in picture.shape[1:])
            cut.append(picture[:, top : top + side, left : left + side])
    return torch.stack(cut)


def picture(name: str) -> Tensor:
    image = torch.tensor(getattr(data, name)()).float() / 255
    return image.permute(2, 0, 1) if image.dim() == 3 else image.expand(3, -1, -1)


def test_a_short_training_tells_the_blurs_of_photographs_it_never_saw():
    networks, steps, lr = tiny(edges=False, class_channels=12), 120, 6e-3
    seen = [picture(name) for name in ("astronaut", "coffee", "coins", "grass")]
    held = [picture(name) for name in ("camera", "gravel", "brick")]
    phase, generator = method.phases["classify"], torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(networks["classifier"].parameters(), lr)
    for step in range(steps):
        torch.manual_seed(step)
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = {"target": crops(seen, 2, 64, generator)}
        outputs = phase.forward(networks, batch)
        loss = phase.players["classifier"].losses(networks, batch, outputs)["cross_entropy"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        outputs = classify_forward(networks, {"target": crops(held, 48, 64, generator)})
    accuracy = (class_logits(outputs["scores"]).argmax(1) == outputs["labels"]).float().mean().item()
    print("ACC", accuracy, loss.item())
    assert accuracy > 0.75  # of 144 images: guessing reaches 0.63 once in a thousand times


# What the engine is told ----------------------------------------------------------------------------------------------


def test_insides_show_edges_classes_and_paths():
    networks, batch = tiny().eval(), blurry(1, 32, 64)
    with torch.no_grad():
        result = method.insides(networks, batch)
        edges, scores = edges_and_scores(networks, batch["x"])
    assert torch.equal(result["edge map"], edges)
    vector = result[f"probability: {CLASSES[0]}, {CLASSES[1]}"]
    torch.testing.assert_close(vector, class_logits(scores)[0].softmax(0))
    assert vector.sum().item() == pytest.approx(1)
    for name, map_ in result.items():
        assert map_ is vector or (map_.dim() == 4 and map_.min() >= 0 and map_.max() <= 1), name
    assert {f"location of {name}, own range" for name in CLASSES} <= set(result)
    assert "path 4: image" in result
    without = method.insides(tiny(edges=False, classes=False), batch)
    assert list(without) == list(mrfnet.method.insides(nn.ModuleDict({"network": MRFNet(4)}), batch))


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ParamsError, match="mrfnet-edges: class_channels is 0; expected at least 1"):
        method.networks(class_channels=0)
    with pytest.raises(ParamsError, match="num_paths is 7, expected 1 to 6"):
        method.networks(num_paths=7)


def test_the_entry_says_what_it_watches_and_leaves_out():
    assert list(method.phases) == ["edge", "classify", "deblur"]
    assert method.watched == mrfnet.method.watched
    assert any("Contextual attention" in limit for limit in method.limits)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("deblur", "network", "epoch", 9, 1e-4),
        ("deblur", "network", "epoch", 10, 5e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """As MRFNet's."""
    assert learning_rate("mrfnet-edges-visdrone", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
