"""Convolutions in fewer multiplications, without gradients on a CPU: Winograd's F(6x6, 3x3).

Paper: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: 64 multiplications make 36
values that take 324 in the plain order. The sums are the same, their rounding is not: about 1e-5 of a value.

NNPACK does it, which torch carries and by itself takes only where oneDNN is off. It wants an image at a time, NCHW.
Measured beside oneDNN's direct convolution of a channels-last image, on two cores with 32 channels at 1280x720, 64 at
half of it, 128 at a quarter: 0.92, 0.61 and 0.48 of the time. Its threads are its own, so on more than one core
OMP_WAIT_POLICY must be PASSIVE, or OpenMP's waiting threads eat what it saves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

MIN_CHANNELS = 32
"""A convolution with fewer input channels is done in the plain order."""


def serves(x: Tensor) -> bool:
    """Whether `winograd` may be called with `x`, here and now."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch._nnpack_available()  # which also sets it up: without this call the convolution fails
    )


def winograd(layer: nn.Module, x: Tensor) -> Tensor:
    """What `layer` makes of one image, where `serves(x)` was asked and true: NNPACK is not set up without that.

    Args:
        layer: Conv2d or ConvTranspose2d, float32, without dilation and groups. In fewer multiplications go a 3x3
            convolution with stride and padding 1, and a transposed one of 4x4 with stride 2 and padding 1.
        x: (1, C, H, W), contiguous.

    Returns:
        (1, C', H', W'), contiguous. It is made by as many threads as torch had when this process first came here.

    Raises:
        RuntimeError: when NNPACK is not there or not set up.
    """
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    weight = layer.weight.contiguous()
    shape = layer.kernel_size, layer.stride, layer.padding
    wide = layer.in_channels >= MIN_CHANNELS
    if isinstance(layer, nn.ConvTranspose2d):
        if wide and shape == ((4, 4), (2, 2), (1, 1)):
            bias = None if layer.bias is None else layer.bias.repeat_interleave(4)
            return F.pixel_shuffle(torch._nnpack_spatial_convolution(x, by_parity(weight), bias, [1, 1]), 2)
    elif wide and shape == ((3, 3), (1, 1), (1, 1)):
        return torch._nnpack_spatial_convolution(x, weight, layer.bias, [1, 1])
    return functional_call(layer, {"weight": weight}, (x,)).contiguous()


def by_parity(weight: Tensor) -> Tensor:
    """Turn a transposed convolution of 4x4 with stride 2 and padding 1 into a 3x3 one before `pixel_shuffle`.

    Rows of one parity, and columns of one, are a 2x2 convolution of the small image, whose place in a 3x3 one depends
    on the parity: output 2i + r takes input i + d with the kernel's row r + 1 - 2d.

    Args:
        weight: (C, C', 4, 4).

    Returns:
        (4 C', C, 3, 3), each channel's four parities side by side, rows first.
    """
    kernel = weight.new_zeros(weight.shape[1], 2, 2, weight.shape[0], 3, 3)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        taps = weight[:, :, 1 - row :: 2, 1 - column :: 2].flip(2, 3)  # r + 1 - 2d for d = r - 1 and r, backwards
        kernel[:, row, column, :, row : row + 2, column : column + 2] = taps.transpose(0, 1)
    return kernel.flatten(0, 2)
