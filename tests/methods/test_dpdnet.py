"""DPDNet: sizes, the authors' weights, the receptive field and what keeps its three last channels alive."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.contracts import ParamsError, WeightsError
from methods.dpdnet import Decoder, DPDNet, from_keras, he_normal_, keras_layers, method, start_open_
from methods.losses.pixel import mse
from tests.methods.schedules import learning_rate


def small(**arguments: float) -> DPDNet:
    torch.manual_seed(0)
    return DPDNet(**{"channels": 4, **arguments}).eval()


@pytest.mark.parametrize(("in_views", "expected"), [(2, 31_035_151), (1, 31_033_423)])
def test_the_parameters_are_those_of_the_authors_network(in_views, expected):
    with torch.device("meta"):
        assert sum(p.numel() for p in DPDNet(in_views).parameters()) == expected


def test_it_is_called_with_both_views_and_trains_every_parameter():
    network = small().train()
    left, right = torch.rand(2, 2, 3, 32, 48)
    pred = network(left, right)
    nn.functional.mse_loss(pred, torch.rand_like(left)).backward()
    assert pred.shape == left.shape
    assert pred.min() > 0
    assert pred.max() < 1
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_single_image_network_sees_the_mean_of_the_views():
    network = small(in_views=1)
    left, right = torch.rand(2, 1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(left, right), network((left + right) / 2, (left + right) / 2))


def test_dropout_acts_in_training_alone_and_at_the_given_share():
    network = small(dropout=0.4)
    left, right = torch.rand(2, 1, 3, 16, 16)
    seen = []
    network.dropout.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        assert torch.equal(network(left, right), network(left, right))
        seen.clear()
        network.train()(left.repeat(64, 1, 1, 1), right.repeat(64, 1, 1, 1))
    assert [x.shape[1:] for x, _ in seen] == [
        (32, 2, 2),
        (64, 1, 1),
    ]  # encoder 4 once, for both of its ways; bottleneck
    x, dropped = seen[0]
    assert (dropped[x > 0] == 0).float().mean() == pytest.approx(0.4, abs=0.03)
    torch.testing.assert_close(dropped[dropped > 0], x[dropped > 0] / 0.6)


def test_the_up_convolution_pads_at_the_bottom_and_the_right_and_the_skip_comes_first():
    decoder = Decoder(1)
    with torch.no_grad():
        decoder.up.weight.zero_()[:, 0, 1, 1] = 1.0  # takes the neighbour below and to the right
        decoder.up.bias.zero_()
    decoder.convs = nn.Identity()
    x = torch.arange(1.0, 9).view(1, 2, 2, 2)
    joined = decoder(x, torch.full((1, 1, 4, 4), 9.0))
    assert torch.equal(joined[0, 0], torch.full((4, 4), 9.0))
    assert joined[0, 1].tolist() == [[1, 2, 2, 0], [3, 4, 4, 0], [3, 4, 4, 0], [0, 0, 0, 0]]


def authors_state(network: DPDNet, first: int) -> dict[str, torch.Tensor]:
    """Weights by the authors' names and axes for layers numbered from `first`, drawn at random."""
    state = {}
    ours = network.state_dict()
    for i, layer in enumerate(keras_layers()):
        name = f"conv2d_{first + i}" if first + i else "conv2d"
        state[f"{name}/{name}/kernel:0"] = torch.randn_like(ours[f"{layer}.weight"].permute(2, 3, 1, 0))
        state[f"{name}/{name}/bias:0"] = torch.randn_like(ours[f"{layer}.bias"])
    return state


