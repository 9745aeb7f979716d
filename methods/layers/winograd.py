"""Convolutions with fewer multiplications, without gradients on a CPU: Winograd's F(6x6, 3x3).

Paper: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: 64 multiplications instead of
324 for 36 values. The sums are the same, their rounding differs by about 1e-5 of a value.

The implementation is NNPACK, which is part of torch; torch uses it by itself only where oneDNN is off. It takes one
image at a time, NCHW. Its time relative to oneDNN's direct convolution of a channels-last image, measured on two cores:
0.92 for 32 channels at 1280x720, 0.61 for 64 channels at half the size, 0.48 for 128 channels at a quarter.

NNPACK has its own threads. On more than one core OMP_WAIT_POLICY must be PASSIVE: waiting OpenMP threads otherwise use
the time that it saves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

MIN_CHANNELS = 32
"""Convolutions with fewer input channels are computed directly."""


def winograd_available(x: Tensor) -> bool:
    """Whether `winograd_conv` can be called with `x` now. The call also sets up NNPACK, which fails without it.

    >>> x = torch.ones(1, 32, 8, 8)
    >>> winograd_available(x)  # gradients are on
    False
    """
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch._nnpack_available()
    )


def winograd_conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Compute `layer(x)` for one image. `winograd_available(x)` must have been called before and be true.

    Args:
        layer: Conv2d or ConvTranspose2d, float32, without dilation and groups. A 3x3 convolution with stride and
            padding 1, and a 4x4 transposed one with stride 2 and padding 1, take fewer multiplications; others are
            computed directly.
        x: (1, C, H, W), contiguous.

    Returns:
        (1, C', H', W'), contiguous. NNPACK uses as many threads as torch had at the first call in this process.

    Raises:
        TypeError: when `layer` is of another type.
        RuntimeError: when NNPACK is missing or not set up.
    """
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        raise TypeError(f"{type(layer).__name__} is not a convolution")
    weight = layer.weight.contiguous()
    shape = layer.kernel_size, layer.stride, layer.padding
    wide = layer.in_channels >= MIN_CHANNELS
    if isinstance(layer, nn.ConvTranspose2d):
        if wide and shape == ((4, 4), (2, 2), (1, 1)):
            bias = None if layer.bias is None else layer.bias.repeat_interleave(4)
            return F.pixel_shuffle(torch._nnpack_spatial_convolution(x, parity_kernel(weight), bias, [1, 1]), 2)
    elif wide and shape == ((3, 3), (1, 1), (1, 1)):
        return torch._nnpack_spatial_convolution(x, weight, layer.bias, [1, 1])
    return functional_call(layer, {"weight": weight}, (x,)).contiguous()


def parity_kernel(weight: Tensor) -> Tensor:
    """Turn a 4x4 transposed convolution with stride 2 and padding 1 into a 3x3 one, to be followed by `pixel_shuffle`.

    The outputs of one row parity and one column parity are a 2x2 convolution of the input, whose position in a 3x3
    kernel depends on the parities: output 2i + r takes input i + d with the kernel's row r + 1 - 2d.

    Args:
        weight: (C, C', 4, 4).

    Returns:
        (4 C', C, 3, 3): four kernels for each output channel, in the order of the parities, rows first.

    >>> weight = torch.arange(16.0).view(1, 1, 4, 4)
    >>> parity_kernel(weight)[0, 0].tolist()  # even rows and columns take the odd rows and columns of the kernel
    [[15.0, 13.0, 0.0], [7.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    """
    kernel = weight.new_zeros(weight.shape[1], 2, 2, weight.shape[0], 3, 3)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        taps = weight[:, :, 1 - row :: 2, 1 - column :: 2].flip(2, 3)  # r + 1 - 2d for d = r - 1 and r, backwards
        kernel[:, row, column, :, row : row + 2, column : column + 2] = taps.transpose(0, 1)
    return kernel.flatten(0, 2)
