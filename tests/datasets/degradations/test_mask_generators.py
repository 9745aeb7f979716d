"""The mask generators: statistics of their authors' code, shapes and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.degradations.mask_generators import GENERATORS, deepfill, hole_share, rfr

# Hole share of 256x256 masks: mean, deviation, minimum and maximum, each with its tolerance for 500 draws. The first
# three were measured with the authors' generators over 1,000 or more draws; the boxes follow from geometry.
STATISTICS = {
    "deepfill": ((0.151, 0.015), (0.080, 0.01), (0.0, 0.05), (0.40, 0.15)),
    "rfr": ((0.536, 0.03), (0.236, 0.02), (0.0, 0.03), (0.92, 0.04)),
    "lbam": ((0.115, 0.015), (0.06, 0.015), (0.01, 0.03), (0.36, 0.1)),
    "edgeconnect-box": ((0.25, 0), (0, 0), (0.25, 0), (0.25, 0)),
    "ca-box": ((0.1914, 0.006), (0.0236, 0.004), (0.1406, 0.01), (0.25, 0.01)),
    "square": ((0.35, 0.015), (0.0866, 0.008), (0.2, 0.01), (0.5, 0.01)),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_has_the_statistics_of_its_authors(name):
    rng = np.random.default_rng(0)
    shares = [hole_share(GENERATORS[name](rng, 256, 256)) for _ in range(500)]
    measured = np.mean(shares), np.std(shares), np.min(shares), np.max(shares)
    for value, (expected, tolerance) in zip(measured, STATISTICS[name], strict=True):
        assert value == pytest.approx(expected, abs=tolerance + 1e-9)


def test_deepfills_shares_are_distributed_as_the_authors():
    rng = np.random.default_rng(1)
    shares = [hole_share(deepfill(rng, 256, 256)) for _ in range(1000)]
    measured = np.histogram(shares, bins=np.arange(0, 0.51, 0.1))[0] / len(shares)
    assert measured == pytest.approx([0.31, 0.42, 0.23, 0.04, 0.002], abs=0.05)


def test_half_of_rfrs_masks_are_above_60_percent():
    rng = np.random.default_rng(1)
    assert np.mean([hole_share(rfr(rng, 256, 256)) > 0.6 for _ in range(500)]) == pytest.approx(0.47, abs=0.07)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(256, 256), (101, 160)])
def test_a_mask_has_the_requested_shape_and_depends_on_the_seed_alone(name, shape):
    first, second = (GENERATORS[name](np.random.default_rng(3), *shape) for _ in range(2))
    assert first.shape == shape and first.dtype == np.uint8
    assert set(np.unique(first)) <= {0, 255}
    assert np.array_equal(first, second)


def test_lengths_scale_with_the_image():
    means = [
        np.mean([hole_share(deepfill(np.random.default_rng(seed), side, side)) for seed in range(200)])
        for side in (128, 256)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.02)