@pytest.mark.parametrize("first", [0, 1, 95])
@pytest.mark.parametrize("in_views", [1, 2])
def test_the_authors_weights_are_taken_in_order_with_axes_and_colours_turned(first, in_views):
    network = small(in_views=in_views)
    assert keras_layers() == [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    state = authors_state(network, first)
    shuffled = dict(sorted(state.items(), reverse=True))  # files may list them in any order
    network.load_state_dict(from_keras(shuffled))
    kernels = [tensor for name, tensor in state.items() if "kernel" in name]
    assert network.bottleneck[0].weight[5, 7, 1, 2] == kernels[8][1, 2, 7, 5]
    assert network.encoders[0][0].weight[3, 0, 1, 2] == kernels[0][1, 2, 2, 3]  # our red is their third channel
    assert network.encoders[0][0].weight[3, 3 * in_views - 1, 1, 2] == kernels[0][1, 2, 3 * in_views - 3, 3]
    assert network.out.weight[0, 1, 0, 0] == kernels[-1][0, 0, 1, 2]


def test_weights_of_another_network_are_refused():
    state = authors_state(small(), 0)
    del state["conv2d_23/conv2d_23/kernel:0"]
    with pytest.raises(WeightsError, match=r"23 kernels and 24 biases .* expected 24 of each"):
        from_keras(state)


def interval_read(position: int) -> tuple[int, int]:
    """First and last input row that the output row `position` can depend on, layer by layer from the output back."""

    def through_encoders(low: int, high: int, level: int) -> tuple[int, int]:
        for at in range(level, -1, -1):
            low, high = low - 2, high + 2
            if at:
                low, high = 2 * low, 2 * high + 1
        return low, high

    low, high = position - 1, position + 1
    read = []
    for level in range(4):
        low, high = low - 2, high + 2
        read.append(through_encoders(low, high, level))
        low, high = low // 2, (high + 1) // 2
    read.append(through_encoders(low, high, 4))
    return min(low for low, _ in read), max(high for _, high in read)


def test_the_margin_is_the_receptive_field_rounded_up_to_the_pooling_s_grid():
    reach = [(position - interval_read(position)[0], interval_read(position)[1] - position) for position in range(16)]
    assert max(max(pair) for pair in reach) == 123
    assert method.margin == -(-123 // method.multiple) * method.multiple


@pytest.mark.parametrize("position", [160, 162, 174])
def test_an_output_row_moves_with_the_rows_that_it_reads_and_with_no_others(position):
    torch.manual_seed(1)
    network = DPDNet(channels=2, dropout=0.0).double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # no ReLU closed: every path counts
            nn.init.uniform_(module.weight, 0.1, 1.0)
            with torch.no_grad():
                module.weight /= module.weight.sum((1, 2, 3), keepdim=True)
    left = torch.rand(1, 3, 336, 16, dtype=torch.float64)
    left = left.requires_grad_()
    network(left, left.detach())[0, :, position].sum().backward()
    rows = left.grad.abs().sum((0, 1, 3)).nonzero()
    low, high = interval_read(position)
    # Max-pooling passes a gradient to one of two rows, so an end row may be one of its pair's.
    assert low <= rows.min() and rows.max() <= high
    assert rows.min() - low <= 32 and high - rows.max() <= 32


def test_tiles_with_the_margin_agree_with_the_whole_image():
    network = small(channels=2)
    left, right = torch.rand(2, 1, 3, 16, 416)
    with torch.no_grad():
        whole = network(left, right)
        tile = network(left[..., :272], right[..., :272])
    torch.testing.assert_close(tile[..., : 272 - method.margin], whole[..., : 272 - method.margin])
    assert not torch.allclose(tile[..., -16:], whole[..., 256:272])


def test_kernels_start_as_keras_he_normal():
    conv = nn.Conv2d(64, 64, 3)
    torch.manual_seed(0)
    he_normal_(conv)
    std = (2 / 576) ** 0.5
    assert conv.weight.std().item() == pytest.approx(std, rel=0.01)
    assert conv.weight.abs().max() <= 2 * std / 0.8796
    assert not conv.bias.any()


def test_the_three_channels_before_the_sigmoid_start_alive():
    smooth = F.interpolate(torch.rand(4, 3, 8, 8), size=64, mode="bilinear")
    for seed in range(20):
        torch.manual_seed(seed)
        network = DPDNet(channels=8).eval()
        with torch.no_grad():
            channels = network.head(network.features(smooth, smooth))
        assert (channels > 0).flatten(2).any(2).all(), f"seed {seed}"


def test_the_last_layers_start_open_and_at_grey():
    head, out = nn.Conv2d(8, 3, 3), nn.Conv2d(3, 3, 1)
    before = head.weight.detach().clone()
    start_open_(head, out)
    assert (head.weight.sum((1, 2, 3)) > 0).all()
    assert torch.equal(head.weight.abs(), before.abs())
    with torch.no_grad():
        colour = torch.sigmoid(out(torch.relu(head(torch.zeros(1, 8, 3, 3)))))
    torch.testing.assert_close(colour, torch.full((1, 3, 1, 1), 0.5))


def test_a_small_network_keeps_its_channels_alive_while_it_trains():
    network = small(channels=8).train()
    target = F.interpolate(torch.rand(4, 3, 8, 8), size=32, mode="bilinear")
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(60):
        loss = mse(network(target, target), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        channels = network.eval().head(network.features(target, target))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert ((channels > 0).float().mean((0, 2, 3)) > 0.2).all()


@pytest.mark.parametrize("arguments", [{"in_views": 3}, {"channels": 0}, {"dropout": 1.0}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ParamsError, match=next(iter(arguments))):
        DPDNet(**arguments)


def test_it_is_trained_by_the_mean_squared_error():
    player = method.phases["train"].players["network"]
    target = torch.zeros(1, 3, 2, 2)
    losses = player.losses(nn.ModuleDict(), {"target": target}, {"pred": target + 0.1})
    assert losses["mse"].item() == pytest.approx(0.01)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "network", "epoch", 59, 2e-5),
        ("train", "network", "epoch", 60, 1e-5),
        ("train", "network", "epoch", 199, 2.5e-6),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 5: 2e-5, halved every 60 epochs, 200 epochs."""
    assert learning_rate("dpdnet-canon-dp", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
