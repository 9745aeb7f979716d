"""What every method keeps, whatever it is: sizes, known pixels, gradients, precision, layout, seeds and batches."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import registry, runs
from bench.contracts import Method
from bench.importing import networks_in_use
from bench.params import loading, resolving
from bench.scoring.restore import pad, prepared, restore
from bench.tasks import TASKS, find_task
from bench.training.placement import channels_last
from bench.training.weighting import without_watched
from methods.losses import perceptual

ROOT = Path(__file__).parents[2]
NAMES = registry.names("methods")
TRAINED = [name for name in NAMES if registry.method(name).networks is not None]
CASES = [(name, task) for name in NAMES for task in registry.method(name).tasks]
COMPOSITED = "inpaint"
"""The task whose known pixels are true ones, which a result keeps."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@functools.cache
def entry(name: str) -> Method:
    """The method as a run of its smallest networks has it."""
    method = registry.method(name)
    return runs.settled(method, method.tiny)


@functools.cache
def used_phases(name: str) -> list[str]:
    """The phases that a run of the published network has: those without steps in its recipe are of ablations."""
    loaded = loading.load(ROOT / "params.yaml", "paper")
    runs_of_method = [key for key, run in resolving.all_runs(loaded).items() if run.method.replace("_", "-") == name]
    steps = resolving.recipe(loaded, runs_of_method[0]).train.phases if runs_of_method else {}
    return [phase for phase in registry.method(name).phases if not steps or steps.get(phase)]


def make(name: str) -> nn.ModuleDict:
    """The method's smallest networks, drawn from the present seed; none for a method without training."""
    method = registry.method(name)
    return nn.ModuleDict(method.networks(**method.tiny) if method.networks else {})


@functools.cache
def smooth(height: int, width: int) -> Tensor:
    """A picture (1, 3, H, W) in [0, 1] with flat parts, waves and an edge: noise alone has no edges to find."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(6 * x * k + 4 * y) for k in (1, 2, 3)]
    return torch.where(x > 0.6, torch.stack(waves)[None], 0.8 - 0.5 * torch.stack(waves)[None])


def batch_of(task: str, count: int, height: int, width: int) -> dict[str, Tensor]:
    """A batch of the task, each image another one; every hole has known pixels around it."""
    noise = torch.rand(count, 3, height, width)
    target = 0.8 * smooth(height, width) + 0.2 * noise
    if task == "dual-pixel":
        return {"left": target, "right": target.roll(2, -1), "target": target}
    blurred = 0.9 * target + 0.05
    if not find_task(task).has_hole:
        return {"x": blurred, "target": target}
    mask = torch.zeros(count, 1, height, width)
    for i in range(count):
        mask[i, :, height // 4 + i : height // 2 + i, width // 3 : 2 * width // 3] = 1
    if task == "inpaint":
        return {"x": target * (1 - mask), "mask": mask, "target": target}
    return {"x": blurred * (1 - mask), "mask": mask, "target": target, "blurred": blurred}


def inputs_of(task: str, count: int, height: int, width: int) -> dict[str, Tensor]:
    """What a method is given to restore."""
    batch = batch_of(task, count, height, width)
    return {name: batch[name] for name in find_task(task).inputs}


def training_batch(name: str, count: int = 2, side: int = 48) -> dict[str, Tensor]:
    """A batch as training gives it, of a size that the method takes as it is, a quarter of its phase done."""
    method = entry(name)
    result = {
        key: pad(value, method.multiple, method.min_size)
        for key, value in batch_of(method.tasks[0], count, side, side).items()
    }
    images = result["target"].permute(0, 2, 3, 1).numpy()
    for key, one_map in method.auxiliary.items():
        result[key] = torch.from_numpy(np.stack([one_map.of_target(image) for image in images])).permute(0, 3, 1, 2)
    return result | {"progress": torch.tensor(0.25)}


def with_helpers(name: str, networks: nn.ModuleDict, monkeypatch: pytest.MonkeyPatch) -> nn.ModuleDict:
    """The networks and the method's helpers, with random weights and few channels: what they say does not matter."""
    monkeypatch.setattr(perceptual, "WIDTHS", (4, 4, 4, 4, 4))
    for key, helper in entry(name).helpers.items():
        networks[key] = helper.build(None).eval().requires_grad_(False)
    return networks


