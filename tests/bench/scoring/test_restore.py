"""Restoring images of any size: tiles and padding."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from bench import registry
from bench.contracts import supervised
from bench.runs import settled
from bench.scoring.restore import OVERLAP, pad, restore
from tests.bench.scoring.toys import Identity, picture


@pytest.mark.parametrize("tile", [64, 100, 128])
@pytest.mark.parametrize("name", [n for n in registry.names("methods") if registry.method(n).margin is not None])
def test_tiles_of_a_bounded_method_are_exact(name, tile):
    method = settled(registry.method(name), registry.method(name).tiny)
    torch.manual_seed(0)
    networks = method.networks and nn.ModuleDict(method.networks(**method.tiny)).eval()
    inputs = {"left": picture(300, 420), "right": picture(300, 420)}
    batch = inputs if "deblur" not in method.tasks else {"x": inputs["left"]}
    whole = restore(method, networks, batch)
    tiled = restore(method, networks, batch, whole=0, tile=tile)
    assert tiled.shape == whole.shape
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_a_method_without_networks_is_never_cut():
    """A tile of this image would be all hole."""
    x, mask = picture(300, 420), torch.zeros(1, 1, 300, 420)
    mask[..., 20:280, 20:400] = 1
    batch = {"x": x * (1 - mask), "mask": mask}
    telea = registry.method("telea")
    whole = restore(telea, nn.ModuleDict(), batch)
    assert torch.equal(restore(telea, nn.ModuleDict(), batch, whole=0, tile=64), whole)
    assert (whole * mask).max() > 0.1 and torch.equal(whole * (1 - mask), batch["x"])


@pytest.mark.parametrize("size", [(64, 64), (301, 420), (129, 700), (500, 128)])
@pytest.mark.parametrize("tile", [64, 128])
def test_blended_tiles_have_no_seams(size, tile):
    """Where every window gives the same, their blend is that; where windows differ, no step is in it."""
    method = supervised("deblur", Identity, nn.functional.mse_loss, multiple=16, min_size=32, tiling="blended")
    networks = nn.ModuleDict(method.networks()).eval()
    x = picture(*size)
    pred = restore(method, networks, {"x": x}, whole=0, tile=tile)
    torch.testing.assert_close(pred, x, rtol=0, atol=1e-6)
    sizes = networks["network"].sizes
    assert all(height % 16 == width % 16 == 0 for height, width in sizes)
    assert max(max(pair) for pair in sizes) <= tile + OVERLAP
    assert all(min(pair) >= 32 for pair in sizes)

    levels = itertools.cycle([0.2, 0.6, 0.3, 0.5])
    stepped = dataclasses.replace(method, restore=lambda _, batch: torch.full_like(batch["x"], next(levels)))
    steps = restore(stepped, nn.ModuleDict(), {"x": x}, whole=0, tile=tile)
    for axis in (-1, -2):
        assert steps.diff(dim=axis).abs().max() < 2 * 0.4 / OVERLAP, "a seam is seen"


def test_padding_reflects_and_may_need_to_reflect_twice():
    x = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 2, 3)
    assert pad(x, 8, 1).shape == (1, 1, 8, 8)
    assert pad(x, 8, 1)[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert pad(x, 1, 1) is x
    assert pad(x[..., :1], 4, 1)[0, 0, 0].tolist() == [0, 0, 0, 0]
