"""The patch critic of EdgeConnect, which RN shares, and spectral normalisation.

Papers: K. Nazeri et al., "EdgeConnect", arXiv 1901.00212 (the 70x70 PatchGAN of pix2pix); T. Miyato et al., "Spectral
Normalization for Generative Adversarial Networks", ICLR 2018. Code: knazeri/edge-connect (CC BY-NC 4.0), commit
3142579; geekyutao/RN (MIT), commit b0a9476. Instead of a sigmoid at the end ours gives logits, and the losses hold the
sigmoid: the same values, and safe in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.layers.precision import full_precision

if TYPE_CHECKING:
    from bench.contracts import State

Convolution = TypeVar("Convolution", bound=nn.Conv2d | nn.ConvTranspose2d)


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value, estimated by a power iteration at each use in training (Alg. 1).

    The kernel's matrix has a row an output channel. Two forward passes before one backward pass are fine: each pass
    keeps its own u and v. It is float32 under autocast too, where torch's own lets the products round.

    Args:
        weight: the kernel to begin with.
        dim: the axis of its output channels: 0, or 1 for a transposed convolution.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, dim: int):
        super().__init__()
        self.dim = dim
        matrix = self.matrix(weight.detach())
        self.register_buffer("u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn_like(matrix[0]), dim=0))
        for _ in range(15):  # near enough to the singular vectors to begin with
            self.iterate(matrix)

    def matrix(self, weight: Tensor) -> Tensor:
        """`weight` as a matrix (out, everything else)."""
        return weight.transpose(0, self.dim).flatten(1)

    @torch.no_grad()
    def iterate(self, matrix: Tensor) -> None:
        """One power iteration on u and v."""
        self.v.copy_(F.normalize(matrix.mT @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised kernel, of the same shape."""
        with full_precision(weight):
            matrix = self.matrix(weight)
            if self.training:
                self.iterate(matrix)
            return weight / (self.u.clone() @ (matrix @ self.v.clone()))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Setting the kernel sets what is divided."""
        return weight


def spectral_norm(convolution: Convolution) -> Convolution:
    """Normalise the kernel of `convolution` from now on; returns it."""
    dim = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
    parametrize.register_parametrization(convolution, "weight", SpectralNorm(convolution.weight, dim))
    return convolution


def rename_spectral(name: str) -> str:
    """Turn a name of torch's old spectral norm (`weight_orig`, `weight_u`, `weight_v`) into ours; others stay."""
    layer, _, last = name.rpartition(".")
    ours = {"weight_orig": "original", "weight_u": "0.u", "weight_v": "0.v"}
    return f"{layer}.parametrizations.weight.{ours[last]}" if last in ours else name


def unwrap(state: Mapping[str, Any], network: str) -> dict[str, Tensor]:
    """Take one network out of a checkpoint of EdgeConnect or RN.

    EdgeConnect saves `{"iteration": ..., "generator": state dict}`, RN the state dict of both networks, whose names
    then begin with `generator.` and `discriminator.`; several GPUs put `module.` before a name. A bare state dict
    passes.

    Args:
        state: what the file holds.
        network: "generator" or "discriminator".
    """
    inner = state.get(network, state)
    mine = {name.removeprefix(f"{network}."): value for name, value in inner.items() if name.startswith(f"{network}.")}
    return {name.removeprefix("module."): value for name, value in (mine or inner).items()}


class PatchCritic(nn.Module):
    """Five spectrally normalised 4x4 convolutions without bias, LeakyReLU 0.2 after all but the last.

    Args:
        in_channels: 3 for RGB, 2 for grey and edges together.
        channels: width of the first; 64 in the papers.
    """

    def __init__(self, in_channels: int = 3, channels: int = 64):
        super().__init__()
        widths = (in_channels, channels, 2 * channels, 4 * channels, 8 * channels, 1)
        self.convs = nn.ModuleList()
        for (before, after), stride in zip(pairwise(widths), (2, 2, 2, 1, 1), strict=True):
            conv = nn.Conv2d(before, after, 4, stride, padding=1, bias=False)
            nn.init.normal_(conv.weight, std=0.02)
            self.convs.append(spectral_norm(conv))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Judge patches of `x` (N, in_channels, H, W) in [0, 1], sides of at least 24.

        Returns:
            the outputs of the five convolutions, activated but for the last: logits (N, 1, H / 8 - 2, W / 8 - 2),
            above 0 where a patch looks true.
        """
        features = []
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
            features.append(x)
        return [*features, self.convs[-1](x)]


def rename_critic(state: State) -> State:
    """Turn the state dict of the authors' discriminator (EdgeConnect or RN) into ours.

    EdgeConnect's lists its first convolution twice, as `conv1` and as `features`.
    """
    return {
        f"convs.{int(name[4]) - 1}{rename_spectral(name)[7:]}" if name.startswith("conv") else name: value
        for name, value in unwrap(state, "discriminator").items()
        if not name.startswith("features.")
    }
