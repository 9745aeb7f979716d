"""LMFN: its sizes, its attentions against plain formulas, its ranges, and the import of the authors' weights."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from bench.contracts import DataError, ParamsError
from methods.layers import rfdb
from methods.layers.han import LayerAttention
from methods.lmfn import ACFM, ALFM, LMFN, MEAN, REPOSITORY, UNUSED, MeanShift, ResBlock, method, rename
from tests.methods.schedules import learning_rate

TINY = {"channels": 8, "block_channels": 8, "num_blocks": 2}


def count(**arguments) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in LMFN(**arguments).parameters())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_blocks", "params"),
    [(1, 932_916), (2, 1_029_866), (3, 1_126_816), (4, 1_223_766), (5, 1_320_716), (6, 1_417_666)],
)
def test_parameters_by_number_of_blocks(num_blocks, params):
    assert count(num_blocks=num_blocks) == params


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        ({"attention": "none"}, 1_178_700),
        ({"mshf": False}, 1_325_782),
        ({"distillation": False}, 1_026_366),
        ({"attention": "repository"}, 1_223_780),
        (REPOSITORY, 1_247_707 - 22_550 - 1_353),  # the published class less LR_conv and final_lym
    ],
)
def test_parameters_of_the_ablations(arguments, params):
    assert count(**arguments) == params


def test_unused_layers_of_the_authors_code_make_the_printed_sizes():
    """Tables 1 and 3 print 1.25 M and 1.20 M: the code counts LR_conv and final_lym, which compute nothing."""
    unused = 22_550 + 1_353
    assert count(attention="none") + unused == 1_202_603
    assert count(**REPOSITORY) + unused == 1_247_707


def test_the_code_differs_from_the_paper_by_the_trained_mean_and_the_gate():
    """Two 1x1 convolutions of the mean, and a 3x3x3 kernel with bias in place of 3x3 and 3 with biases."""
    assert count(trainable_mean=True) - count() == 2 * (3 * 3 + 3)
    assert count(attention="repository") - count() == (27 + 1) - (9 + 1) - (3 + 1)


def test_each_further_block_costs_the_same():
    """A block of 50 channels and its share of the 1x1 fusion; the step of table 4 is 30,000 to 40,000."""
    block = sum(p.numel() for p in rfdb.RFDB(50).parameters())
    params = [count(num_blocks=k) for k in range(1, 7)]
    assert {after - before for before, after in pairwise(params)} == {block + 50 * 50}


def test_the_size_is_that_of_table_1_and_no_attention_takes_what_table_3_says():
    assert count() == pytest.approx(1.25e6, rel=0.03)
    assert count() - count(attention="none") == pytest.approx(0.05e6, abs=0.005e6)


@pytest.mark.parametrize(("channels", "params"), [(28, 29_883), (50, 94_450), (64, 155_424)])
def test_parameters_of_one_rfdb(channels, params):
    assert sum(p.numel() for p in rfdb.RFDB(channels).parameters()) == params


def test_multiply_adds_at_256():
    with torch.device("meta"):
        network, x = LMFN(), torch.empty(1, 3, 256, 256)
    total = 0

    def add(module, _inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add)
    network(x)
    total += 2 * 200**2 * 64**2  # ALFM's two products of 200 channels at a quarter of the size
    total += (9 + 3) * 50 * 64**2  # ACFM's two filters
    assert total / 1e9 == pytest.approx(4.82, abs=0.005)


# Forward pass ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{}, {"attention": "none"}, {"mshf": False}, {"distillation": False}, {"num_blocks": 1}, REPOSITORY],
)
def test_it_keeps_the_size_and_trains_every_parameter(arguments):
    network = LMFN(**(TINY | arguments))
    x = torch.rand(2, 3, 64, 96)
    pred = network(x)
    F.mse_loss(pred, torch.rand_like(x)).backward()
    assert pred.shape == x.shape
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("trainable", [False, True])
def test_the_output_starts_at_the_mean_colour_of_the_unit_range(trainable):
    network = LMFN(**TINY, trainable_mean=trainable)
    torch.nn.init.zeros_(network.exit.weight)
    torch.nn.init.zeros_(network.exit.bias)
    pred = network(torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(pred, torch.tensor(MEAN).view(1, 3, 1, 1).expand_as(pred))


def test_the_encoder_gets_images_in_0_to_255():
    network = LMFN(**TINY)
    encoded = []
    network.encoder.register_forward_pre_hook(lambda _module, inputs: encoded.append(inputs[0]))
    network(torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(encoded[0][0, :, 0, 0], 255 * (1 - torch.tensor(MEAN)))


def test_the_fixed_mean_is_no_weight_and_the_trained_one_starts_at_it():
    fixed, trained = LMFN(**TINY), LMFN(**TINY, trainable_mean=True)
    assert not [name for name in fixed.state_dict() if "mean" in name]
    x = 255 * torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(trained.sub_mean(x), fixed.sub_mean(x))
    torch.testing.assert_close(trained.add_mean(x), fixed.add_mean(x))
    torch.testing.assert_close(MeanShift(1)(MeanShift(-1)(x)), x)


@pytest.mark.parametrize(("padding", "side"), [(1, 16), (0, 16)])
def test_both_head_paddings_end_at_a_quarter(padding, side):
    assert LMFN(**TINY, head_padding=padding).encoder(torch.rand(1, 3, 64, 64)).shape == (1, 8, side, side)


def test_a_residual_block_is_nearly_the_identity_at_the_start():
    block, x = ResBlock(16), torch.randn(2, 16, 12, 12)
    assert (block(x) - x).norm() < 0.05 * x.norm()


def test_bfloat16_training_stays_close_to_float32():
    network = LMFN(**TINY).to(memory_format=torch.channels_last)
    torch.nn.init.ones_(network.layer_attention.theta)
    x = torch.rand(1, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.02


# Attentions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [ALFM(), ACFM(), LayerAttention(3)])
def test_an_attention_starts_as_the_identity(module):
    x = torch.randn(2, 12, 5, 7)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_alfm_is_equations_1_and_2(memory_format):
    x = (0.1 * torch.randn(2, 12, 5, 7)).to(memory_format=memory_format)
    alfm = ALFM()
    torch.nn.init.constant_(alfm.theta, 0.7)
    expected = []
    for image in x:
        q = image.reshape(12, 35)
        expected.append((0.7 * torch.softmax(q @ q.T, dim=1) @ q + q).reshape(12, 5, 7))
    torch.testing.assert_close(alfm(x), torch.stack(expected))


def test_alfm_stays_in_float32_under_autocast():
    x = torch.randn(1, 12, 8, 8)
    alfm = ALFM()
    torch.nn.init.ones_(alfm.theta)
    exact = alfm(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(alfm(x), exact)


def test_acfm_is_equation_3_with_convolutions_of_volumes():
    x = torch.randn(2, 9, 6, 8)
    acfm = ACFM()
    torch.nn.init.constant_(acfm.alpha, 0.7)
    volume = F.conv3d(x[:, None], acfm.conv1.weight[:, :, None], acfm.conv1.bias, padding=(0, 1, 1))
    volume = F.conv3d(volume, acfm.conv2.weight[..., None, None], acfm.conv2.bias, padding=(1, 0, 0))
    torch.testing.assert_close(acfm(x), x + 0.7 * torch.sigmoid(volume[:, 0]) * x)


def test_layer_attention_favours_the_least_alike_block():
    """Of two equal blocks and an opposite one, softmax(row maximum - energy) gives all weight to the opposite."""
    block = torch.ones(1, 4, 5, 5)
    attention = LayerAttention(3)
    torch.nn.init.ones_(attention.theta)
    out = attention(torch.cat((block, block, -block), 1))
    torch.testing.assert_close(out[:, :4], torch.zeros_like(block))
    torch.testing.assert_close(out[:, 8:], torch.zeros_like(block))


def test_esa_is_a_gate():
    esa, x = rfdb.ESA(16), torch.randn(1, 16, 15, 20)
    ratio = esa(x) / x
    assert 0 < ratio.min() < ratio.max() < 1


# Weights and messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("encode.conv_first.bias", "encoder.head.bias"),
        ("encode.stride_conv_l3.weight", "encoder.down.3.weight"),
        ("encode.resblock_l1.4.conv2.weight", "encoder.quarter.4.conv2.weight"),
        ("encode.resblock_l2_2.conv1.bias", "encoder.eighth.1.conv1.bias"),
        ("B2.c1_d.weight", "blocks.1.distill.0.weight"),
        ("B4.c3_r.bias", "blocks.3.refine.2.bias"),
        ("B1.c5.weight", "blocks.0.join.weight"),
        ("B3.esa.conv3_.weight", "blocks.2.esa.coarse.2.weight"),
        ("c.0.weight", "fuse.weight"),
        ("lam.gamma", "layer_attention.theta"),
        ("nobody.knows", "nobody.knows"),
    ],
)
def test_names_of_the_authors_code(official, ours):
    assert rename(official) == ours


def test_unused_layers_are_left_out():
    state = {**{f"{layer}weight": torch.zeros(1) for layer in UNUSED}, "last.bias": torch.ones(1)}
    assert method.reference["network"](state) == {"join.bias": torch.ones(1)}


@pytest.mark.parametrize("size", [(72, 64), (64, 90), (48, 128)])
def test_a_wrong_size_is_refused_by_name(size):
    with pytest.raises(DataError, match=rf"{size[0]}x{size[1]} pixels .*expected sides that are multiples of 16"):
        LMFN(**TINY)(torch.rand(1, 3, *size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 7}, "num_blocks is 7; expected 1 to 6"),
        ({"num_blocks": 0}, "num_blocks is 0"),
        ({"attention": "papers"}, "attention is 'papers'; expected 'paper', 'repository' or 'none'"),
        ({"head_padding": 2}, "head_padding is 2"),
        ({"channels": 0}, "channels is 0; expected at least 1"),
        ({"block_channels": 3}, "block_channels is 3; expected at least 4"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ParamsError, match=message):
        LMFN(**arguments)


def test_the_entry_has_the_papers_sizes_and_loss():
    assert (method.tasks, method.multiple, method.min_size, method.margin) == (("deblur",), 16, 64, None)
    assert method.tiling
    networks = torch.nn.ModuleDict(method.networks(**method.tiny))
    batch = {"x": torch.rand(1, 3, 64, 64), "target": torch.rand(1, 3, 64, 64)}
    phase = method.phases["train"]
    losses = phase.players["network"].losses(networks, batch, phase.forward(networks, batch))
    assert list(losses) == ["mse"]
    assert losses["mse"].item() == pytest.approx(
        ((method.restore(networks, batch) - batch["target"]) ** 2).mean().item()
    )


# Insides --------------------------------------------------------------------------------------------------------------


def stirred(**arguments) -> torch.nn.ModuleDict:
    """Tiny networks whose attentions count."""
    networks = torch.nn.ModuleDict(method.networks(**(TINY | arguments)))
    if networks["network"].attention != "none":
        torch.nn.init.constant_(networks["network"].layer_attention.theta, 0.3)
        torch.nn.init.constant_(networks["network"].channel_attention.alpha, -0.2)
    return networks.eval()


MAPS = [f"MSHF at {scale}: mean of the channels, own range" for scale in ("1/4", "1/8", "1/16")]
BETWEEN = "attention between blocks: a row takes of the columns"
GATE = "gate of the last block: mean of the channels"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, [*MAPS, BETWEEN, GATE, "theta, alpha"]),
        ({"attention": "repository"}, [*MAPS, BETWEEN, GATE, "theta, alpha"]),
        ({"mshf": False}, [BETWEEN, GATE, "theta, alpha"]),
        ({"attention": "none"}, MAPS),
        ({"attention": "none", "mshf": False}, []),
    ],
)
def test_insides_are_what_the_variant_has(arguments, names):
    with torch.no_grad():
        images = method.insides(stirred(**arguments, num_blocks=3), {"x": torch.rand(1, 3, 64, 96)})
    assert list(images) == names
    sides = {**dict(zip(MAPS, [(16, 24), (8, 12), (4, 6)], strict=True)), BETWEEN: (3, 3), GATE: (16, 24)}
    for name, value in images.items():
        if name == "theta, alpha":
            assert value.tolist() == pytest.approx([0.3, -0.2])
            continue
        assert value.shape == (1, 1, *sides[name])
        assert value.min() >= 0 and value.max() <= 1
    for name in set(MAPS) & set(names):
        assert (images[name].min(), images[name].max()) == (0, 1)
    if BETWEEN in images:
        torch.testing.assert_close(images[BETWEEN].sum(-1), torch.ones(1, 1, 3))


def test_the_attention_between_blocks_is_the_channels_condensed():
    x = 0.1 * torch.randn(2, 12, 5, 7)
    between = ALFM().between_blocks(x, 3)
    for image, condensed in zip(x, between, strict=True):
        q = image.reshape(12, 35)
        channels = torch.softmax(q @ q.T, dim=1)
        for i in range(3):
            for j in range(3):
                expected = channels[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].sum().item() / 4
                assert condensed[i, j].item() == pytest.approx(expected, rel=1e-5)


def test_the_scales_are_those_that_the_encoder_joins():
    encoder = LMFN(**TINY).encoder
    x = torch.randn(1, 3, 64, 64)
    scales = encoder.scales(x)
    assert [tuple(scale.shape[1:]) for scale in scales] == [(8, 16, 16), (8, 8, 8), (8, 4, 4)]
    assert torch.equal(scales[0], encoder(x))


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "step", 0, 1e-4),
        ("train", "network", "step", 499_999, 1e-4),
        ("train", "network", "step", 500_000, 1e-5),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 4.1: 1e-4, divided by 10 every 5e5 iterations."""
    assert learning_rate("lmfn-gopro", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
