"""DMTNet: printed sizes, multiply-adds, the parts of its equations, and what an untrained network does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from bench.params.recipes import method_recipe
from methods.dmtnet import DMSSRM, RBM, RGM, RM, DMTNet, Upsampling, method
from methods.layers import token_start
from methods.layers.window_attention import (
    WindowAttention,
    WindowBlock,
    from_windows,
    relative_position_index,
    shift_mask,
    to_windows,
)
from tests.methods.schedules import learning_rate

SIZES = {
    name.upper(): dict(variant.network) for name, variant in method_recipe("dmtnet").variants.items() if len(name) == 1
}
"""The arguments of the five sizes, which are variants of the recipe."""
PARAMETERS = {"T": 1_232_517, "S": 12_558_327, "B": 24_448_752, "L": 36_339_177, "H": 48_229_602}
PRINTED_M = {"T": 1.23, "S": 12.57, "B": 24.46, "L": 36.35, "H": 48.24}  # Table 1
MACS_G = {"T": 146.38, "S": 688.69, "B": 1296.02, "L": 1903.36, "H": 2510.69}
PRINTED_GFLOPS = {"T": 147.37, "S": 688.35, "B": 1294.41, "L": 1900.46, "H": 2506.51}  # Table 1


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def on_meta(**arguments: object) -> DMTNet:
    with torch.device("meta"):
        return DMTNet(**arguments)


def macs(network: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of convolutions and linear layers, as Table 1 counts them; the network is on the meta device."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        total += output.numel() // weight.shape[0] * weight.numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(add)
    view = torch.zeros(1, 3, height, width, device="meta")
    with torch.no_grad():
        assert network(view, view).shape == view.shape
    return total


@pytest.mark.parametrize("size", PARAMETERS)
def test_sizes_have_the_parameters_and_multiply_adds_of_the_paper(size):
    network = on_meta(**SIZES[size])
    assert count(network) == PARAMETERS[size]
    assert count(network) / 1e6 == pytest.approx(PRINTED_M[size], rel=0.0025)
    giga = macs(network, 1120, 1680) / 1e9
    assert giga == pytest.approx(MACS_G[size], rel=0.001)
    assert giga == pytest.approx(PRINTED_GFLOPS[size], rel=0.0075)


@pytest.mark.parametrize(
    ("arguments", "params"),
    [({"transformer": False}, 23_962_954), ({"selection": "sum"}, 24_448_170), ({"selection": "mean"}, 24_448_170)],
)
def test_the_ablations_of_table_2_have_exact_parameters(arguments, params):
    """Of size B, less five blocks, partition and norm, plus two convolutions; or less two selections of 96 * 3 + 3."""
    assert count(on_meta(**SIZES["B"], **arguments)) == params


def test_the_parts_have_the_parameters_that_add_up_to_the_sizes():
    network = on_meta()
    assert count(network.extraction.partition.conv) == 9_312
    assert count(network.extraction.partition.norm) == 192
    block = network.extraction.blocks[0]
    assert count(block) == 112_923
    assert sum(count(module) for module in block.modules() if isinstance(module, nn.Linear)) == 111_456
    assert block.attn.relative_position_bias_table.numel() == 1_083
    assert count(RM(64)) == 73_857
    assert count(RBM(64, 10)) == 775_498
    assert count(RGM(64, 5, 10)) == 3_914_418
    assert count(network.reconstruction[0]) == 11_890_425
    assert count(network.upsampling) == 93_783


def test_the_wider_up_sampling_meets_the_printed_multiply_adds_of_t_and_s():
    assert macs(on_meta(**SIZES["T"], up_channels=(96, 56)), 1120, 1680) / 1e9 == pytest.approx(147.30, abs=0.005)
    assert macs(on_meta(**SIZES["S"], up_channels=(96, 56)), 1120, 1680) / 1e9 == pytest.approx(689.60, abs=0.005)


def tiny(**arguments: object) -> DMTNet:
    torch.manual_seed(0)
    return DMTNet(**{**method.tiny, **arguments})


def stir(network: nn.Module) -> nn.Module:
    """Give every weight a random value, so that no branch is at zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network


