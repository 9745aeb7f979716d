"""The photographs inside installed packages: their split, their hashes, their depth, and crops of them."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from bench.contracts import DataError
from datasets.photographs import packaged

SPLITS = ("train", "val", "test")


def test_photographs_are_split_by_picture():
    names = {split: [photograph.name for photograph in packaged.photographs(split)] for split in SPLITS}
    assert names == {
        "train": ["china", "coffee", "chelsea", "rocket", "brick", "grass", "gravel"],
        "val": ["flower"],
        "test": ["astronaut", "motorcycle_left", "camera", "coins"],
    }


def test_every_photograph_loads_and_can_be_pickled():
    shapes = {}
    for split in SPLITS:
        for photograph in packaged.photographs(split):
            image = pickle.loads(pickle.dumps(photograph)).load()
            assert image.dtype == np.uint8
            assert photograph.grey == bool((image == image[..., :1]).all())
            shapes[photograph.name] = image.shape
    assert shapes["astronaut"] == (512, 512, 3)
    assert shapes["china"] == (427, 640, 3)
    assert shapes["coins"] == (303, 384, 3)
    assert shapes["motorcycle_left"] == (500, 741, 3)


def test_an_exchanged_picture_is_refused():
    array = np.zeros((2, 2), np.uint8)
    good = hashlib.sha256(array.tobytes()).hexdigest()
    assert packaged.verified("x", "scikit-image", array, good) is array
    with pytest.raises(DataError, match=r"scikit-image's picture x: found SHA-256 .* the package exchanged"):
        packaged.verified("x", "scikit-image", array + 1, good)


def test_invalid_depth_is_filled_from_the_far_side():
    depth = np.array([[0, 2, 0, 0, 5, 0], [7, 0, 3, 0, 0, 1.0]])
    filled = packaged.fill_from_far(depth, depth > 0)
    assert filled.tolist() == [[2, 2, 5, 5, 5, 5], [7, 7, 3, 3, 3, 1]]


def test_motorcycle_depth_in_metres():
    depth, valid = packaged.motorcycle_depth()
    assert depth.shape == valid.shape == (500, 741) and depth.dtype == np.float32
    assert valid.mean() == pytest.approx(0.927, abs=0.001)
    assert (depth.min(), depth.max()) == (pytest.approx(2.111, abs=0.001), pytest.approx(5.017, abs=0.001))
