"""Parameters, multiply-adds, time and memory on networks whose counts are known by hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import DataError
from bench.scoring import cost


class Small(nn.Module):
    """A U of one level, as DPDNet's are: two 3x3 convolutions, pooling, a 2x2 transposed convolution, a 1x1."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(6, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.last = nn.Conv2d(4, 3, 1)
        self.critic = nn.Linear(10, 10)
        self.norm = nn.BatchNorm2d(8)
        self.last.requires_grad_(False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.second(self.first(torch.cat([left, right], dim=1)))))
        return self.last(self.up(F.max_pool2d(x, 2)))


def both_views(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return network(batch["left"], batch["right"])


def run_network(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return network(batch["x"])


def macs(restore, network: nn.Module, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    work = cost.work(restore, network, shapes)
    return work.layers, work.attention


VIEWS = {"left": (1, 3, 12, 16), "right": (1, 3, 12, 16)}
PIXELS = 12 * 16


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_u_net_by_hand(device: str):
    network = Small()
    counted = cost.work(both_views, network, VIEWS, device)
    first, second, last = PIXELS * 9 * 6 * 8, PIXELS * 9 * 8 * 8, PIXELS * 4 * 3
    up = PIXELS // 4 * 8 * 4 * 4  # each input position feeds 2x2 outputs of 4 channels
    assert counted == cost.Work(
        layers=first + second + up + last,
        attention=0,
        parameters=(6 * 8 * 9 + 8) + (8 * 8 * 9 + 8) + (8 * 4 * 4 + 4) + (4 * 3 + 3) + 16,
    )
    unused = 10 * 10 + 10
    assert cost.parameters(network) == counted.parameters + unused  # frozen values count too
    assert network.training
    assert next(network.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (1, 4, 9, 11), 5 * 6 * 6 * 4 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding=2), (2, 4, 9, 11), 2 * 9 * 11 * 4 * 9),
        (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2), (1, 4, 5, 7), 5 * 7 * 4 * 3 * 16),
        (nn.Conv1d(4, 6, 3), (1, 4, 12), 10 * 6 * 4 * 3),
        (nn.Linear(5, 7), (2, 3, 11, 5), 2 * 3 * 11 * 5 * 7),
        (nn.Linear(5, 7, bias=False), (11, 5), 11 * 5 * 7),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.PReLU(), nn.GroupNorm(4, 16)), (1, 4, 8, 8), 0),
    ],
)
def test_layers_by_hand(layer: nn.Module, shape: tuple[int, ...], expected: int):
    assert macs(run_network, layer, {"x": shape}) == (expected, 0)


class Attention(nn.Module):
    """Self-attention of one head with a learned bias, by matrix products or by torch's own operation."""

    def __init__(self, fused: bool):
        super().__init__()
        self.fused = fused
        self.qkv = nn.Linear(8, 24)
        self.bias = nn.Parameter(torch.zeros(1, 20, 20))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v)
        return (q @ k.transpose(1, 2) + self.bias).softmax(dim=-1) @ v


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_products_of_activations_are_a_second_figure(fused: bool, device: str):
    counted = cost.work(run_network, Attention(fused), {"x": (3, 20, 8)}, device)
    assert (counted.layers, counted.attention) == (3 * 20 * 8 * 24, 2 * 3 * 20 * 20 * 8)
    assert counted.parameters == 8 * 24 + 24 + (0 if fused else 400)


def test_a_convolution_with_patches_is_attention():
    def contextual(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        x = network(batch["x"])
        patches = F.unfold(x, 3, stride=2)[0].T.reshape(-1, 4, 3, 3)
        return F.conv2d(x, patches)

    patches, places = 4 * 4, 8 * 8
    counted = macs(contextual, nn.Conv2d(3, 4, 1), {"x": (1, 3, 10, 10)})
    assert counted == (100 * 3 * 4, places * patches * 4 * 9)


class Reparametrised(nn.Module):
    """One kernel, normalised by its largest singular value, used twice at two dilations."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 3, padding=1))
        self.old = nn.utils.spectral_norm(nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.old(F.conv2d(self.conv(x), 2 * self.conv.weight, padding=2, dilation=2))


def test_a_kernel_computed_from_weights_is_a_weight():
    network = Reparametrised()
    counted = cost.work(run_network, network, {"x": (1, 3, 8, 8)})
    assert (counted.layers, counted.attention) == (64 * (81 + 81 + 9), 0)
    assert counted.parameters == cost.parameters(network) == 81 + 3 + 9 + 3


def test_a_shared_layer_counts_its_work_twice_and_its_values_once():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = nn.Sequential(shared, shared)
    counted = cost.work(run_network, network, {"x": (1, 3, 8, 8)})
    assert (counted.layers, counted.parameters) == (2 * 64 * 81, 84)


def test_inference_mode_counts_the_same():
    def inference(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            return network(batch["x"])

    network = nn.Sequential(nn.Linear(8, 6), Attention(False).qkv.__class__(6, 4), nn.Linear(4, 2, bias=False))
    shapes = {"x": (2, 9, 8)}
    assert macs(inference, network, shapes) == macs(run_network, network, shapes) == (2 * 9 * (48 + 24 + 8), 0)


def test_the_size_of_a_paper_needs_no_memory_and_no_time():
    network = nn.Sequential(nn.Conv2d(3, 512, 3, padding=1), nn.Conv2d(512, 512, 3, padding=1))
    start = time.perf_counter()
    layers, _ = macs(run_network, network, {"x": (1, 3, 1120, 1680)})
    assert layers == 1120 * 1680 * 9 * (3 * 512 + 512 * 512)
    assert time.perf_counter() - start < 5


def test_the_time_is_the_median_of_warm_calls():
    naps = iter([0.2, 0.03, 0.01, 0.02, 0.15, 0.01])
    seconds = cost.seconds_per_image(lambda: time.sleep(next(naps)), warm=1, repeats=5)
    assert 0.02 <= seconds < 0.03
    assert next(naps, None) is None


def test_the_peak_is_seen_although_it_is_given_back():
    def call() -> None:
        for _ in range(3):
            np.ones(8_000_000).sum()  # 64 MB, resident as soon as written, freed at once

    assert 60e6 < cost.peak_memory(call) < 90e6
    assert cost.peak_memory(lambda: None) < 5e6


def test_a_failing_call_leaves_no_watcher_behind():
    import threading

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        cost.peak_memory(lambda: 1 / 0)
    assert threading.active_count() == before


def test_a_checkpoints_size(tmp_path: Path):
    (tmp_path / "weights.pt").write_bytes(b"12345")
    assert cost.file_size(tmp_path / "weights.pt") == 5
    with pytest.raises(DataError, match="expected a checkpoint"):
        cost.file_size(tmp_path / "other.pt")


def test_every_cost_says_what_it_is():
    assert list(cost.COSTS) == ["params", "params-total", "macs", "macs-attention", "seconds", "memory", "file-size"]
    for name, measure in cost.COSTS.items():
        assert measure.id == name and measure.better == "lower"
        assert measure.protocol and not measure.protocol.endswith(".")
