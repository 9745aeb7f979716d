"""Contextual attention against the layer in convolutions, and its borders, masks, blocks and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.layers import contextual_attention as module
from methods.layers.contextual_attention import (
    ContextualAttention,
    contextual_attention,
    contextual_match,
    resize_nearest,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def maps(height: int = 12, width: int = 16, channels: int = 6, count: int = 1) -> tuple[Tensor, Tensor]:
    """Features scaled so that the softmax neither picks one place nor averages all, and a hole."""
    x = 0.3 * torch.randn(count, channels, height, width)
    mask = torch.zeros(count, 1, height, width)
    mask[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return x, mask


def by_convolutions(foreground: Tensor, background: Tensor, mask: Tensor, fuse: bool) -> Tensor:
    """The layer for one image with patches as the kernels of a convolution and of a transposed one."""
    _, _, height, width = foreground.shape
    h, w = height // 2, width // 2
    front, back, hole = (resize_nearest(image, h, w) for image in (foreground, background, mask))
    padded, raw = F.pad(back, (1, 1, 1, 1)), F.pad(background, (1, 1, 1, 1))
    places = [(i, j) for i in range(h) for j in range(w)]
    kernels = torch.stack([padded[0, :, i : i + 3, j : j + 3] for i, j in places])
    kernels = kernels / kernels.flatten(1).norm(dim=1).clamp(min=1e-4).view(-1, 1, 1, 1)
    scores = F.conv2d(front, kernels, padding=1)[0].permute(1, 2, 0)
    if fuse:
        diagonal = torch.eye(3)[None, None]
        scores = F.conv2d(scores.reshape(1, 1, h * w, h * w), diagonal, padding=1).view(h, w, h, w)
        scores = scores.permute(1, 0, 3, 2).reshape(1, 1, h * w, h * w)
        scores = F.conv2d(scores, diagonal, padding=1).view(w, h, w, h).permute(1, 0, 3, 2)
    around = F.pad(hole, (1, 1, 1, 1))
    usable = torch.tensor([float(around[0, 0, i : i + 3, j : j + 3].sum() == 0) for i, j in places])
    weights = torch.softmax(10 * scores.reshape(h, w, h * w) * usable, dim=2) * usable
    patches = torch.stack([raw[0, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] for i, j in places])
    return F.conv_transpose2d(weights.permute(2, 0, 1)[None], patches, stride=2, padding=1) / 4


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("size", [(12, 16), (8, 4), (2, 6), (4, 2)])
def test_the_result_is_that_of_convolutions_with_patches(fuse: bool, size: tuple[int, int]) -> None:
    x, mask = maps(*size)
    y = 0.3 * torch.randn_like(x)
    torch.testing.assert_close(
        contextual_attention(x, y, mask, fuse), by_convolutions(x, y, mask, fuse), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("block", [1, 48 * 8 * 2, 48 * 8 * 4])
def test_blocks_of_any_size_give_one_result(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, mask = maps()
    whole = contextual_attention(x, x, mask), *contextual_match(x, mask)
    monkeypatch.setattr(module, "MAX_SCORES", block)
    for blocks, expected in zip((contextual_attention(x, x, mask), *contextual_match(x, mask)), whole, strict=True):
        torch.testing.assert_close(blocks, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_convolutions_with_patches() -> None:
    x, mask = maps()
    weight = torch.randn_like(x)
    ours, expected = (
        torch.autograd.grad((rebuild(x, x, mask, True) * weight).sum(), x)[0]
        for rebuild in (contextual_attention, by_convolutions)
        if x.requires_grad_() is x
    )
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_features_of_zero_have_a_gradient() -> None:
    x, mask = maps()
    x[..., :8, :] = 0
    x.requires_grad_()
    contextual_attention(x, x, mask).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_large_features_without_a_hole_match_themselves() -> None:
    """Four patches overlap at each place, two at an edge, one in a corner, and the sum is divided by four."""
    x, mask = 50 * torch.randn(1, 6, 12, 16), torch.zeros(1, 1, 12, 16)
    covered = F.fold(torch.ones(1, 16, 48), (12, 16), 4, stride=2, padding=1) / 4
    assert covered.unique().tolist() == [0.25, 0.5, 1.0]
    torch.testing.assert_close(contextual_attention(x, x, mask), x * covered, rtol=1e-4, atol=1e-4)
    match, received = contextual_match(x, mask)
    assert torch.equal(match, torch.arange(48).view(6, 8))
    torch.testing.assert_close(received, torch.ones(6, 8))


def test_a_hole_is_rebuilt_from_the_most_similar_place() -> None:
    """A texture of 2x2 pixels, so that halving loses nothing, its copy to the right, and a hole in the copy."""
    tile = 50 * torch.randn(1, 6, 12, 8)
    x = torch.cat([tile, tile], dim=3).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    mask = torch.zeros(1, 1, 24, 32)
    mask[..., 10:14, 22:26] = 1
    y, x_place = torch.meshgrid(torch.arange(5, 7), torch.arange(11, 13), indexing="ij")
    match, _ = contextual_match(x, mask)
    assert torch.equal(match[5:7, 11:13], y * 16 + x_place - 8)
    torch.testing.assert_close(
        contextual_attention(x, x, mask)[..., 10:14, 22:26], x[..., 10:14, 22:26], rtol=1e-3, atol=1e-2
    )


def test_an_image_without_a_usable_place_becomes_0_and_each_image_has_its_own_mask() -> None:
    x, mask = maps(count=2)
    mask[1] = 1
    rebuilt = contextual_attention(x, x, mask)
    assert torch.equal(rebuilt[1], torch.zeros_like(rebuilt[1]))
    torch.testing.assert_close(rebuilt[:1], contextual_attention(x[:1], x[:1], mask[:1]))
    assert rebuilt[0].abs().max() > 0


def test_a_masked_place_still_counts_in_the_softmax() -> None:
    """Its score is 0, not minus infinity: with all features 0 each usable place gets 1 / (number of places)."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1
    nothing = torch.zeros(1, 1, 8, 8)
    ((_, _, weights),) = module.attention_weights(nothing, nothing, mask, True)
    assert weights.unique().tolist() == [0, 1 / 16]
    assert (weights > 0).sum() == 16 * 4  # of four rows two are hole, and a third touches the hole


def test_bfloat16_features_are_computed_in_float32() -> None:
    x, mask = maps()
    expected = ContextualAttention()(x.bfloat16().float(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        rebuilt = ContextualAttention()(x.bfloat16(), mask)
    assert rebuilt.dtype == torch.bfloat16
    torch.testing.assert_close(rebuilt, expected.bfloat16())


def test_shrinking_keeps_the_corners_and_rounds_half_up() -> None:
    def indices(size: int, smaller: int) -> list[int]:
        return resize_nearest(torch.arange(float(size)).view(1, 1, 1, size), 1, smaller).long().flatten().tolist()

    assert indices(8, 4) == [0, 2, 5, 7]
    assert indices(6, 3) == [0, 3, 5]  # 2.5 becomes 3
    assert indices(16, 4) == [0, 5, 10, 15]
    assert indices(4, 1) == [0]
