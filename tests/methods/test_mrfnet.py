"""MRFNet: the sizes of its ablations, its scales, and how far it sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.contracts import DataError, ParamsError
from methods.families.multipath import MRFNet, MRFUnit, path_losses, receptive_radius
from methods.mrfnet import method
from tests.methods.schedules import epochs, learning_rate


def count(**arguments) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in MRFNet(**arguments).parameters())


def multiply_adds(side: int, **arguments) -> int:
    """Multiply-adds of the convolutions for one square image; nothing is computed."""
    with torch.device("meta"):
        network, x = MRFNet(**arguments), torch.empty(1, 3, side, side)
    total = 0

    def add(module, inputs, output):
        nonlocal total
        # A transposed convolution spends its kernel on every input value, the others on every output value.
        values = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        total += values.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(add)
    network(x)
    return total


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Sizes ----------------------------------------------------------------------------------------------------------------

REFINENET = {"light": False, "residual": False}
LW_REFINENET = {"light": True, "residual": False}
RC_REFINENET = {"light": False, "residual": True}
MRFNET = {"light": True, "residual": True}


@pytest.mark.parametrize(
    ("arguments", "params", "giga"),
    [
        (REFINENET, 9_014_124, 34.2),
        (LW_REFINENET, 5_041_004, 20.3),
        (RC_REFINENET, 9_401_644, 57.3),
        (MRFNET, 5_428_524, 35.3),
        (MRFNET | {"rounds": 1}, 5_041_004, 20.3),  # no feedback, so no convolution for it
    ],
)
def test_parameters_and_multiply_adds_of_table_5(arguments, params, giga):
    assert count(**arguments) == params
    assert multiply_adds(256, **arguments) / 1e9 == pytest.approx(giga, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "params", "multiply_adds_256"),
    [
        (REFINENET, 19_175_852, 80_123_002_880),
        (LW_REFINENET, 5_644_764, 22_971_416_576),
        (RC_REFINENET, 19_563_372, 149_077_360_640),
        (MRFNET, 6_032_284, 40_679_768_064),
    ],
)
def test_parameters_and_multiply_adds_with_rcus(arguments, params, multiply_adds_256):
    """Two RCUs on every map of the encoder, three after every CRP, as the text counts them."""
    assert count(rcus=True, **arguments) == params
    assert multiply_adds(256, rcus=True, **arguments) == multiply_adds_256
    network = MRFNet(channels=4, rcus=True, **arguments)
    sizes = [layer.kernel_size[0] for layer in network.paths[0].adapt[0].convs]
    assert sizes == ([1, 3, 1] if arguments["light"] else [3, 3])
    assert [(len(path.adapt), len(path.refine)) for path in network.paths] == [(2, 3)] * 4


TABLE_1 = """
encoder.0.0 5 1 2 32, encoder.0.2 1 1 0 64, encoder.1.0 5 2 2 128, encoder.1.2 1 1 0 128,
encoder.2.0 3 2 1 256, encoder.2.2 1 1 0 256, encoder.3.0 3 2 1 256, encoder.3.2 1 1 0 256,
paths.3.entry 3 1 1 256, paths.3.unit.convs.0 3 1 1 256, paths.3.unit.convs.1 1 1 0 256,
paths.3.unit.convs.2 3 1 1 256, paths.3.unit.convs.3 1 1 0 256, paths.2.enlarge 4 2 1 128,
paths.2.entry 3 1 1 128, paths.2.unit.convs.1 1 1 0 128, paths.2.unit.convs.2 3 1 1 128,
paths.2.unit.convs.3 1 1 0 128, paths.1.enlarge 4 2 1 64,
paths.1.entry 3 1 1 64, paths.1.unit.convs.0 3 1 1 64, paths.1.unit.convs.1 1 1 0 64,
paths.1.unit.convs.2 3 1 1 64, paths.1.unit.convs.3 1 1 0 64, paths.0.enlarge 4 2 1 32,
paths.0.entry 3 1 1 32, paths.0.unit.convs.0 3 1 1 32, paths.0.unit.convs.1 3 1 1 32,
paths.0.unit.convs.2 1 1 0 32, paths.0.unit.convs.3 3 1 1 32
"""
"""Our name, kernel, stride, padding and output channels of the rows of table I in their order, repaired."""


def test_the_thirty_convolutions_of_table_1():
    rows = [row.split() for row in TABLE_1.replace("\n", " ").split(",")]
    printed = {name: tuple(map(int, sizes)) for name, *sizes in rows}
    with torch.device("meta"):
        layers = {
            name: (layer.kernel_size[0], layer.stride[0], layer.padding[0], layer.out_channels)
            for name, layer in MRFNet().named_modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        }
    assert len(printed) == 30
    assert {name: layers[name] for name in printed} == printed
    # conv_r2_m1, which the table lacks, the image heads, CRP and the feedback of eq. 2.
    rest = {name for name in layers if name not in printed and not name.startswith("heads")}
    assert layers["paths.2.unit.convs.0"] == (3, 1, 1, 128)
    assert rest == (
        {"paths.2.unit.convs.0"}
        | {f"paths.{k}.pool.stages.{stage}" for k in range(4) for stage in (0, 1)}
        | {f"paths.{k}.feedback" for k in (1, 2, 3)}
    )


def test_what_the_lightweight_process_saves():
    """The paper: more than 50 % and 75 %, true of one 3x3 made 1x1, which saves 89 %; of the whole networks less."""

    def saved(dear: dict, light: dict) -> tuple[float, float]:
        return 1 - count(**light) / count(**dear), 1 - multiply_adds(256, **light) / multiply_adds(256, **dear)

    assert saved(REFINENET, LW_REFINENET) == pytest.approx((0.441, 0.408), abs=5e-4)
    assert saved(RC_REFINENET, MRFNET) == pytest.approx((0.423, 0.384), abs=5e-4)
    with_rcus = {"rcus": True}
    assert saved(REFINENET | with_rcus, LW_REFINENET | with_rcus) == pytest.approx((0.706, 0.713), abs=5e-4)
    assert saved(RC_REFINENET | with_rcus, MRFNET | with_rcus) == pytest.approx((0.692, 0.727), abs=5e-4)


@pytest.mark.parametrize(
    ("num_paths", "params", "multiply_adds_256"),
    [
        (1, 54_787, 3_569_352_704),
        (2, 502_758, 18_395_168_768),
        (3, 1_765_289, 27_838_119_936),
        (4, 5_428_524, 35_260_727_296),
        (5, 10_353_455, 38_366_281_728),
        (6, 15_278_386, 39_142_670_336),
    ],
)
def test_parameters_and_multiply_adds_by_number_of_paths(num_paths, params, multiply_adds_256):
    assert count(num_paths=num_paths) == params
    assert multiply_adds(256, num_paths=num_paths) == multiply_adds_256


def test_a_path_more_is_a_path_dearer():
    params = [count(num_paths=k) for k in range(1, 7)]
    assert params == sorted(params)
    # The fifth and sixth path repeat conv7, conv8 and path r1: the same again, so the same number of parameters.
    assert params[5] - params[4] == params[4] - params[3]


def test_channels_scale_every_width():
    wide, narrow = MRFNet(), MRFNet(channels=8)
    for (name, big), small in zip(wide.named_parameters(), narrow.parameters(), strict=True):
        for axis, (a, b) in enumerate(zip(big.shape, small.shape, strict=True)):
            fixed = axis > 1 or b == 3
            assert a == (b if fixed else 4 * b), name


# Forward pass ---------------------------------------------------------------------------------------------------------


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


# Loss -----------------------------------------------------------------------------------------------------------------


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


# How far it sees ------------------------------------------------------------------------------------------------------


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
    assert where.abs().max() > 100  # and it does look far


def test_a_tile_with_its_margin_agrees_with_the_whole():
    network = MRFNet(channels=4).eval()
    x = torch.rand(1, 3, 32, 736)
    start = 736 - 32 - 224  # on the grid of 32; the margin of 219 lies inside
    with torch.no_grad():
        whole, tile = network(x)[0], network(x[..., start:])[0]
    torch.testing.assert_close(tile[..., 224:], whole[..., start + 224 :], rtol=0, atol=1e-6)


# Messages -------------------------------------------------------------------------------------------------------------


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


def test_what_the_engine_is_told():
    assert (method.tasks, method.multiple) == (("deblur",), 32)
    networks = nn.ModuleDict(method.networks(**method.tiny))
    batch = {"x": torch.rand(1, 3, 32, 32), "target": torch.rand(1, 3, 32, 32)}
    phase = method.phases["train"]
    named = phase.players["network"].losses(networks, batch, phase.forward(networks, batch))
    assert method.restore(networks, batch).shape == (1, 3, 32, 32)
    assert named["mse"].item() == pytest.approx(F.mse_loss(method.restore(networks, batch), batch["target"]).item())


def test_insides_are_the_paths_images_and_what_each_changes():
    networks = nn.ModuleDict(method.networks(channels=4, num_paths=3))
    x = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        result = method.insides(networks, {"x": x})
        preds = networks["network"](x)
    assert list(result) == [
        name
        for k in (1, 2, 3)
        for name in (f"path {k}: image", f"path {k}: difference to the blurred image, own range")
    ]
    for k, pred in enumerate(preds, 1):
        assert torch.equal(result[f"path {k}: image"], pred.clamp(0, 1))
        map_ = result[f"path {k}: difference to the blurred image, own range"]
        moved = (pred - F.interpolate(x, size=pred.shape[-2:], mode="area")).abs().mean(1, True)
        assert map_.shape == moved.shape == (1, 1, 32 // 2 ** (k - 1), 64 // 2 ** (k - 1))
        assert (map_.min(), map_.max()) == (0, 1)
        assert map_.flatten().argmax() == moved.flatten().argmax()


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "epoch", 0, 1e-4),
        ("train", "network", "epoch", 9.99, 1e-4),
        ("train", "network", "epoch", 10, 5e-5),
        ("train", "network", "epoch", 49, 6.25e-6),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section IV.A: 1e-4, halved every 10 epochs, 50 epochs on GOPRO."""
    assert learning_rate("mrfnet-gopro", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("run", "phase", "length"), [("mrfnet-gopro", "train", 50), ("mrfnet-visdrone", "train", 70)])
def test_a_run_is_as_long_as_the_paper_says(run, phase, length):
    """Section IV.A."""
    assert epochs(run, phase) == length
