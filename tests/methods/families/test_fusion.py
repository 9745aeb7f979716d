"""Stage three of DFFNet: alpha, the shares of its two sources, attention and its start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.families.fusion import Fusion
from tests.methods.dffnet_toys import blurred_holes


def test_alpha_rises_to_the_middle_and_stays():
    assert [Fusion(4).alpha(share) for share in (0, 0.125, 0.25, 0.5, 0.75, 1)] == [0, 0.25, 0.5, 1, 1, 1]
    assert Fusion(4, progressive=False).alpha(0) == 1


def test_at_its_ends_alpha_takes_the_edges_or_the_refined_image_out_of_m():
    torch.manual_seed(0)
    fusion = Fusion(8)
    images, maps = torch.rand(2, 1, 3, 16, 16), torch.rand(2, 1, 1, 16, 16)
    assert torch.equal(fusion.mixed(images[0], maps[0], 0.0), fusion.mixed(images[1], maps[0], 0.0))
    assert torch.equal(fusion.mixed(images[0], maps[0], 1.0), fusion.mixed(images[0], maps[1], 1.0))
    assert torch.equal(fusion.mixed(images[0], maps[0], 1.0), fusion.mixed(images[0], None, 1.0))
    half = fusion.mixed(images[0], maps[0], 0.5)
    assert not torch.equal(half, fusion.mixed(images[1], maps[0], 0.5))
    assert not torch.equal(half, fusion.mixed(images[0], maps[1], 0.5))


@pytest.mark.parametrize(("bias", "share"), [(-200.0, 0.0), (200.0, 1.0)])
def test_x_shares_the_result_out_between_the_blurred_and_the_mixed_features(bias, share):
    torch.manual_seed(0)
    fusion, mask = Fusion(8), torch.zeros(1, 1, 16, 16)
    nn.init.constant_(fusion.share[-1].bias, bias)
    blurred, refined = torch.rand(2, 1, 3, 16, 16)
    pred, x = fusion(blurred, refined, mask)
    assert torch.equal(x, torch.full_like(mask, share))
    low = fusion.blurred(blurred)
    mixed = fusion.narrow(torch.cat([low, fusion.mixed(refined, None, 1.0)], dim=1))
    torch.testing.assert_close(pred, fusion.image(torch.cat([(1 - share) * low, share * mixed], dim=1)))


def test_attention_gets_quarter_size_averages_where_one_hole_pixel_makes_a_hole():
    class Spy(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            self.given = x, mask
            return x

    fusion, mask = Fusion(8), torch.zeros(1, 1, 16, 32)
    fusion.attention = Spy()
    mask[..., 5, 11] = 1
    blurred, refined = torch.rand(2, 1, 3, 16, 32)
    _, share = fusion(blurred, refined, mask)
    features, hole = fusion.attention.given
    expected = torch.zeros(1, 1, 4, 8)
    expected[..., 1, 2] = 1
    assert torch.equal(hole, expected)
    assert features.shape == (1, 16, 4, 8)
    torch.testing.assert_close(features[:, :8], F.avg_pool2d(fusion.blurred(blurred), 4))
    assert share.shape == mask.shape


def test_stage_three_starts_as_the_blurred_image_with_its_hole_filled():
    torch.manual_seed(0)
    network, batch = Fusion(8), blurred_holes()
    refined = torch.rand_like(batch["x"])
    for alpha in (0.0, 0.5, 1.0):
        pred, _ = network(batch["blurred"], refined, batch["mask"], torch.rand_like(batch["mask"]), alpha)
        torch.testing.assert_close(pred, batch["blurred"], rtol=0, atol=0.1)
        assert (pred - batch["blurred"]).abs().mean() < 0.02
