"""Winograd's convolutions against direct ones in double precision, and when they are available."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from methods.layers.winograd import parity_kernel, winograd_available, winograd_conv


def relative(x: Tensor, truth: Tensor) -> float:
    return float((x.double() - truth).norm() / truth.norm())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 6), (45, 32)])
@pytest.mark.parametrize(
    ("layer", "faster"),
    [
        (nn.Conv2d(32, 32, 3, padding=1), True),
        (nn.Conv2d(128, 130, 3, padding=1, bias=False), True),
        (nn.Conv2d(32, 3, 3, padding=1), True),
        (nn.Conv2d(31, 64, 3, padding=1), False),
        (nn.Conv2d(32, 64, 3, stride=2, padding=1), False),
        (nn.Conv2d(32, 64, 3, padding=2), False),
        (nn.Conv2d(32, 64, 5, padding=2), False),
        (nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), True),
        (nn.ConvTranspose2d(32, 33, 4, stride=2, padding=1, bias=False), True),
        (nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), False),
        (nn.ConvTranspose2d(32, 8, 3, stride=2, padding=1, output_padding=1), False),
    ],
    ids=str,
)
def test_the_result_is_that_of_the_layer(
    layer: nn.Conv2d | nn.ConvTranspose2d, faster: bool, size: tuple[int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer.reset_parameters()
    layer = layer.to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(1, layer.in_channels, *size)
    before = x.clone()
    with torch.no_grad():
        assert winograd_available(x)
        ours = winograd_conv(layer, x)
        plain = nn.functional.conv2d if isinstance(layer, nn.Conv2d) else nn.functional.conv_transpose2d
        more = (layer.output_padding,) if isinstance(layer, nn.ConvTranspose2d) else ()
        bias = None if layer.bias is None else layer.bias.double()
        truth = plain(x.double(), layer.weight.double(), bias, layer.stride, layer.padding, *more)
        direct = layer(x)
    assert torch.equal(x, before)
    assert ours.shape == direct.shape and ours.is_contiguous()
    assert relative(ours, truth) < 1e-5
    if size == (45, 32):  # the rounding shows which algorithm was used
        assert (relative(ours, truth) > 2 * relative(direct, truth)) == faster


def test_a_transposed_convolution_is_a_convolution_and_a_pixel_shuffle() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    x = torch.randn(2, 5, 7, 4, dtype=torch.float64)
    ours = nn.functional.pixel_shuffle(nn.functional.conv2d(x, parity_kernel(weight), padding=1), 2)
    torch.testing.assert_close(ours, nn.functional.conv_transpose2d(x, weight, stride=2, padding=1))


def test_it_is_available_for_float32_without_gradients_on_a_cpu() -> None:
    x = torch.randn(1, 32, 8, 8)
    assert not winograd_available(x)  # gradients are on
    with torch.inference_mode():
        assert winograd_available(x)
    with torch.no_grad():
        assert winograd_available(x)
        assert not winograd_available(x.bfloat16())
        assert not winograd_available(x.double())
        assert not winograd_available(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not winograd_available(x)