ABLATIONS = [
    {},
    {"num_dmssrm": 0},
    {"num_dmssrm": 3},
    {"transformer": False},
    {"selection": "sum"},
    {"selection": "mean"},
    {"relative_bias": False},
    {"shifted": True, "num_blocks": 2},
    {"right_first": False},
]


@pytest.mark.parametrize("arguments", ABLATIONS, ids=str)
def test_every_ablation_keeps_the_size_and_trains_every_parameter(arguments):
    network = stir(tiny(**arguments))
    left, right, target = torch.rand(3, 2, 3, 48, 80)
    pred = network(left, right)
    F.l1_loss(pred, target).backward()
    assert pred.shape == left.shape
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert [name for name, p in network.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("arguments", [{"num_dmssrm": 0}, {}, {"num_dmssrm": 3}, {"transformer": False}], ids=str)
@pytest.mark.parametrize("channels", [96, 64])
def test_untrained_it_gives_the_mean_of_the_views(arguments, channels):
    arguments = {"num_rbm": 1, "num_rm": 1, "num_dmssrm": 1, "num_heads": 4, "up_channels": (48, 12)} | arguments
    network = DMTNet(channels=channels, rgm_channels=16, **arguments)
    left = F.interpolate(torch.rand(1, 3, 10, 8), size=(80, 64), mode="bilinear")
    right = (left + 0.02 * torch.randn_like(left)).clamp(0, 1)
    with torch.no_grad():
        error = network(left, right) - (left + right) / 2
    assert error.square().mean().sqrt() < 0.005
    dark = torch.zeros(1, 3, 32, 32)
    for level in (0.0, 1.0):
        with torch.no_grad():
            torch.testing.assert_close(network(dark + level, dark + level), dark + level, atol=0.03, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 176), (112, 16)])
def test_a_map_of_any_size_meets_windows_that_do_not_fit(height, width):
    """Windows of 10 tokens: no side here is a multiple of 40 pixels, and some maps are smaller than one window."""
    network = stir(tiny(window_size=10)).eval()
    left, right = torch.rand(2, 1, 3, height, width)
    with torch.no_grad():
        pred = network(left, right)
    assert pred.shape == left.shape and pred.isfinite().all()


def test_the_right_view_comes_first():
    network = stir(tiny())
    other = tiny(right_first=False)
    other.load_state_dict(network.state_dict())
    left, right = torch.rand(2, 1, 3, 32, 32)
    stacked = []
    network.extraction.register_forward_hook(lambda module, inputs, output: stacked.append(inputs[0]))
    with torch.no_grad():
        torch.testing.assert_close(network(left, right), other(right, left))
    assert torch.equal(stacked[0], torch.cat((right, left), 1))


def test_dmssrm_follows_equations_14_to_16():
    module = stir(DMSSRM(8, 16, 1, 1, "dynamic"))
    x = torch.randn(2, 8, 8, 12)
    with torch.no_grad():
        result, alphas, maps = module(x)
        logits = x.mean((2, 3)) @ module.select.weight[:, :, 0, 0].T + module.select.bias
        expected = logits.exp() / logits.exp().sum(1, keepdim=True)
        total = sum(expected[:, s, None, None, None] * maps[s] for s in range(3)) + x
        fused = torch.einsum("oc,nchw->nohw", module.fuse.weight[:, :, 0, 0], total) + module.fuse.bias.view(-1, 1, 1)
    torch.testing.assert_close(alphas, expected)
    torch.testing.assert_close(result, fused)


