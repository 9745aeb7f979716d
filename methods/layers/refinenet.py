"""The blocks of RefineNet and Light-Weight RefineNet that MRFNet uses.

Papers: G. Lin, A. Milan, C. Shen, I. Reid, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
Segmentation", CVPR 2017; V. Nekrasov, C. Shen, I. Reid, "Light-Weight RefineNet for Real-Time Semantic Segmentation",
BMVC 2018. Code: DrSleep/refinenet-pytorch and DrSleep/light-weight-refinenet; the golden cases compare with it. Unlike
there all convolutions have biases.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the size, or divides it by `stride`; `kernel_size` is odd."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def max_pool5(x: Tensor) -> Tensor:
    """Return the maximum of each 5x5 window with stride 1: (N, C, H, W) to the same.

    Rows first, then columns, which is 2 to 3 times faster on a CPU. Without gradients a CPU computes running maxima,
    again twice as fast; their gradients would be slow.

    >>> max_pool5(torch.tensor([[[[9.0, 0.0, 0.0, 1.0]]]])).flatten().tolist()
    [9.0, 9.0, 9.0, 1.0]
    """
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        return running_max5(running_max5(x, 3), 2)
    return F.max_pool2d(F.max_pool2d(x, (1, 5), stride=1, padding=(0, 2)), (5, 1), stride=1, padding=(2, 0))


def running_max5(x: Tensor, dim: int) -> Tensor:
    """Return the maximum of each value and its two neighbours on either side along axis 2 or 3 of (N, C, H, W).

    >>> running_max5(torch.tensor([[[[9.0, 0.0, 0.0, 1.0]]]]), 3).flatten().tolist()
    [9.0, 9.0, 9.0, 1.0]
    """
    size = x.shape[dim]
    padded = F.pad(x, (2, 2, 0, 0) if dim == 3 else (0, 0, 2, 2), value=-torch.inf)
    two = torch.maximum(padded.narrow(dim, 0, size + 3), padded.narrow(dim, 1, size + 3))
    four = torch.maximum(two.narrow(dim, 0, size + 1), two.narrow(dim, 2, size + 1))
    return torch.maximum(four.narrow(dim, 0, size), padded.narrow(dim, 4, size))


class RCU(nn.Module):
    """Residual convolution unit: (N, C, H, W) to the same (MRFNet's Fig. 3c).

    Args:
        channels: C.
        light: True for a bottleneck of 1x1, 3x3 and 1x1 convolutions with C // 4 channels between them, False for two
            3x3 convolutions. A ReLU precedes each.
    """

    def __init__(self, channels: int, light: bool):
        super().__init__()
        inner, sizes = (channels // 4, (1, 3, 1)) if light else (channels, (3, 3))
        widths = (channels, *[inner] * (len(sizes) - 1), channels)
        self.convs = nn.ModuleList(conv(*pair, size) for pair, size in zip(pairwise(widths), sizes, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.convs:
            out = layer(F.relu(out))  # not in place: the skip adds the value before the ReLU
        return x + out


class CRP(nn.Module):
    """Chained residual pooling: (N, C, H, W) to the same (MRFNet's Fig. 3b).

    Each stage is a 5x5 max pooling and a convolution of the result of the stage before; the results of all stages are
    added to the input.

    Args:
        channels: C.
        kernel_size: of the convolutions, 1 in the light form, otherwise 3.
        num_stages: stages in the chain, 2 in the improved CRP of MRFNet's figure, 4 in RefineNet.
    """

    def __init__(self, channels: int, kernel_size: int, num_stages: int = 2):
        super().__init__()
        self.stages = nn.ModuleList(conv(channels, channels, kernel_size) for _ in range(num_stages))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for stage in self.stages:
            x = stage(max_pool5(x))
            out = out + x
        return out
