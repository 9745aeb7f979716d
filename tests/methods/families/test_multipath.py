"""The network of MRFNet: its scales, its losses, how far it sees, and arguments that it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.contracts import DataError, ParamsError
from methods.families.multipath import MRFNet, MRFUnit, path_losses, receptive_radius
from methods.mrfnet import method


@pytest.mark.parametrize(
    ("arguments", "sides"),
    [
        ({}, [64, 32, 16, 8]),
        ({"num_paths": 1}, [64]),
        ({"num_paths": 3}, [64, 32, 16]),
        ({"num_paths": 6}, [64, 32, 16, 8, 4, 2]),
        ({"stem_stride": 4}, [64, 8, 4, 2]),
        ({"rcus": True, "light": False}, [64, 32, 16, 8]),
        ({"rcus": True}, [64, 32, 16, 8]),
        ({"residual": False}, [64, 32, 16, 8]),
        ({"rounds": 3, "light": False}, [64, 32, 16, 8]),
        ({"rounds": 1}, [64, 32, 16, 8]),
    ],
)
def test_an_image_a_path_and_every_parameter_trains(arguments, sides):
    network = MRFNet(channels=4, **arguments)
    x, target = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    preds = network(x)
    assert [tuple(pred.shape) for pred in preds] == [(2, 3, side, side) for side in sides]
    path_losses(preds, target)["scale_refinement"].backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("residual", "stem_stride"), [(True, 1), (True, 4), (False, 1)])
def test_heads_add_the_blurred_image_of_their_scale(residual, stem_stride):
    network = MRFNet(channels=4, residual=residual, stem_stride=stem_stride)
    for head in network.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    x = torch.rand(1, 3, 64, 96)
    for pred in network(x):
        expected = F.interpolate(x, size=pred.shape[-2:], mode="area") if residual else torch.zeros_like(pred)
        torch.testing.assert_close(pred, expected)


def test_the_second_round_is_fed_by_the_first_and_the_first_is_the_one_round_network():
    once, twice = MRFNet(channels=4, rounds=1), MRFNet(channels=4, rounds=2)
    assert once.load_state_dict(twice.state_dict(), strict=False).missing_keys == []
    x = torch.rand(1, 3, 32, 32)
    assert (once(x)[0] - twice(x)[0]).abs().max() > 0
    for path in twice.paths:
        if path.feedback is not None:
            nn.init.zeros_(path.feedback.weight)
            nn.init.zeros_(path.feedback.bias)
    for first, second in zip(once(x), twice(x), strict=True):
        assert torch.equal(first, second)


def test_the_unit_is_equation_3():
    x = torch.rand(1, 4, 6, 6)
    f = {}
    unit, chain = MRFUnit(4, (3, 1, 3, 1), residual=True), MRFUnit(4, (3, 1, 3, 1), residual=False)
    chain.load_state_dict(unit.state_dict())
    for index, layer in enumerate(unit.convs, 1):
        f[index] = lambda value, layer=layer: layer(value).clamp(min=0)
    near = f[2](f[1](x))
    torch.testing.assert_close(unit(x), near + f[4](f[3](near)))
    torch.testing.assert_close(chain(x), f[4](f[3](near)))


def test_training_in_bfloat16_gives_full_precision_images():
    network = MRFNet(channels=4).to(memory_format=torch.channels_last)
    x = torch.rand(1, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = network(x)
    with torch.no_grad():
        exact = network(x)
    assert {pred.dtype for pred in rough} == {torch.float32}
    assert max((a - b).abs().max().item() for a, b in zip(rough, exact, strict=True)) < 0.02


def test_losses_of_a_constant_error():
    """Every scale off by 0.1: eq. 5 is 1/(2K) * K * 0.01 = 0.005, the final image's mean square 0.01."""
    target = torch.full((2, 3, 32, 32), 0.5)
    preds = [F.avg_pool2d(target, 2**k) + 0.1 for k in range(4)]
    values = path_losses(preds, target)
    assert set(values) == {"scale_refinement", "mse", "scale_1", "scale_2", "scale_3", "scale_4"}
    assert values["scale_refinement"].item() == pytest.approx(0.005)
    assert values["mse"].item() == pytest.approx(0.01)


@pytest.mark.parametrize("num_paths", range(1, 7))
def test_the_curves_of_the_scales_are_watched_and_train_nothing(num_paths):
    network = MRFNet(channels=4, num_paths=num_paths)
    x, target = torch.rand(2, 2, 3, 32, 32)
    preds = network(x)
    values = path_losses(preds, target)
    names = [f"scale_{k}" for k in range(1, num_paths + 1)]
    assert set(values) - {"scale_refinement", "mse"} == set(names) <= set(method.watched)
    assert len(method.watched) == 6
    for name, pred in zip(names, preds, strict=True):
        truth = F.interpolate(target, size=pred.shape[-2:], mode="area")
        assert values[name].item() == pytest.approx((pred - truth).square().mean().item(), rel=1e-5)
        assert not values[name].requires_grad
    total = sum(values[name] for name in names)
    assert values["scale_refinement"].item() == pytest.approx(total.item() / (2 * num_paths), rel=1e-5)


