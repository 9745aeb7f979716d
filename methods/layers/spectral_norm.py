"""Spectral normalisation: a convolution whose kernel is divided by its largest singular value.

Paper: T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR
2018, Algorithm 1. Unlike torch's own it computes in float32 under autocast too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.layers.initial import Convolution
from methods.layers.precision import full_precision


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value, which one power iteration per use in training estimates.

    The kernel's matrix has one row per output channel. Two forward passes before one backward pass are allowed: each
    pass keeps its copy of u and v.

    Args:
        weight: the kernel to begin with.
        dim: the axis of its output channels: 0, or 1 for a transposed convolution.
    """

    u: Tensor
    """The left singular vector, of the length of the output channels."""
    v: Tensor
    """The right singular vector, of the length of everything else."""

    def __init__(self, weight: Tensor, dim: int):
        super().__init__()
        self.dim = dim
        matrix = self.matrix(weight.detach())
        self.register_buffer("u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn_like(matrix[0]), dim=0))
        for _ in range(15):  # as in torch: near enough to the singular vectors to begin with
            self.iterate(matrix)

    def matrix(self, weight: Tensor) -> Tensor:
        """Return `weight` as a matrix (output channels, everything else)."""
        return weight.transpose(0, self.dim).flatten(1)

    @torch.no_grad()
    def iterate(self, matrix: Tensor) -> None:
        """Do one power iteration on u and v."""
        self.v.copy_(F.normalize(matrix.mT @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the normalised kernel, of the shape of `weight`."""
        with full_precision(weight):
            matrix = self.matrix(weight)
            if self.training:
                self.iterate(matrix)
            return weight / (self.u.clone() @ (matrix @ self.v.clone()))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the kernel before division for a kernel that is assigned: the same."""
        return weight


def spectral_norm(convolution: Convolution) -> Convolution:
    """Normalise the kernel of `convolution` from now on; returns it.

    >>> conv = spectral_norm(nn.Conv2d(1, 1, 1)).eval()
    >>> round(abs(conv.weight.item()), 4)  # the largest singular value of a 1x1 matrix is its only entry
    1.0
    """
    dim = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
    parametrize.register_parametrization(convolution, "weight", SpectralNorm(convolution.weight, dim))
    return convolution


def rename_spectral(name: str) -> str:
    """Turn a name of torch's old spectral norm (`weight_orig`, `weight_u`, `weight_v`) into ours; others are kept.

    >>> rename_spectral("conv.weight_orig"), rename_spectral("conv.bias")
    ('conv.parametrizations.weight.original', 'conv.bias')
    """
    layer, _, last = name.rpartition(".")
    ours = {"weight_orig": "original", "weight_u": "0.u", "weight_v": "0.v"}
    return f"{layer}.parametrizations.weight.{ours[last]}" if last in ours else name
