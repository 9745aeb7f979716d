"""The attentions of HAN, the holistic attention network, which LMFN's code uses.

Paper: B. Niu et al., "Single Image Super-Resolution via a Holistic Attention Network", ECCV 2020. Code: as in
LiQiang0307/LFDN (no licence), commit db61afc, where they are named LAM and CSAM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.layers.precision import full_precision


class LayerAttention(nn.Module):
    """Attention between the outputs of whole blocks: (N, B*C, H, W) to the same.

    With q the (B, C*H*W) matrix of the block outputs: theta * softmax(rowmax(q q^T) - q q^T) q + q.

    Args:
        num_blocks: B.
    """

    def __init__(self, num_blocks: int):
        super().__init__()
        self.num_blocks = num_blocks
        self.theta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            q = x.float().unflatten(1, (self.num_blocks, -1)).flatten(2)
            mended = self.attention(q) @ q
        return x + self.theta * mended.reshape(x.shape)

    def attention(self, q: Tensor) -> Tensor:
        """Return softmax(rowmax(q q^T) - q q^T), (N, B, B), of q (N, B, C*H*W)."""
        energy = q @ q.mT
        return torch.softmax(energy.amax(-1, keepdim=True) - energy, -1)

    def between_blocks(self, x: Tensor, num_blocks: int) -> Tensor:
        """Return what a block takes of each block, (N, B, B), of the joined outputs (N, B*C, H, W); rows sum to 1."""
        with full_precision(x):
            return self.attention(x.float().unflatten(1, (num_blocks, -1)).flatten(2))


class VolumeAttention(nn.Module):
    """f + alpha * sigmoid(3x3x3(f)) * f, with the channels as depth: (N, C, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.alpha = nn.Parameter(torch.zeros(1))

    def gate(self, x: Tensor) -> Tensor:
        """Return sigmoid(3x3x3(f)), of the shape of `x`, in (0, 1)."""
        return torch.sigmoid(self.conv(x.unsqueeze(1)).squeeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.alpha * self.gate(x) * x
