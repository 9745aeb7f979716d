"""Auxiliary maps in a training's batches, cut and turned with their images, and of an image to restore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.contracts import AuxiliaryMap
from bench.data import auxiliary, auxiliary_build
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.importing import networks_in_use
from bench.runs import Trained
from bench.scoring.restore import prepared, restore
from bench.scoring.run_costs import work
from tests.bench.data.maps import TRAIN, Spy, image_and_hole, map_of, signed, spying


def stored(target: np.ndarray) -> np.ndarray:
    """The map as it comes back from its file."""
    return signed(target).astype(np.float16).astype(np.float32)


def crops_of(built: BuiltSet, operations: list[Any], auxiliary_map: AuxiliaryMap | None = None) -> Crops:
    auxiliary_map = auxiliary_map or map_of()
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    made = auxiliary.read(built, "sign", auxiliary_map)
    return Crops(built, "inpaint", 16, operations, 3, auxiliary={"sign": made})


@pytest.mark.parametrize("operations", [[], ["flip_horizontal", "flip_vertical", "rotate_right_angles"]])
def test_a_maps_crop_is_the_crop_of_the_map(built, operations):
    crops = crops_of(built, operations)
    for epoch in range(6):
        for index in range(TRAIN):
            sample = crops.sample(epoch, index)
            assert np.array_equal(sample["sign"], stored(sample["target"]))


def test_a_map_rotates_with_its_image(built):
    crops = crops_of(built, ["rotate"])
    for index in range(TRAIN):
        sample = crops.sample(0, index)
        # Both are turned by linear interpolation, which commutes with signed(); float16 rounds.
        np.testing.assert_allclose(sample["sign"], signed(sample["target"]), rtol=0, atol=1e-3)


def test_changes_of_colour_leave_the_map_alone(built):
    plain, coloured = crops_of(built, []), crops_of(built, ["permute_channels", "saturation", "noise"])
    changed = 0
    for index in range(TRAIN):
        before, after = plain.sample(0, index), coloured.sample(0, index)
        assert np.array_equal(before["sign"], after["sign"])
        changed += not np.array_equal(before["target"], after["target"])
    assert changed == TRAIN


def test_a_batch_holds_the_map_as_float32_and_is_a_function_of_seed_and_step(built):
    crops = crops_of(built, ["flip_horizontal"])
    batch = crops.batch(5, 3)
    assert batch["sign"].shape == (3, 2, 16, 16) and batch["sign"].dtype == torch.float32
    assert batch["sign"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["sign"], crops.batch(5, 3)["sign"])


def test_a_map_of_an_image_to_restore_is_made_whole_and_padded_with_it():
    method, batch = spying(map_of(), multiple=16, tiling="none"), image_and_hole(30, 41)
    made = prepared(method, batch)
    assert {name: tuple(value.shape[1:]) for name, value in made.items()} == {
        "x": (3, 32, 48),
        "mask": (1, 32, 48),
        "sign": (2, 32, 48),
    }
    expected = (2 * batch["x"][:, :2] - 1) * (1 - batch["mask"])
    torch.testing.assert_close(made["sign"][..., :30, :41], expected)
    assert torch.equal(made["sign"][..., 30:, :], made["sign"][..., 27:29, :].flip(-2))
    assert "sign" not in batch


def of_whole(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A map that no tile could make: each pixel's share of the whole image's brightest."""
    return x[..., :2] / x.max()


def test_tiles_see_the_map_of_the_whole_image():
    method = spying(AuxiliaryMap(signed, of_whole, "methods/_sign.py"), margin=0)
    networks = nn.ModuleDict({"network": Spy()})
    batch = {"x": torch.linspace(0, 0.5, 3 * 90 * 120).reshape(1, 3, 90, 120), "mask": torch.ones(1, 1, 90, 120)}
    whole = restore(method, networks, batch)
    expected = ((batch["x"][:, :1] / batch["x"].max() + 1) / 2).expand_as(batch["x"])
    torch.testing.assert_close(whole, expected)
    tiled = restore(method, networks, batch, whole=0, tile=32)
    assert torch.equal(tiled, whole) and (1, 2, 32, 32) in networks["network"].sizes


def test_costs_and_imports_know_of_auxiliary_maps():
    method = spying(map_of(), tiling="none")
    networks = nn.ModuleDict({"network": Spy()}).eval()
    assert work(Trained({}, method, networks), 32, 48, "meta").parameters == 1
    assert networks_in_use(method, "inpaint", networks) == ["network"]
