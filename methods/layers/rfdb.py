"""The residual feature distillation block (RFDB) and its attention (ESA), of which LMFN's decoder is made.

Paper: J. Liu, J. Tang, G. Wu, "Residual Feature Distillation Network for Lightweight Image Super-Resolution", AIM 2020
(workshop of ECCV 2020). Code: njulj/RFDN (MIT), commit 7cf4e25. As in that code, ESA has no group of convolutions
where the paper's figure has one, and the block has no skip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ESA(nn.Module):
    """Enhanced spatial attention: the map times a gate in (0, 1), which is computed from a coarse version of the map.

    (N, C, H, W) to the same. H and W are at least 15: below that the stride-2 convolution leaves less than the 7x7
    pooling covers. The coarse version is resized to the map, so the gate depends on the whole map.

    Args:
        channels: C, at least 4; the gate is computed in C // 4 channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = channels // 4
        self.squeeze = nn.Conv2d(channels, width, 1)
        self.shrink = nn.Conv2d(width, width, 3, stride=2)  # no padding, as in the code
        self.coarse = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.skip = nn.Conv2d(width, width, 1)
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x)
        coarse = F.max_pool2d(self.shrink(squeezed), 7, stride=3)
        coarse = F.relu(self.coarse[0](coarse))
        coarse = F.relu(self.coarse[1](coarse))
        coarse = self.coarse[2](coarse)
        coarse = F.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.expand(coarse + self.skip(squeezed)))


class RFDB(nn.Module):
    """Three shallow residual blocks; a distilled share of the input of each and of the last result are joined and
    gated.

    Fig. 2c. (N, C, H, W) to the same; H and W at least 15.

    Args:
        channels: C; each share has C // 2 channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        share = channels // 2
        self.distill = nn.ModuleList(nn.Conv2d(channels, share, 1) for _ in range(3))
        self.refine = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(channels, share, 3, padding=1)
        self.join = nn.Conv2d(4 * share, channels, 1)
        self.esa = ESA(channels)

    def forward(self, x: Tensor) -> Tensor:
        shares = []
        for distill, refine in zip(self.distill, self.refine, strict=True):
            shares.append(F.leaky_relu(distill(x), 0.05))
            x = F.leaky_relu(refine(x) + x, 0.05)
        shares.append(F.leaky_relu(self.last(x), 0.05))
        return self.esa(self.join(torch.cat(shares, 1)))


OFFICIAL_LAYERS = {
    "c4": "last",
    "c5": "join",
    "esa.conv1": "esa.squeeze",
    "esa.conv2": "esa.shrink",
    "esa.conv_max": "esa.coarse.0",
    "esa.conv3": "esa.coarse.1",
    "esa.conv3_": "esa.coarse.2",
    "esa.conv_f": "esa.skip",
    "esa.conv4": "esa.expand",
} | {f"c{i}_{kind[0]}": f"{kind}.{i - 1}" for i in (1, 2, 3) for kind in ("distill", "refine")}
"""The layers of one block: their names in the official code to ours."""


def rename_block(name: str) -> str:
    """Turn the name of a tensor of one official block into ours; an unknown name is kept.

    >>> rename_block("esa.conv_max.weight")
    'esa.coarse.0.weight'
    """
    layer, _, kind = name.rpartition(".")
    return f"{OFFICIAL_LAYERS.get(layer, layer)}.{kind}"