# What the entry says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_is_whole(name):
    method = registry.method(name)
    assert method.tasks
    assert set(method.tasks) <= set(TASKS)
    assert len(set(method.tasks)) == len(method.tasks)
    assert method.multiple >= 1
    assert method.min_size >= 1
    assert method.margin is not None or method.tiling, "a method whose field is not bounded says how it is tiled"
    if method.networks is None:
        assert not (method.phases or method.reference or method.tiny or method.helpers or method.auxiliary)
        assert not (method.watched or method.insides)
        return
    assert len(method.tasks) == 1
    assert method.phases
    networks = make(name).keys()
    assert set(method.reference) == set(networks), "the authors' names of every network"
    moved = {net for phase in method.phases.values() for player in phase.players.values() for net in player.networks}
    assert moved == set(networks), "every network is trained by a player"
    known = inspect.signature(method.networks).parameters
    assert set(method.tiny) <= set(known)
    assert all(p.default is not p.empty for p in known.values()), "without arguments it is the published network"


@pytest.mark.parametrize("name", TRAINED)
def test_tiny_is_tiny_and_full_is_the_papers(name):
    method = registry.method(name)
    full = nn.ModuleDict(method.networks())
    params = [sum(p.numel() for p in networks.parameters()) for networks in (make(name), full)]
    assert params[0] < 300_000
    assert params[0] < params[1]


# Restoring ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "task"), CASES)
def test_any_size_gives_its_own(name, task):
    method, networks = entry(name), make(name).eval()
    for height, width in [(37, 50), (method.min_size + 1, 2 * method.min_size + 3), (7, 9), (20, 70)]:
        batch = inputs_of(task, 1, height, width)
        pred = restore(method, networks, batch)
        assert pred.shape == (1, 3, height, width)
        assert pred.dtype == torch.float32
        assert pred.isfinite().all()
        assert pred.min() >= 0
        assert pred.max() <= 1
        if task == COMPOSITED:
            known = (batch["mask"] == 0).expand_as(pred)
            assert torch.equal(pred[known], batch["x"][known])


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "sharp-inpaint" and name in TRAINED])
def test_known_pixels_of_a_blurred_image_are_the_methods_own(name):
    """They are blurred: a method that sharpens them must not get them back."""
    method, networks = entry(name), make(name).eval()
    batch = prepared(method, inputs_of("sharp-inpaint", 1, 48, 48))
    with torch.inference_mode():
        expected = method.restore(networks, batch).clamp(0, 1)
    torch.testing.assert_close(restore(method, networks, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[1] == COMPOSITED])