@pytest.mark.parametrize(("selection", "alpha"), [("sum", 1.0), ("mean", 1 / 3)])
def test_fixed_fusion_has_no_selection(selection, alpha):
    module = DMSSRM(8, 16, 1, 1, selection)
    assert torch.equal(module.alphas(torch.randn(2, 8, 4, 4)), torch.full((2, 3), alpha))
    assert count(DMSSRM(8, 16, 1, 1, "dynamic")) - count(module) == 8 * 3 + 3


@pytest.mark.parametrize(("num_dmssrm", "factor"), [(0, 1.0), (1, 2.0), (2, 2.0)])
def test_with_a_reconstruction_the_first_features_count_twice(num_dmssrm, factor):
    """Eq. 13: modules that change nothing, as untrained ones, give F_D = F_0, and the sum F_D + F_0 is 2 F_0."""
    network = tiny(num_dmssrm=num_dmssrm)
    maps = {}
    network.extraction.register_forward_hook(lambda module, inputs, output: maps.update(first=output))
    network.upsampling.register_forward_hook(lambda module, inputs, output: maps.update(last=inputs[0]))
    left, right = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        network(left, right)
    torch.testing.assert_close(maps["last"], factor * maps["first"])


def test_details_name_the_weights_and_maps_of_each_dmssrm():
    network = stir(tiny(num_dmssrm=2))
    left, right = torch.rand(2, 2, 3, 32, 48)
    with torch.no_grad():
        pred, details = network.details(left, right)
        torch.testing.assert_close(pred, network(left, right))
    assert [weights.shape for weights in details.scale_weights] == [(2, 3), (2, 3)]
    for weights in details.scale_weights:
        torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert [[m.shape for m in maps] for maps in details.scale_maps] == [[(2, 16, 8, 12)] * 3] * 2
    assert tiny(num_dmssrm=0).details(left, right)[1].scale_weights == []


def test_the_up_sampling_starts_as_the_inverse_of_pixel_unshuffle():
    up = Upsampling(48, (48, 12))
    token_start.upsampling(up[0], up[2], up[4], gain=1.0)
    image = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(up(F.pixel_unshuffle(image - 0.5, 4)), image)


def test_the_table_of_positions_is_indexed_by_query_less_key():
    index = relative_position_index(3)
    assert index[0, 0] == index[4, 4] == 12
    assert index[0, 8] == 0  # query above and left of its key by two
    assert index[8, 0] == 24
    assert index[1, 0] == 13  # one to the right: dx = 1
    assert index[3, 0] == 17  # one below: dy = 1


def test_windows_come_back_to_their_places():
    x = torch.arange(2 * 4 * 6 * 3.0).view(2, 4, 6, 3)
    windows = to_windows(x, 2)
    assert torch.equal(windows[1, 4], x[1, 2:4, 2:4].reshape(4, 3))
    assert torch.equal(from_windows(windows, 2, 4, 6), x)


def test_the_fused_and_the_written_out_attention_agree():
    torch.manual_seed(0)
    attention = WindowAttention(12, 4, 3)
    x = torch.randn(2, 5, 16, 12)
    mask = torch.where(torch.rand(5, 16, 16) < 0.3, -100.0, 0.0)
    written_out = attention(x, mask)
    with torch.no_grad():
        torch.testing.assert_close(attention(x, mask), written_out, atol=1e-6, rtol=1e-5)


def test_attention_agrees_with_torch_s_multi_head_attention():
    torch.manual_seed(0)
    ours = WindowAttention(12, 4, 3, relative_bias=False)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x = torch.randn(6, 16, 12)
    torch.testing.assert_close(ours(x[None])[0], theirs(x, x, x)[0], atol=1e-6, rtol=1e-5)


def test_a_map_of_any_size_is_as_one_with_zeros_appended_after_the_norm():
    torch.manual_seed(0)
    block = WindowBlock(8, 4, 2)
    x = torch.randn(1, 6, 9, 8)
    with torch.no_grad():
        padded = F.pad(block.norm1(x), (0, 0, 0, 3, 0, 2))
        windows = block.attn(to_windows(padded, 4))
        torch.testing.assert_close(block.attend(block.norm1(x)), from_windows(windows, 4, 8, 12)[:, :6, :9])
        assert block(x).shape == x.shape


