"""Compare the speed of contextual attention with convolutions: `python -m benchmarks.contextual_attention`.

The reference is the layer as in its paper and in its ports: patches of the map are the kernels of a convolution, score
maps are filtered with an identity, and a transposed convolution with larger patches rebuilds the map. The command fails
when the results differ.

One thread, processor time, medians, both sides in turn in one run. The ratios can be compared between machines, the
times cannot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._side_by_side import compare_layers
from methods.layers.contextual_attention import MIN_NORM, SOFTMAX_SCALE, ContextualAttention, resize_nearest


class Convolutions(nn.Module):
    """The layer in convolutions, one image at a time: (1, C, H, W) and (1, 1, H, W) to (1, C, H, W)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rebuild the map."""
        channels, h, w = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
        small, hole = resize_nearest(x, h, w), resize_nearest(mask, h, w)
        kernels = F.unfold(small, 3, padding=1)[0].T.reshape(h * w, channels, 3, 3)
        norms = torch.linalg.vector_norm(kernels, dim=(1, 2, 3), keepdim=True)
        scores = F.conv2d(small, kernels / norms.clamp(min=MIN_NORM), padding=1)[0].permute(1, 2, 0)
        diagonal = torch.eye(3, dtype=x.dtype)[None, None]
        scores = F.conv2d(scores.reshape(1, 1, h * w, h * w), diagonal, padding=1).view(h, w, h, w)
        scores = scores.permute(1, 0, 3, 2).reshape(1, 1, h * w, h * w)
        scores = F.conv2d(scores, diagonal, padding=1).view(w, h, w, h).permute(3, 2, 1, 0).reshape(1, h * w, h, w)
        usable = (F.max_pool2d(hole, 3, stride=1, padding=1) == 0).to(x).view(1, h * w, 1, 1)
        weights = torch.softmax(SOFTMAX_SCALE * scores * usable, dim=1) * usable
        patches = F.unfold(x, 4, stride=2, padding=1)[0].T.reshape(h * w, channels, 4, 4)
        return F.conv_transpose2d(weights, patches, stride=2, padding=1) / 4


if __name__ == "__main__":
    # Scaled so that the softmax neither picks one place nor averages all.
    compare_layers(
        __doc__, ContextualAttention(), Convolutions(), "convolutions", lambda noise: noise / noise.shape[1] ** 0.5
    )
