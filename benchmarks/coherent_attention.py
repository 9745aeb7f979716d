"""Time coherent attention beside the layer in torch operations: `python -m benchmarks.coherent_attention`.

The other side is the layer as a user of CSA has it: scores by a convolution whose kernels are the known patches, a row
of an attention matrix for every place of the map, the hole's rows one after the other, and one product of that matrix
with the patches, whose gradient autograd takes. It follows the same equations; the command fails where the two differ.

One thread, processor time, medians, both in turn in one run: read the ratios, the times are this machine's.
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
        """Attend within the image."""
        patches = x[0].flatten(1).T
        with torch.no_grad():
            attention = self.attention(x, patches, mask.flatten() > 0)
        return (attention @ patches).T.reshape(x.shape)

    def attention(self, x: Tensor, patches: Tensor, inside: Tensor) -> Tensor:
        """The matrix of h w rows: what each place takes from every place."""
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
    # Neighbours resemble each other, as they do in features.
    compare_layers(
        __doc__, CoherentAttention(), Matrix(), "matrix", lambda noise: noise + 2 * F.avg_pool2d(noise, 5, 1, padding=2)
    )