def test_shifted_windows_do_not_mix_opposite_borders():
    torch.manual_seed(0)
    block = WindowBlock(8, 4, 2, shift=2).double()
    x = torch.randn(1, 8, 12, 8, dtype=torch.float64, requires_grad=True)
    block(x)[0, 0, 0].sum().backward()
    rows, columns = x.grad.abs().sum((0, 3)).gt(1e-30).nonzero().unbind(1)
    assert rows.max() == 1 and columns.max() == 1  # the corner's piece of the rolled window is 2 x 2
    assert (shift_mask(8, 12, 4, 2, x.device).flatten(1) != 0).any(1).tolist() == [False, False, True, True, True, True]


def test_autocast_on_the_cpu_keeps_attention_and_partition_in_float32():
    network = tiny()
    types = {}
    network.extraction.partition.register_forward_hook(lambda m, i, o: types.update(partition=o.dtype))
    network.extraction.blocks[0].attn.qkv.register_forward_hook(lambda m, i, o: types.update(linear=o.dtype))
    left, right = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        exact = network(left, right)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = network(left, right)
    assert types == {"partition": torch.float32, "linear": torch.bfloat16}
    assert (coarse.float() - exact).abs().max() < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 5}, "96 channels cannot be split over 5 heads"),
        ({"rgm_channels": 24}, "rgm_channels is 24; expected a multiple of 16"),
        ({"up_channels": (96, 50)}, r"up_channels is \[96, 50\]; expected two multiples of 4"),
        ({"selection": "max"}, "selection is 'max'; expected 'dynamic', 'sum' or 'mean'"),
        ({"num_dmssrm": -1}, "num_dmssrm is -1; expected at least 0"),
        ({"channels": 0}, "channels is 0; expected at least 1"),
        ({"num_heads": -1}, "num_heads is -1; expected at least 1"),
        ({"window_size": 0}, "window_size is 0; expected at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ParamsError, match=message):
        on_meta(**arguments)


def test_it_is_trained_by_the_charbonnier_loss():
    player = method.phases["train"].players["network"]
    target = torch.zeros(1, 3, 2, 2)
    losses = player.losses(nn.ModuleDict(), {"target": target}, {"pred": target})
    assert losses["charbonnier"].item() == pytest.approx(1e-3)  # eps, where there is no difference


def test_insides_are_the_weights_and_maps_of_figure_5():
    networks = nn.ModuleDict({"network": stir(tiny(num_dmssrm=2))}).eval()
    left, right = torch.rand(2, 1, 3, 32, 48)
    batch = {"left": left, "right": right}
    with torch.no_grad():
        images = method.insides(networks, batch)
        _, details = networks["network"].details(left, right)
    assert len(images) == 2 * 4
    for i in (1, 2):
        assert torch.equal(images[f"DMSSRM {i}: scales 1, 1/2, 1/4"], details.scale_weights[i - 1][0])
        for scale, map_ in zip(("1", "1/2", "1/4"), details.scale_maps[i - 1], strict=True):
            shown = images[f"DMSSRM {i}, scale {scale}: mean of the channels, own range"]
            assert shown.shape == (1, 1, 8, 12)
            assert (shown.min(), shown.max()) == (0, 1)
            assert shown.flatten().argmax() == map_.mean(1).flatten().argmax()
    with torch.no_grad():
        assert method.insides(nn.ModuleDict({"network": tiny(num_dmssrm=0)}), batch) == {}


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "epoch", 0, 1e-4),
        ("train", "network", "epoch", 500, 5e-5),
        ("train", "network", "epoch", 1000, 0.0),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 4.2: 1e-4 with cosine annealing, about 1,000 epochs."""
    assert learning_rate("dmtnet-canon-dp", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
