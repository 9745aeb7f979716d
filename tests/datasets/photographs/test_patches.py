"""Patches: their positions, and which are kept for training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datasets.canon_dp import VAL_OVERLAP
from datasets.photographs.patches import num_kept, patch_corners, sharpest_corners, sharpness


def test_the_papers_28_training_and_12_validation_patches():
    corners = patch_corners(1120, 1680, 512, 0.6)
    assert len(corners) == 28 and num_kept(28) == 20
    assert sorted({left for _, left in corners}) == [0, 204, 408, 612, 816, 1020, 1168]
    assert sorted({top for top, _ in corners}) == [0, 204, 408, 608]
    validation = patch_corners(1120, 1680, 512, VAL_OVERLAP)
    assert len(validation) == 12 and validation[-1] == (608, 1168)
    assert 350 * num_kept(28) == 7000 and 74 * len(validation) == 888


def test_patches_cover_the_image_and_none_occurs_twice():
    for height, width in ((64, 96), (33, 33), (64, 65)):
        corners = patch_corners(height, width, 33, 0.6)
        assert len(set(corners)) == len(corners)
        covered = np.zeros((height, width), bool)
        for top, left in corners:
            assert top + 33 <= height and left + 33 <= width
            covered[top : top + 33, left : left + 33] = True
        assert covered.all()


def test_sharpness_equals_plain_sums():
    rng = np.random.default_rng(0)
    patches = [(rng.integers(0, 65536, (20, 20, 3)) // divisor).astype(np.uint16) for divisor in (1, 2, 5, 60)]
    expected = np.ones(4)
    for size in (3, 7, 11, 15):
        across = cv2.getDerivKernels(1, 0, size)
        down = cv2.getDerivKernels(0, 1, size)
        sums = []
        for patch in patches:
            grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float64)
            dx, dy = (cv2.sepFilter2D(grey, cv2.CV_64F, *kernels) for kernels in (across, down))
            sums.append(np.sqrt(dx**2 + dy**2).sum())
        expected *= (np.array(sums) - min(sums)) / (max(sums) - min(sums))
    measured = sharpness(patches)
    assert measured == pytest.approx(expected, rel=1e-6)
    assert measured[0] == 1 and measured[3] == 0 and (np.diff(measured) <= 0).all()


def test_flat_patches_are_dropped():
    image = np.full((1120, 1680, 3), 20_000, np.uint16)
    image[:, 700:] = np.random.default_rng(0).integers(0, 65536, (1120, 980, 3))
    kept = sharpest_corners(image, 512, 0.6)
    assert len(kept) == 20
    assert kept == sorted(kept)
    assert not any(left == 0 for _, left in kept)  # the columns from 0 to 511 are flat


def test_of_a_flat_image_20_patches_are_kept():
    assert len(sharpest_corners(np.zeros((1120, 1680, 3), np.uint16)[::2, ::2], 256, 0.6)) == 20
