"""Compare the speed of coherent attention with torch operations: `python -m benchmarks.coherent_attention`.

The reference is the layer as in CSA's code: scores by a convolution whose kernels are the known patches, an attention
matrix with one row per place, the rows of the hole computed one after the other, and one product of that matrix with
the patches, which autograd differentiates. It follows the same equations; the command fails when the results differ.

One thread, processor time, medians, both sides in turn in one run. The ratios can be compared between machines, the
times cannot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._side_by_side import compare_layers
from methods.layers.coherent_attention import EPS, CoherentAttention


class Matrix(nn.Module):
    """The layer with a whole attention matrix, one image at a time: (1, C, h, w) and (1, 1, h, w) to (1, C, h, w)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole of the image."""
        patches = x[0].flatten(1).T
        with torch.no_grad():
            attention = self.attention(x, patches, mask.flatten() > 0)
        return (attention @ patches).T.reshape(x.shape)

    def attention(self, x: Tensor, patches: Tensor, inside: Tensor) -> Tensor:
        """Return the attention matrix (h w, h w): the weights of all places for each place.

        Args:
            x: (1, C, h, w).
            patches: the same as rows, (h w, C).
            inside: (h w,), True in the hole.
        """
        known, hole = (~inside).nonzero().flatten(), inside.nonzero().flatten()
        directions = F.normalize(patches, dim=1, eps=EPS)
        scores = F.conv2d(F.normalize(x, dim=1, eps=EPS), directions[known][:, :, None, None])[0].flatten(1)
        best, matched = scores.clamp(min=0).max(dim=0)
        attention = torch.eye(len(patches), dtype=x.dtype)
        row, q = torch.zeros_like(attention[0]), None
        for place in hole:
            match = known[matched[place]]
            if q is None:
                row[match] = 1
                q = patches[match]
            else:
                adjacent = F.cosine_similarity(directions[place], q, dim=0, eps=EPS).clamp(min=0)
                a = adjacent / (adjacent + best[place] + EPS)
                row = a * row
                row[match] += 1 - a
                q = a * q + (1 - a) * patches[match]
            attention[place] = row
        return attention


if __name__ == "__main__":
    # Neighbours are similar, as in features of an image.
    compare_layers(
        __doc__, CoherentAttention(), Matrix(), "matrix", lambda noise: noise + 2 * F.avg_pool2d(noise, 5, 1, padding=2)
    )
