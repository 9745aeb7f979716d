"""The methods without training: the input itself and Telea's inpainting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from bench.contracts import DataError
from bench.tasks import TASKS
from methods import input as input_
from methods import telea


def test_the_input_serves_every_task_and_has_nothing_to_train():
    assert input_.method.tasks == tuple(TASKS)
    assert input_.method.networks is None
    assert not input_.method.phases


def test_the_input_is_x():
    x = torch.rand(2, 3, 5, 7)
    assert input_.method.restore(nn.ModuleDict(), {"x": x, "mask": torch.ones(2, 1, 5, 7)}) is x


def test_the_input_of_two_views_is_their_mean():
    left, right = torch.full((1, 3, 2, 2), 0.2), torch.full((1, 3, 2, 2), 0.6)
    torch.testing.assert_close(
        input_.method.restore(nn.ModuleDict(), {"left": left, "right": right}), torch.full((1, 3, 2, 2), 0.4)
    )


def holes(n: int, height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(n, 1, height, width)
    mask[:, :, 4:9, 6:12] = 1
    return mask


def test_telea_keeps_known_pixels_to_the_bit_and_ignores_the_values_in_the_hole():
    x, mask = torch.rand(2, 3, 17, 23), holes(2, 17, 23)
    pred = telea.method.restore(nn.ModuleDict(), {"x": x, "mask": mask})
    other = telea.method.restore(nn.ModuleDict(), {"x": torch.where(mask > 0, 1 - x, x), "mask": mask})
    assert torch.equal(torch.where(mask > 0, 0, pred), torch.where(mask > 0, 0, x))
    torch.testing.assert_close(pred, other)
    assert pred.dtype == x.dtype


def test_telea_fills_a_flat_image_with_its_colour():
    colour = torch.tensor([51, 102, 204]).view(1, 3, 1, 1) / 255
    mask = holes(1, 17, 23)
    pred = telea.method.restore(nn.ModuleDict(), {"x": colour.expand(1, 3, 17, 23) * (1 - mask), "mask": mask})
    torch.testing.assert_close(pred, colour.expand(1, 3, 17, 23), atol=3.01 / 255, rtol=0)


def test_telea_continues_a_ramp_better_than_the_hole_s_mean_does():
    ramp = torch.linspace(0, 1, 23).expand(1, 3, 17, 23)
    mask = holes(1, 17, 23)
    pred = telea.method.restore(nn.ModuleDict(), {"x": ramp * (1 - mask), "mask": mask})
    error = ((pred - ramp).abs() * mask).sum() / mask.sum() / 3
    flat = ((ramp - (ramp * mask).sum() / mask.sum() / 3).abs() * mask).sum() / mask.sum() / 3
    assert error < flat / 2


def test_telea_is_opencv_s_inpainting_of_each_image_in_rgb():
    x, mask = torch.rand(2, 3, 17, 23), holes(2, 17, 23)
    mask[1, 0, 12:, :3] = 1
    pred = telea.method.restore(nn.ModuleDict(), {"x": x, "mask": mask})
    for i in range(2):
        image = (x[i].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        hole = (mask[i, 0].numpy() * 255).astype(np.uint8)
        expected = cv2.inpaint(np.ascontiguousarray(image[..., ::-1]), hole, 3, cv2.INPAINT_TELEA)[..., ::-1]
        restored = (pred[i].permute(1, 2, 0).numpy() * 255).round()
        np.testing.assert_array_equal(restored[hole > 0], expected[hole > 0])


def test_telea_refuses_an_image_without_known_pixels():
    with pytest.raises(DataError, match="mask of 17x23 pixels is all hole"):
        telea.method.restore(nn.ModuleDict(), {"x": torch.rand(1, 3, 17, 23), "mask": torch.ones(1, 1, 17, 23)})
