"""The image files of a built set."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.built_images import write_png
from bench.files import sha256
from tests.images import read_png


def test_png_files_keep_8_and_16_bits(tmp_path):
    rng = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        for shape in ((7, 5, 3), (7, 5)):
            image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
            assert write_png(tmp_path / "a.png", image) == sha256(tmp_path / "a.png")
            assert np.array_equal(read_png(tmp_path / "a.png"), image) and read_png(tmp_path / "a.png").dtype == dtype
    with pytest.raises(TypeError, match="found float64, expected uint8 or uint16"):
        write_png(tmp_path / "a.png", np.zeros((3, 3)))