def test_tiles_without_a_hole_and_images_without_one_stay_as_they_are(name, task):
    """A norm over a region divides by its size: a tile may have no hole at all."""
    method, networks = entry(name), make(name).eval()
    batch, target = inputs_of(task, 1, 80, 280), batch_of(task, 1, 80, 280)["target"]
    batch["mask"][..., 120:] = 0
    batch["x"] = target * (1 - batch["mask"])
    pred = restore(method, networks, batch, whole=0, tile=64)
    assert pred.isfinite().all()
    known = (batch["mask"] == 0).expand_as(pred)
    assert torch.equal(pred[known], batch["x"][known])
    whole = batch | {"mask": torch.zeros_like(batch["mask"]), "x": target}
    assert torch.equal(restore(method, networks, whole), target)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_restoring_is_deterministic_and_each_image_its_own(name, task):
    method, networks = entry(name), make(name).eval()
    batch = inputs_of(task, 2, 37, 50)
    first, again = restore(method, networks, batch), restore(method, networks, batch)
    assert torch.equal(first, again)
    alone = torch.cat([restore(method, networks, {n: v[i : i + 1] for n, v in batch.items()}) for i in range(2)])
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_layouts_and_a_state_dict_of_another_seed_agree(name):
    method = entry(name)
    networks = make(name).eval()
    batch = inputs_of(method.tasks[0], 1, 37, 50)
    pred = restore(method, networks, batch)
    other = make(name).eval()
    assert any(not torch.equal(a, b) for a, b in zip(networks.parameters(), other.parameters(), strict=True))
    other.load_state_dict(networks.state_dict())
    assert torch.equal(restore(method, other, batch), pred)
    turned = {n: v.contiguous(memory_format=torch.channels_last) for n, v in batch.items()}
    torch.testing.assert_close(restore(method, channels_last(other), turned), pred, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_one_seed_makes_one_network(name):
    torch.manual_seed(5)
    first = make(name).state_dict()
    torch.manual_seed(5)
    again = make(name).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


# Training -------------------------------------------------------------------------------------------------------------


def losses_of(name: str, networks: nn.ModuleDict, batch: dict[str, Tensor], precision: torch.dtype | None = None):
    """Each phase's losses by phase, player and name, with the loop's way of calling; the gradients stay on."""
    method = registry.method(name)
    result = {}
    for phase_name, phase in method.phases.items():
        with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
            outputs = phase.forward(networks, batch)
            for player_name, player in phase.players.items():
                for loss, value in player.losses(networks, batch, outputs).items():
                    result[phase_name, player_name, loss] = value
    return result


def score_biases(method: Method, networks: nn.ModuleDict) -> set[str]:
    """The biases that critics add to all their scores: they cancel in a loss of differences, as Wasserstein's."""
    restoring = networks_in_use(method, method.tasks[0], networks)
    return {
        f"{name}.{key}"
        for name, network in networks.items()
        for key, p in network.named_parameters()
        if name not in restoring and key.endswith("bias") and p.numel() == 1
    }


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_is_trained_by_its_players_losses(name):
    """By gradients that are not 0, in one of a few draws: of so few channels a ReLU may shut one off by chance.

    Each draw is moved a little: a layer that starts at 0 gives those before it no gradient until its first step.
    """
    method, batch = entry(name), training_batch(name)
    reached: set[str] = set()
    for _ in range(4):
        networks = make(name).train()
        with torch.no_grad():
            for p in networks.parameters():
                p.add_(0.01 * torch.randn_like(p))
        for phase in method.phases.values():
            outputs = phase.forward(networks, batch)
            for player in phase.players.values():
                losses = player.losses(networks, batch, outputs)
                assert without_watched(losses, method.watched)
                assert all(value.dim() == 0 and value.isfinite() for value in losses.values())
                networks.zero_grad()
                sum(without_watched(losses, method.watched).values()).backward(retain_graph=True)
                parameters = {
                    f"{net}.{key}": p for net in player.networks for key, p in networks[net].named_parameters()
                }
                assert all(p.grad.isfinite().all() for p in parameters.values() if p.grad is not None)
                reached |= {key for key, p in parameters.items() if p.grad is not None and p.grad.any()}
        left = {key for key, _ in networks.named_parameters() if key not in reached} - score_biases(method, networks)
        if not left:
            return
    assert left == set()


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_training_gives_the_losses_and_images_of_float32(name):
    method, networks = entry(name), make(name).train()
    batch = training_batch(name)
    torch.manual_seed(1)
    exact = losses_of(name, networks, batch)
    torch.manual_seed(1)
    rough = losses_of(name, networks, batch, torch.bfloat16)
    assert exact.keys() == rough.keys()
    for key, value in exact.items():
        assert rough[key].isfinite(), key
        assert rough[key].item() == pytest.approx(value.item(), rel=2e-2, abs=2e-2), key
    networks.eval()
    inputs = {key: batch[key] for key in find_task(method.tasks[0]).inputs}
    pred = restore(method, networks, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = restore(method, networks, inputs)
    torch.testing.assert_close(coarse, pred, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", TRAINED)
def test_each_loss_moves_its_own_players_networks_alone(name, monkeypatch):
    """As in the loop: the networks of other players take no gradients while a player's losses are made."""
    method = entry(name)
    networks = with_helpers(name, make(name).train(), monkeypatch)
    batch = training_batch(name)
    for phase_name in used_phases(name):
        phase = method.phases[phase_name]
        outputs = phase.forward(networks, batch)
        for player in phase.players.values():
            parameters = {f"{net}.{key}": p for net in player.networks for key, p in networks[net].named_parameters()}
            others = {key: p for key, p in networks.named_parameters() if key not in parameters and p.requires_grad}
            for p in others.values():
                p.requires_grad_(False)
            losses = without_watched(player.losses(networks, batch, outputs), method.watched)
            for loss, value in losses.items():
                networks.zero_grad()
                value.backward(retain_graph=True)
                moved = {key for key, p in networks.named_parameters() if p.grad is not None and p.grad.any()}
                assert moved, f"{phase_name}: {loss} moves nothing"
                assert moved <= parameters.keys(), f"{phase_name}: {loss} moves other players' networks"
            for p in others.values():
                p.requires_grad_(True)


@pytest.mark.parametrize("name", TRAINED)
def test_a_helper_names_losses_that_come_only_with_it(name, monkeypatch):
    method, networks = entry(name), make(name).train()
    helped = {loss for helper in method.helpers.values() for loss in helper.losses}
    batch = training_batch(name)
    without = {loss for _, _, loss in losses_of(name, networks, batch)}
    result = losses_of(name, with_helpers(name, networks, monkeypatch), batch)
    assert {loss for _, _, loss in result} - without == helped
    assert all(value.isfinite() for value in result.values())


@pytest.mark.parametrize("name", TRAINED)
def test_watched_losses_are_given_and_have_no_weight(name, monkeypatch):
    method = entry(name)
    result = losses_of(name, with_helpers(name, make(name).train(), monkeypatch), training_batch(name))
    given = {loss for _, _, loss in result}
    # A network of other arguments may give more of them (a loss a path).
    assert given & set(method.watched) or not method.watched
    assert set(method.watched).isdisjoint(loss for helper in method.helpers.values() for loss in helper.losses)


# Auxiliary maps and insides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TRAINED if registry.method(name).auxiliary])
def test_auxiliary_maps_are_of_one_shape_in_training_and_restoring(name):
    method = entry(name)
    for auxiliary_map in method.auxiliary.values():
        assert (ROOT / auxiliary_map.module).is_file()
        target, x, mask = (
            batch_of("inpaint", 1, 37, 50)[key][0].permute(1, 2, 0).numpy() for key in ("target", "x", "mask")
        )
        made = [auxiliary_map.of_target(target), auxiliary_map.of_input(x, mask)]
        assert {image.dtype for image in made} == {np.dtype(np.float32)}
        assert made[0].shape == made[1].shape
        assert made[0].shape[:2] == (37, 50)
        assert all(np.abs(image).max() <= 1 for image in made)
        other = auxiliary_map.of_input(x + 0.3 * mask, mask)
        np.testing.assert_array_equal(other, made[1], "the pixels of the hole are not read")


@pytest.mark.parametrize("name", [name for name in TRAINED if registry.method(name).insides])
def test_insides_are_images_or_weights(name):
    method, networks = entry(name), make(name).eval()
    batch = prepared(method, inputs_of(method.tasks[0], 1, 48, 64))
    with torch.inference_mode():
        before = method.restore(networks, batch)
        result = method.insides(networks, batch)
        assert torch.equal(method.restore(networks, batch), before), "looking inside changes nothing"
    assert result
    for title, value in result.items():
        assert title
        assert value.isfinite().all(), title
        if value.dim() == 1:
            assert len(value), title
            continue
        assert value.dim() == 4, title
        assert value.shape[0] == 1, title
        assert value.shape[1] in (1, 3), title
        assert value.min() >= 0, title
        assert value.max() <= 1, title
