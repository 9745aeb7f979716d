"""MRFNet: the sizes of its ablations, its images of every path, and its recipe."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.families.multipath import MRFNet
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
