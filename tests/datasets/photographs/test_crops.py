"""Crops and squares of photographs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datasets.photographs.crops import central_square, random_crop


def test_random_crops_avoid_the_flat_parts():
    image = np.full((40, 200, 3), 90, np.uint8)
    image[:, 150:] = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(20):
        crop, (top, left) = random_crop(image, (30, 30), rng, tries=1000)
        assert crop.mean(axis=2).std() >= 8
        assert np.array_equal(crop, image[top : top + 30, left : left + 30])


def test_the_central_square_is_central():
    image = np.zeros((256, 400, 3), np.uint8)
    image[:, 72:328] = 200
    assert (central_square(image, 256) == 200).all()


@pytest.mark.parametrize("side", [227, 537])
def test_the_central_square_of_a_smooth_picture_is_the_picture(side):
    ramp = np.linspace(20, 230, side)
    image = np.repeat(np.add.outer(ramp / 2, ramp / 2)[..., None], 3, axis=2)
    made = central_square(np.rint(image).astype(np.uint8), 256)
    expected = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    assert made.shape == (256, 256, 3) and made.dtype == np.uint8
    assert np.abs(made - expected).mean() < 0.5 and np.abs(made - expected).max() < 2


def test_reducing_does_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(central_square(stripes, 256).astype(int) - 127.5)[:, 4:-4].max() < 2
