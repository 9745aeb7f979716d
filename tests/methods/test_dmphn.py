"""DMPHN: the authors' network, its patches, its path without gradients, the released weights on real frames."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import DataError, ParamsError, WeightsError
from benchmarks.dmphn_frame import Authors
from methods import dmphn
from methods.dmphn import COLUMNS, DMPHN, ROWS, Pair, join, lean, method, split
from methods.layers.winograd import winograd_available, winograd_conv
from tests.methods.schedules import epochs, learning_rate


def tiny(num_levels: int = 4) -> DMPHN:
    torch.manual_seed(0)
    return DMPHN(channels=4, num_levels=num_levels)


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).detach().norm() / theirs.norm())


def test_parameters_are_the_papers() -> None:
    assert sum(p.numel() for p in DMPHN().parameters()) == 7_232_524 == 4 * 1_808_131
    assert sum(p.numel() for p in DMPHN(num_levels=3).parameters()) == 3 * 1_808_131


@pytest.mark.parametrize("gradients", [True, False])
def test_equal_weights_give_what_the_authors_network_gives(gradients: bool) -> None:
    torch.manual_seed(1)
    theirs, ours = Authors(), DMPHN()
    ours.load_state_dict(method.reference["network"](theirs.state_dict()))
    x = torch.rand(1, 3, 64, 40)
    with torch.no_grad():
        truth = theirs(x) - 0.5
    with torch.set_grad_enabled(gradients):
        assert relative(ours.levels(x - 0.5)[0], truth) < 1e-5
        torch.testing.assert_close(ours(x), truth + 0.5, rtol=1e-5, atol=1e-5)


def test_every_tensor_of_the_authors_has_a_place_of_its_own() -> None:
    state = Authors().state_dict()
    ours = method.reference["network"](state)
    assert len(state) == 240
    assert set(ours) == set(DMPHN().state_dict())
    assert ours["encoders.0.1.conv2.bias"] is state["encoder_lv1.layer2.2.bias"]
    assert ours["decoders.3.5.weight"] is state["decoder_lv4.layer20.weight"]


@pytest.mark.parametrize(
    "name", ["encoder_lv1.layer4.weight", "encoder_lv1.layer2.1.weight", "critic_lv1.layer1.bias", "layer1", "a.b.c"]
)
def test_a_strange_tensor_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=f"dmphn: '{name}' is not a tensor of the authors' code"):
        method.reference["network"]({name: torch.zeros(1)})


def test_split_gives_halves_side_by_side_and_join_puts_them_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    assert torch.equal(split(x, ROWS)[0], x[0, :, :2])
    assert torch.equal(split(x, ROWS)[1], x[0, :, 2:])
    assert torch.equal(split(x, COLUMNS)[3], x[1, :, :, 3:])
    for axis in (ROWS, COLUMNS):
        assert torch.equal(join(split(x, axis), axis), x)


def changed(network: DMPHN, row: int, column: int, level: int) -> tuple[list[int], list[int]]:
    """The first and last row and column of what a level gives that one pixel of a 64x64 image changes."""
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) - 0.5
    other = x.clone()
    other[0, :, row, column] += 0.5
    with torch.no_grad():
        moved = (network.levels(x)[level] != network.levels(other)[level])[0].any(0)
    rows, columns = moved.any(1).nonzero().flatten(), moved.any(0).nonzero().flatten()
    return [int(rows[0]), int(rows[-1])], [int(columns[0]), int(columns[-1])]


def test_patches_are_two_rows_then_two_by_two_then_four_by_two() -> None:
    network = tiny()
    # A pixel in the middle reaches all of the patch that is decoded and nothing beyond: level 4 decodes quarters, of
    # which it encodes the upper and the lower half apart; level 3 decodes halves; levels 2 and 1 the whole.
    assert changed(network, 16, 16, 3) == ([0, 31], [0, 31])
    assert changed(network, 48, 16, 3) == ([32, 63], [0, 31])
    rows, columns = changed(network, 16, 31, 2)
    assert (rows, columns[0] < 32 <= columns[1]) == ([0, 31], True)
    rows, _ = changed(network, 31, 31, 1)
    assert rows[0] < 32 <= rows[1]


def test_levels_share_no_weights_and_all_learn() -> None:
    network = tiny()
    x, target = torch.rand(2, 3, 32, 16), torch.rand(2, 3, 32, 16)
    pred = network(x)
    dmphn.mse(pred, target).backward()
    assert pred.shape == x.shape
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_loss_sees_the_finest_output_alone() -> None:
    x, target = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    networks = torch.nn.ModuleDict({"network": tiny()})
    phase = method.phases["train"]
    losses = phase.players["network"].losses(networks, {"target": target}, phase.forward(networks, {"x": x}))
    assert list(losses) == ["mse"]
    expected = ((networks["network"].levels(x - 0.5)[0] - (target - 0.5)) ** 2).mean()
    torch.testing.assert_close(losses["mse"], expected)


def test_initial_weights_have_the_spread_of_the_code_and_no_bias() -> None:
    torch.manual_seed(0)
    network = DMPHN(num_levels=1)
    for layer, std in (
        (network.encoders[0][6], 0.5 * (2 / (9 * 128)) ** 0.5),
        (network.decoders[0][2], 0.5 * (2 / (16 * 64)) ** 0.5),
    ):
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.02)
        assert abs(float(layer.weight.detach().mean())) < 0.02 * std
        assert not layer.bias.any()


@pytest.mark.parametrize(("convolve", "channels"), [(nn.Module.__call__, 4), (winograd_conv, 64)])
def test_a_pair_in_place_is_the_pair(convolve: Callable[[nn.Module, Tensor], Tensor], channels: int) -> None:
    torch.manual_seed(0)
    pair, x = Pair(channels), torch.randn(1, channels, 17, 11)
    with torch.no_grad():
        expected, image = pair(x), x.clone()
        assert winograd_available(x)
        assert pair.add_(image, convolve) is image
        assert relative(image, expected) < 1e-5


@pytest.mark.parametrize("num_levels", [1, 2, 3, 4, 5])
def test_without_gradients_the_result_is_the_same(num_levels: int) -> None:
    network, x = tiny(num_levels), torch.rand(2, 3, 48, 32)
    plain = network(x)
    before = x.clone()
    with torch.inference_mode():
        assert relative(network(x), plain.detach()) < 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize("channels", [4, 32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_lean_leaves_its_input(channels: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layers = DMPHN(channels).decoders[0].to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(3, 4 * channels, 8, 6).contiguous(memory_format=layout)
    before = x.clone()
    with torch.no_grad():
        got, expected = lean(layers, x), layers(x)
        assert relative(got, expected) < 1e-5
        assert got.is_contiguous()
        with torch.autocast("cpu", torch.bfloat16):
            rough = lean(layers, x)
    assert rough.is_contiguous(memory_format=torch.channels_last)
    assert 1e-4 < relative(rough.float(), expected) < 2e-2
    assert torch.equal(x, before)
    assert got.shape == (3, 3, 32, 24)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_the_plain_network() -> None:
    network, x = tiny().eval(), torch.rand(1, 3, 32, 16)
    with torch.no_grad():
        traced = torch.jit.trace(network, x)
        assert relative(traced(x), network(x)) < 1e-6
    assert "relu_" not in str(traced.inlined_graph)


@pytest.mark.parametrize(("height", "width"), [(40, 16), (16, 12), (15, 16)])
def test_a_size_that_does_not_split_is_refused(height: int, width: int) -> None:
    expected = (
        f"an image is {height} pixels high and {width} wide; with 4 levels its sides must be multiples of 16 and 8"
    )
    with pytest.raises(DataError, match=expected):
        tiny()(torch.rand(1, 3, height, width))


@pytest.mark.parametrize("arguments", [{"channels": 0}, {"num_levels": 0}, {"num_levels": 6}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ParamsError, match=f"dmphn: {next(iter(arguments))} is {next(iter(arguments.values()))}"):
        DMPHN(**arguments)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "epoch", 999, 1e-4),
        ("train", "network", "epoch", 1000, 1e-5),
        ("train", "network", "epoch", 3999, 1e-7),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """The code: 1e-4, times 0.1 every 1,000 epochs."""
    assert learning_rate("dmphn-gopro", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("run", "phase", "length"), [("dmphn-places2", "train", 4000)])
def test_a_run_is_as_long_as_the_paper_says(run, phase, length):
    """The authors' code."""
    assert epochs(run, phase) == length
