"""The patch critic of EdgeConnect, which RN, MRFNet and DFFNet share: pix2pix's 70x70 PatchGAN with spectral norm.

Papers: K. Nazeri et al., "EdgeConnect", arXiv 1901.00212; P. Isola et al., "Image-to-Image Translation with Conditional
Adversarial Networks", CVPR 2017. Code: knazeri/edge-connect (CC BY-NC 4.0), commit 3142579; geekyutao/RN (MIT), commit
b0a9476. The codes end with a sigmoid. Ours returns logits, and our losses contain the sigmoid: the same values, and
safe in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.spectral_norm import rename_spectral, spectral_norm

if TYPE_CHECKING:
    from bench.contracts import State


class PatchCritic(nn.Module):
    """Five spectrally normalised 4x4 convolutions without bias, LeakyReLU 0.2 after all but the last.

    2,763,776 parameters for 3 input channels. Kernels start from N(0, 0.02).

    Args:
        in_channels: 3 for RGB, 2 for grey and edges together.
        channels: output channels of the first convolution; 64 in the papers.
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
        """Score patches of `x` (N, in_channels, H, W) in [0, 1], sides of at least 24.

        Returns:
            the features after each convolution. The last are logits, (N, 1, H / 8 - 2, W / 8 - 2), without activation:
            above 0 where a patch looks true.
        """
        features = []
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
            features.append(x)
        return [*features, self.convs[-1](x)]


def network_state(state: Mapping[str, Any], network: str) -> dict[str, Tensor]:
    """Take the state dict of one network out of a checkpoint of EdgeConnect, RN or RFR.

    EdgeConnect and RFR save `{"generator": state dict}` with a step count, RN the state dict of both networks, whose
    names begin with `generator.` and `discriminator.`; training on several GPUs puts `module.` before each name. A bare
    state dict is returned as it is.

    Args:
        state: the content of the file.
        network: "generator" or "discriminator".

    >>> network_state({"iteration": 3, "generator": {"module.conv.bias": 0.5}}, "generator")
    {'conv.bias': 0.5}
    """
    inner = state.get(network, state)
    prefix = f"{network}."
    prefixed = {name.removeprefix(prefix): value for name, value in inner.items() if name.startswith(prefix)}
    return {name.removeprefix("module."): value for name, value in (prefixed or inner).items()}


def rename_critic(state: State) -> State:
    """Turn the state dict of the authors' discriminator (EdgeConnect or RN) into ours.

    EdgeConnect's has its first convolution twice, as `conv1` and as `features`.
    """
    return {
        f"convs.{int(name[4]) - 1}{rename_spectral(name)[7:]}" if name.startswith("conv") else name: value
        for name, value in network_state(state, "discriminator").items()
        if not name.startswith("features.")
    }
