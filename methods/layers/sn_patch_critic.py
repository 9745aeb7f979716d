"""SN-PatchGAN: the critic of DeepFill v2, which DGFNet and DFFNet share.

Paper: J. Yu, Z. Lin, J. Yang, X. Shen, X. Lu, T. Huang, "Free-Form Image Inpainting with Gated Convolution", ICCV 2019,
Section 3.2 and Fig. 3. Code: JiahuiYu/generative_inpainting (CC BY-NC 4.0: not for commercial use), TensorFlow.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.initial import draw_weights_
from methods.layers.spectral_norm import spectral_norm

if TYPE_CHECKING:
    from bench.contracts import State

READINGS = (
    "The critic's convolutions are padded by two pixels on each side; TensorFlow's SAME puts one before and two after.",
)
"""How the papers were read where they are silent."""


class SNPatchCritic(nn.Module):
    """Six spectrally normalised 5x5 stride-2 convolutions, LeakyReLU 0.2 after each, the last one too.

    5,945,216 parameters for 3 input channels. Kernels start from Xavier's uniform distribution, TensorFlow's default,
    and biases from 0.

    Args:
        in_channels: 3 for RGB (DGFNet), 4 for RGB and mask (DFFNet).
        channels: output channels of the first convolution; the second has 2, the other four have 4 times as many. The
            paper has 64.
    """

    def __init__(self, in_channels: int, channels: int = 64):
        super().__init__()
        widths = (in_channels, channels, 2 * channels, *[4 * channels] * 4)
        self.convs = nn.ModuleList()
        for before, after in pairwise(widths):
            conv = nn.Conv2d(before, after, 5, stride=2, padding=2)
            self.convs.append(spectral_norm(draw_weights_(conv, nn.init.xavier_uniform_)))

    def forward(self, x: Tensor) -> Tensor:
        """Score `x` (N, in_channels, H, W).

        Returns:
            (N, 4 * channels, H / 64, W / 64), sides rounded up: one score per place and feature, not bounded, above 0
            where the image looks true.
        """
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return x


def critic_input(image: Tensor, mask: Tensor) -> Tensor:
    """Stack BGR in [-1, 1] and the mask, as in DFFNet's code.

    Args:
        image: (N, 3, H, W), RGB in [0, 1].
        mask: (N, 1, H, W), 1 = hole.

    Returns:
        (N, 4, H, W).

    >>> critic_input(torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1), torch.ones(1, 1, 1, 1)).flatten().tolist()
    [-1.0, 0.0, 1.0, 1.0]
    """
    return torch.cat([2 * image.flip(1) - 1, mask], dim=1)


def rename_critic(state: State) -> State:
    """Turn the authors' variables of the critic into our state dict; other variables are dropped.

    Theirs are `discriminator/sn_patch_gan/conv<i>/kernel`, `.../bias`, and `.../u` of the spectral norm, from which
    half a power iteration gives v.
    """
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith("discriminator/"):
            continue
        layer, _, last = name.rpartition("/")
        conv = f"convs.{int(layer.split('/')[2].removeprefix('conv')) - 1}"
        if last == "kernel":
            ours[f"{conv}.parametrizations.weight.original"] = value.permute(3, 2, 0, 1)
        elif last == "bias":
            ours[f"{conv}.bias"] = value
        elif last == "u":
            ours[f"{conv}.parametrizations.weight.0.u"] = value.flatten()
    for name in [name for name in ours if name.endswith(".u")]:
        matrix = ours[name.replace("0.u", "original")].flatten(1)
        v = F.normalize(matrix.mT @ ours[name], dim=0)
        ours |= {name: F.normalize(matrix @ v, dim=0), name.replace("0.u", "0.v"): v}
    return ours
