"""Coherent attention: a plain loop over the equations, values by hand, and inputs that are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contracts import DataError
from methods.layers import coherent_attention
from methods.layers.coherent_attention import CoherentAttention, coherent_match, offset_colours


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine, at least 0 as in the layer."""
    return (a @ b / (a.norm().clamp(min=1e-8) * b.norm().clamp(min=1e-8))).clamp(min=0)


def by_the_equations(x: Tensor, mask: Tensor) -> Tensor:
    """Equations 7 to 9, place by place in torch operations, the weights detached: (1, C, h, w) to the same."""
    places = list(x[0].flatten(1).T)
    hole = [i for i, value in enumerate(mask.flatten()) if value > 0]
    known = [i for i in range(len(places)) if i not in hole]
    filled = dict(enumerate(places))
    q = None
    for i in hole:
        scores = torch.stack([F.cosine_similarity(places[i], places[j], dim=0) for j in known])
        best = places[known[int(scores.argmax())]]
        if q is None:
            q = best
        else:
            adjacent, greatest = cosine(places[i], q).detach(), scores.max().clamp(min=0).detach()
            a = adjacent / (adjacent + greatest + 1e-8)
            q = a * q + (1 - a) * best
        filled[i] = q
    return torch.stack([filled[i] for i in range(len(places))]).T.unflatten(1, x.shape[2:])[None]


def scene(size: tuple[int, int], channels: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features with similar neighbours, and a hole of two parts, one of which touches the edge."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, channels, *size, generator=generator, dtype=torch.float64)
    x = x + 2 * F.avg_pool2d(x, 3, stride=1, padding=1)
    mask = torch.zeros(1, 1, *size)
    mask[..., 2:5, 1:4] = 1
    mask[..., 0, -2:] = 1
    return x.to(dtype), mask


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("size", "channels"), [((6, 9), 5), ((8, 5), 16), ((7, 7), 1)])
def test_results_and_gradients_are_those_of_the_equations(dtype, bound, size, channels) -> None:
    x, mask = scene(size, channels, dtype)
    ours, loop = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = CoherentAttention()(ours, mask), by_the_equations(loop, mask)
    torch.testing.assert_close(out, expected, rtol=bound, atol=bound)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, loop.grad, rtol=bound, atol=bound)
    assert ours.grad is not None
    assert ours.grad[(mask > 0).expand_as(x)].abs().max() == 0


def test_two_places_by_hand() -> None:
    """Two hole places between known (2, 0) and (0, 3): both cosines of the second are known."""
    x = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 3.0]]).T.reshape(1, 2, 1, 4)
    mask = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 4)
    # (1, 0) matches (2, 0). (1, 1) has equal cosines to both and takes the first; the feature before it is (2, 0) too.
    torch.testing.assert_close(CoherentAttention()(x, mask)[0, :, 0, 2], torch.tensor([2.0, 0.0]))
    x[0, :, 0, 2] = torch.tensor([3.0, 4.0])  # C_max 0.8 with (0, 3), C_ad 0.6 with (2, 0): a = 3/7
    torch.testing.assert_close(CoherentAttention()(x, mask)[0, :, 0, 2], torch.tensor([6 / 7, 12 / 7]))
    assert coherent_match(x, mask).tolist() == [[[0, 0, 3, 3]]]


def test_opposite_features_keep_the_weights_in_range() -> None:
    x = torch.tensor([1.0, -1.0, -1.0, 1.0]).reshape(1, 1, 2, 2)  # no cosine of a hole place is above 0
    mask = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    assert CoherentAttention()(x, mask).flatten().tolist() == [1, 1, 1, 1]
    x = torch.zeros(1, 3, 4, 4)
    assert CoherentAttention()(x, F.pad(torch.ones(1, 1, 2, 2), (1, 1, 1, 1))).abs().max() == 0


def test_images_of_a_batch_are_independent() -> None:
    first, mask = scene((8, 8), 4, torch.float32)
    other, _ = scene((8, 8), 4, torch.float32, seed=1)
    x, masks = torch.cat((first, other, first)), torch.cat((mask, mask.flip(3), mask))
    out = CoherentAttention()(x.contiguous(memory_format=torch.channels_last), masks)
    for i in range(3):
        torch.testing.assert_close(out[i : i + 1], CoherentAttention()(x[i : i + 1], masks[i : i + 1]))
    known = (masks == 0).expand_as(x)
    assert torch.equal(out[known], x[known])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_a_hole_or_without_a_known_place_nothing_changes(value) -> None:
    x = torch.rand(2, 3, 4, 5, requires_grad=True)
    out = CoherentAttention()(x, torch.full((2, 1, 4, 5), value))
    assert torch.equal(out, x)
    out.backward(weight := torch.rand_like(x))
    assert torch.equal(x.grad, weight)  # type: ignore[arg-type]
    assert (
        coherent_match(x, torch.full((2, 1, 4, 5), value)).tolist()
        == torch.arange(20).view(4, 5).repeat(2, 1, 1).tolist()
    )


def test_a_search_in_blocks_gives_the_same(monkeypatch) -> None:
    x, mask = scene((9, 9), 8, torch.float32)
    whole = CoherentAttention()(x, mask)
    monkeypatch.setattr(coherent_attention, "MAX_SCORES", 100)
    torch.testing.assert_close(CoherentAttention()(x, mask), whole)


def test_it_is_float32_under_autocast() -> None:
    x, mask = scene((8, 8), 16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(CoherentAttention()(x, mask), CoherentAttention()(x.clone(), mask))
        half = x.bfloat16().requires_grad_()
        out = CoherentAttention()(half, mask)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, CoherentAttention()(x.bfloat16().float(), mask).bfloat16())
    out.float().sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(1, 4, 8, 8\) and mask \(1, 1, 16, 16\).*resize the mask"):
        CoherentAttention()(torch.rand(1, 4, 8, 8), torch.zeros(1, 1, 16, 16))


def test_colours_of_offsets() -> None:
    """Red to the right, cyan to the left, between red and green downwards, white where known."""
    matches, mask = torch.arange(16), torch.zeros(16)
    mask[[0, 3, 5, 6]] = 1
    matches[0], matches[3], matches[5] = 2, 1, 13
    colours = offset_colours(matches, mask, 4, 4)
    assert colours.shape == (1, 3, 4, 4)
    assert colours[0, :, 0, 0].tolist() == pytest.approx([1, 0.5, 0.5])  # two of four places to the right
    assert colours[0, :, 0, 3].tolist() == pytest.approx([0.5, 1, 1], abs=1e-6)
    assert colours[0, :, 1, 1].tolist() == pytest.approx([0.75, 1, 0.5], abs=1e-6)  # two places down: 90 degrees
    assert colours[0, :, 1, 2].tolist() == [1, 1, 1]  # matches itself
    assert colours[0, :, 3].min() == 1
    anywhere = offset_colours(torch.randperm(16), torch.ones(16), 4, 4)
    assert anywhere.min() >= 0
    assert anywhere.max() <= 1


def test_colours_refuse_a_wrong_count_and_a_match_outside_the_map() -> None:
    with pytest.raises(DataError, match="expected 12 of both"):
        offset_colours(torch.arange(16), torch.zeros(16), 3, 4)
    with pytest.raises(DataError, match="matches 0 to 16; expected 0 to 15"):
        offset_colours(torch.arange(16) + torch.tensor([0] * 15 + [1]), torch.zeros(16), 4, 4)
