"""What every method keeps, whatever it is: sizes, known pixels, gradients, precision, layout, seeds and batches."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.contracts import INPUTS, TASKS
from bench.scoring.restore import pad, restore
from bench.training.loop import channels_last

NAMES = registry.names("methods")
TRAINED = [name for name in NAMES if registry.method(name).networks is not None]
CASES = [(name, task) for name in NAMES for task in registry.method(name).tasks]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make(name: str) -> nn.ModuleDict | None:
    """The method's smallest networks, drawn from the present seed."""
    method = registry.method(name)
    return None if method.networks is None else nn.ModuleDict(method.networks(**method.tiny))


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
    batch = {"x": 0.9 * target + 0.05, "target": target}
    if "mask" in INPUTS[task]:
        mask = torch.zeros(count, 1, height, width)
        for i in range(count):
            mask[i, :, height // 4 + i : height // 2 + i, width // 3 : 2 * width // 3] = 1
        batch |= {"mask": mask, "x": target * (1 - mask)}
    return batch


def fitting(name: str, task: str, count: int, side: int = 48) -> dict[str, Tensor]:
    """A batch whose sides the method takes as they are."""
    method = registry.method(name)
    return {n: pad(v, method.multiple, method.min_size) for n, v in batch_of(task, count, side, side).items()}


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
        assert not (method.phases or method.reference or method.tiny or method.helpers)
        return
    assert len(method.tasks) == 1
    assert method.phases
    own = make(name).keys()
    assert set(method.reference) == set(own), "the authors' names of every network"
    moved = {net for phase in method.phases.values() for player in phase.players.values() for net in player.networks}
    assert moved == set(own), "every network is trained by a player"
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
    method, networks = registry.method(name), make(name)
    networks = networks and networks.eval()
    for height, width in [(37, 50), (method.min_size + 1, 2 * method.min_size + 3), (7, 9), (20, 70)]:
        batch = batch_of(task, 1, height, width)
        del batch["target"]
        pred = restore(method, networks, batch)
        assert pred.shape == (1, 3, height, width)
        assert pred.dtype == torch.float32
        assert pred.isfinite().all()
        assert pred.min() >= 0
        assert pred.max() <= 1
        if "mask" in batch:
            known = (batch["mask"] == 0).expand_as(pred)
            assert torch.equal(pred[known], batch["x"][known])


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if "mask" in INPUTS[case[1]]])
def test_tiles_without_a_hole_and_images_without_one_stay_as_they_are(name, task):
    """A norm over a region divides by its size: a tile may have no hole at all."""
    method, networks = registry.method(name), make(name)
    networks = networks and networks.eval()
    batch = batch_of(task, 1, 80, 280)
    batch["mask"][..., 120:] = 0
    batch["x"] = batch["target"] * (1 - batch["mask"])
    pred = restore(method, networks, batch, whole=0, tile=64)
    assert pred.isfinite().all()
    known = (batch["mask"] == 0).expand_as(pred)
    assert torch.equal(pred[known], batch["x"][known])
    whole = batch | {"mask": torch.zeros_like(batch["mask"]), "x": batch["target"]}
    assert torch.equal(restore(method, networks, whole), batch["target"])


@pytest.mark.parametrize(("name", "task"), CASES)
def test_restoring_is_deterministic_and_each_image_its_own(name, task):
    method, networks = registry.method(name), make(name)
    networks = networks and networks.eval()
    batch = batch_of(task, 2, 37, 50)
    first, again = restore(method, networks, batch), restore(method, networks, batch)
    assert torch.equal(first, again)
    alone = torch.cat([restore(method, networks, {n: v[i : i + 1] for n, v in batch.items()}) for i in range(2)])
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_layouts_and_a_state_dict_of_another_seed_agree(name):
    method = registry.method(name)
    networks = make(name).eval()
    batch = batch_of(method.tasks[0], 1, 37, 50)
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
    found = {}
    for phase_name, phase in method.phases.items():
        with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
            outputs = phase.forward(networks, batch)
            for player_name, player in phase.players.items():
                for loss, value in player.losses(networks, batch, outputs).items():
                    found[phase_name, player_name, loss] = value
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_is_trained_by_its_players_losses(name):
    method, networks = registry.method(name), make(name).train()
    batch = fitting(name, method.tasks[0], 2)
    reached: set[str] = set()
    for phase in method.phases.values():
        outputs = phase.forward(networks, batch)
        for player in phase.players.values():
            losses = player.losses(networks, batch, outputs)
            assert losses
            assert all(value.dim() == 0 and value.isfinite() for value in losses.values())
            networks.zero_grad()
            sum(losses.values()).backward(retain_graph=True)
            own = {f"{net}.{key}": p for net in player.networks for key, p in networks[net].named_parameters()}
            assert all(p.grad.isfinite().all() for p in own.values() if p.grad is not None)
            reached |= {key for key, p in own.items() if p.grad is not None}
    assert [key for key, _ in networks.named_parameters() if key not in reached] == []


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_training_gives_the_losses_and_images_of_float32(name):
    method, networks = registry.method(name), make(name).train()
    batch = fitting(name, method.tasks[0], 2)
    torch.manual_seed(1)
    exact = losses_of(name, networks, batch)
    torch.manual_seed(1)
    rough = losses_of(name, networks, batch, torch.bfloat16)
    assert exact.keys() == rough.keys()
    for key, value in exact.items():
        assert rough[key].isfinite(), key
        assert rough[key].item() == pytest.approx(value.item(), rel=2e-2, abs=2e-2), key
    networks.eval()
    pred = restore(method, networks, batch)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = restore(method, networks, batch)
    torch.testing.assert_close(coarse, pred, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", TRAINED)
def test_a_helper_names_losses_that_come_only_with_it(name):
    method, networks = registry.method(name), make(name).train()
    found = {loss for _, _, loss in losses_of(name, networks, fitting(name, method.tasks[0], 2))}
    assert found.isdisjoint(loss for helper in method.helpers.values() for loss in helper.losses)
