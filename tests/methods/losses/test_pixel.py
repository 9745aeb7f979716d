"""The losses of pixels: values known by hand, and what a change of scale or of the hole does to them."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses import pixel


def test_pixel_losses_by_hand() -> None:
    target = torch.zeros(2, 3, 4, 4)
    pred = torch.full_like(target, 0.1)
    assert pixel.l1(pred, target).item() == pytest.approx(0.1)
    assert pixel.mse(pred, target).item() == pytest.approx(0.01)
    assert pixel.charbonnier(pred, target, eps=0.1).item() == pytest.approx(0.1 * math.sqrt(2))
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert pixel.total_variation(ramp).item() == 1
    assert pixel.total_variation(pred).item() == 0


def test_scale_refinement_compares_each_scale_with_the_averaged_target() -> None:
    target = torch.rand(2, 3, 8, 8)
    half = target.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    value = pixel.scale_refinement([target + 0.2, half - 0.4], target)
    assert value.item() == pytest.approx((0.2**2 + 0.4**2) / 4, rel=1e-5)


def test_l1_over_hole_does_not_shrink_with_the_hole() -> None:
    target, mask = torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    mask[..., :2] = 1
    assert pixel.l1_over_hole(target + 0.3 * mask, target, mask).item() == pytest.approx(0.3, rel=1e-5)