def test_a_perfect_pyramid_costs_nothing():
    target = torch.rand(1, 3, 32, 32)
    values = path_losses([F.interpolate(target, scale_factor=0.5**k, mode="area") for k in range(4)], target)
    assert values["scale_refinement"].item() == pytest.approx(0, abs=1e-12)


def seen(channels: int, **arguments) -> int:
    """How far a lit half of a dark image spreads over the result, in pixels, whatever the edge's place on the grid.

    With positive weights, no biases and an image that is 0 elsewhere nothing cancels, and a value that is not 0 depends
    on the lit half: neither rounding nor ReLU nor pooling can hide it.
    """
    network = MRFNet(channels, **arguments).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / 16 if parameter.dim() > 1 else 0)
    multiple = network.multiple
    width = 2 * (receptive_radius(**arguments) // multiple + 2) * multiple
    edges = range(width // 2, width // 2 + multiple)
    x = torch.zeros(2 * multiple, 3, multiple, width, dtype=torch.float64)
    for index, edge in enumerate(edges):
        x[index, ..., : edge + 1] = 1
        x[multiple + index, ..., edge:] = 1
    with torch.no_grad():
        lit = (network(x)[0] != 0).flatten(1, 2).any(1)
    assert not lit[:multiple, -1].any() and not lit[multiple:, 0].any(), "the image is too narrow to tell"
    after = max(int(row.nonzero().max()) - edge for row, edge in zip(lit[:multiple], edges, strict=True))
    before = max(edge - int(row.nonzero().min()) for row, edge in zip(lit[multiple:], edges, strict=True))
    return max(after, before)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"light": False}, {"residual": False}, {"rounds": 3}, {"num_paths": 1}, {"num_paths": 3, "rcus": True}],
)
def test_reach_is_how_far_it_sees(arguments):
    assert receptive_radius(**arguments) - 4 <= seen(4, **arguments) <= receptive_radius(**arguments)


@pytest.mark.parametrize("arguments", [{"num_paths": 2, "stem_stride": 4}, {"num_paths": 2}])
def test_reach_bounds_grids_that_do_not_line_up(arguments):
    assert receptive_radius(**arguments) - 4 <= seen(4, **arguments) <= receptive_radius(**arguments)


def test_the_margin_is_exact_for_the_full_network():
    """Widths change nothing: the published 32 and the tests' 4 see equally far, 219 pixels."""
    assert receptive_radius() == 219 == seen(4)


def test_pixels_beyond_the_margin_have_no_gradient():
    """The published widths, in float32, by the gradient of one pixel of the result."""
    network = MRFNet().eval()
    width = 2 * (receptive_radius() // 8 + 3) * 8
    x = torch.rand(1, 3, 8, width, requires_grad=True)
    column = width // 2
    network(x)[0][..., column].sum().backward()
    where = x.grad.abs().sum((0, 1, 2)).nonzero().flatten() - column
    assert where.abs().max() <= receptive_radius()
    assert where.abs().max() > 100  # and it sees far


def test_a_tile_with_its_margin_agrees_with_the_whole():
    network = MRFNet(channels=4).eval()
    x = torch.rand(1, 3, 32, 736)
    start = 736 - 32 - 224  # on the grid of 32; the margin of 219 is inside
    with torch.no_grad():
        whole, tile = network(x)[0], network(x[..., start:])[0]
    torch.testing.assert_close(tile[..., 224:], whole[..., start + 224 :], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_paths": 0}, "num_paths is 0, expected 1 to 6"),
        ({"num_paths": 7}, "num_paths is 7, expected 1 to 6"),
        ({"channels": 2}, "channels is 2, expected at least 4"),
        ({"stem_stride": 2}, r"stem_stride is 2, expected 1 \(table I\) or 4"),
        ({"rounds": 0}, "rounds is 0, expected at least 1"),
        ({"rounds": 2, "residual": False}, "rounds is 2, expected 1: without residual nothing is fed back"),
        ({"num_paths": 5, "stem_stride": 4}, "5 paths behind a stem of stride 4 end at 1/64 of the image"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ParamsError, match=message):
        MRFNet(**arguments)


@pytest.mark.parametrize(("arguments", "multiple"), [({}, 8), ({"num_paths": 6}, 32), ({"stem_stride": 4}, 32)])
def test_a_wrong_size_is_refused_by_name(arguments, multiple):
    with pytest.raises(DataError, match=f"60x64 pixels .*expected sides that are multiples of {multiple}"):
        MRFNet(channels=4, **arguments)(torch.rand(1, 3, 60, 64))
