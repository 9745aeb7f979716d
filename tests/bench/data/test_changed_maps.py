"""Files of an auxiliary map that have changed since it was made: each is refused where it is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import DataError
from bench.data import auxiliary, auxiliary_build
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from tests.bench.data.maps import map_of, signed, targets
from tests.images import flip_byte

SWAPPED = pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "another map's"])


def half(target: np.ndarray) -> np.ndarray:
    return signed(target) / 2


def other_map(built: BuiltSet) -> Path:
    """Make a second map of the same images."""
    return auxiliary_build.make(built, "half", map_of(half), 1)


@pytest.mark.parametrize("name", ["manifest.json", "digests.txt"])
@SWAPPED
def test_a_changed_file_of_a_map_is_refused(built, name, swapped):
    out = auxiliary_build.make(built, "sign", map_of(), 1)
    auxiliary.read(built, "sign", map_of())
    if swapped:
        shutil.copy(other_map(built) / name, out / name)
    else:
        flip_byte(out / name)
    with pytest.raises(DataError, match=r"gopro\.auxiliary/sign.*; (delete the folder, then )?run: python -m"):
        auxiliary.read(built, "sign", map_of())


def test_a_whole_map_in_the_place_of_another_is_refused(built):
    out, other = auxiliary_build.make(built, "sign", map_of(), 1), other_map(built)
    shutil.rmtree(out)
    shutil.copytree(other, out)
    with pytest.raises(DataError, match=r"auxiliary/sign: holds the auxiliary map 'half'; run: python -m bench aux"):
        auxiliary.read(built, "sign", map_of())


@SWAPPED
def test_changed_values_of_a_map_are_refused_with_their_image_alone(built, swapped):
    path = auxiliary_build.make(built, "sign", map_of(), 1) / "packed.bin"
    blocks = auxiliary.read(built, "sign", map_of()).packed
    assert np.array_equal(blocks.image(0).view(np.float16), signed(targets(built)[0]).astype(np.float16).ravel())
    data, start = bytearray(path.read_bytes()), int(blocks.starts[1])
    if swapped:
        other = (other_map(built) / "packed.bin").read_bytes()
        data[start : start + blocks.sizes[1]] = other[start : start + blocks.sizes[1]]
    else:
        data[start] ^= 1
    path.write_bytes(data)
    crops = Crops(built, "inpaint", 16, [], 0, auxiliary={"sign": auxiliary.read(built, "sign", map_of())})
    assert crops.sample(0, 0)["sign"].shape == (16, 16, 2)
    with pytest.raises(DataError, match=rf"packed\.bin: bytes {start:,} to .* has changed since .*; delete the folder"):
        crops.sample(0, 1)
