"""Contextual attention: each place of a feature map is rebuilt from patches of the known places that resemble it.

Paper: J. Yu, Z. Lin, J. Yang, X. Shen, X. Lu, T. Huang, "Generative Image Inpainting with Contextual Attention", CVPR
2018, Section 4.1. Code: JiahuiYu/generative_inpainting (CC BY-NC 4.0: not for commercial use), branch v1.0.0, commit
06cd62c, TensorFlow; our result agrees with it, wraps at the borders included.

Differs from that code: every image has its own mask, where the code takes the first one's for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.precision import full_precision

SOFTMAX_SCALE = 10.0
SMALLEST_NORM = 1e-4
BLOCK = 2**25  # scores computed at once: 128 MiB in float32, of which a few copies stand in memory


def resize_nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Shrink `x` (N, C, H, W) as TensorFlow 1 does with align_corners: the corners stay corners.

    Place i of n takes round(i (size - 1) / (n - 1)), half up, computed in float32 as there. Enlarging twice needs no
    function: there it is what `nearest` of torch is.
    """
    for axis, size in ((2, height), (3, width)):
        step = torch.tensor((x.shape[axis] - 1) / max(size - 1, 1), dtype=torch.float32)
        index = (torch.arange(size, dtype=torch.float32) * step + 0.5).floor().long()
        x = x.index_select(axis, index.to(x.device))
    return x


class DiagonalSum(torch.autograd.Function):
    """The sum of a tensor and of itself moved along two axes together. Its gradient is such a sum too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, int], taps: int, padding: int) -> Tensor:
        """Add 2 or more windows of `x`, each one further along both axes, with `padding` zeros around these."""
        ctx.axes, ctx.taps, ctx.padding = axes, taps, padding
        sizes = [(axis, x.shape[axis] + 2 * padding - taps + 1) for axis in axes]
        if padding:
            x = F.pad(x, [padding if axis in axes else 0 for axis in reversed(range(x.dim())) for _ in range(2)])
        windows = [x] * taps
        for axis, size in sizes:
            windows = [window.narrow(axis, tap, size) for tap, window in enumerate(windows)]
        total = windows[0] + windows[1]
        for window in windows[2:]:
            total += window
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return DiagonalSum.apply(gradient, ctx.axes, ctx.taps, ctx.taps - 1 - ctx.padding), None, None, None


def with_neighbours(scores: Tensor, *axes: int) -> Tensor:
    """Add to each score the two before and after it along both axes together, zeros outside; the shape stays."""
    return DiagonalSum.apply(scores, axes, 3, 1)


def patch_scores(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """The products of 3x3 patches of `front` with those of `back`, these of length one, zeros around both maps.

    A product of patches is a sum of nine products of places, moved alike in both maps. So one product of the maps is
    enough, a ninth of the work.

    Args:
        front: (h, w, C).
        back: the same shape.
        top: the first row of `front` whose places are scored, in [0, h).
        bottom: the row after the last.

    Returns:
        (bottom - top, w, h, w).
    """
    rows = front[max(top - 1, 0) : bottom + 1]
    scores = (rows.flatten(0, 1) @ back.flatten(0, 1).T).view(*rows.shape[:2], *back.shape[:2])
    scores = with_neighbours(with_neighbours(scores, 0, 2), 1, 3)
    scores = scores[min(top, 1) :][: bottom - top]
    squares = F.avg_pool2d(back.square().sum(dim=2)[None, None], 3, stride=1, padding=1)[0, 0] * 9
    return scores / squares.clamp(min=SMALLEST_NORM**2).sqrt()


def row_fused(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """`patch_scores` summed along the diagonals of the matrix of scores, places in the order of rows in both maps."""
    height, width = front.shape[:2]
    scores = patch_scores(front, back, max(top - 1, 0), min(bottom + 1, height))
    begin = (top - max(top - 1, 0)) * width
    fused = with_neighbours(scores.flatten(2).flatten(0, 1), 0, 1)[begin : begin + (bottom - top) * width]
    return fused.view(bottom - top, width, height, width)


def fused_scores(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """`row_fused` summed once more, with places in the order of columns: the end of one is beside the next one's start.

    Returns:
        (bottom - top, w, h, w).
    """
    height, width = front.shape[:2]
    parts = [row_fused(front, back, max(top - 1, 0), min(bottom + 1, height))]
    nothing = parts[0].new_zeros(1, 1, height, width)
    whole = parts[0] if bottom - top == height else None
    if top == 0:
        last = row_fused(front, back, height - 1, height) if whole is None else whole[-1:]
        parts.insert(0, torch.cat([nothing, last[:, :-1]], dim=1))
    if bottom == height:
        first = row_fused(front, back, 0, 1) if whole is None else whole[:1]
        parts.append(torch.cat([first[:, 1:], nothing], dim=1))
    columns = torch.cat(parts).transpose(2, 3).flatten(2)
    fused = with_neighbours(columns, 0, 2)[1:-1]
    return fused.view(-1, width, width, height).transpose(2, 3)


def attention_weights(
    foreground: Tensor, background: Tensor, mask: Tensor, fuse: bool
) -> Iterator[tuple[int, int, Tensor]]:
    """The share that each place of the halved background has in each place of the halved foreground, by blocks of rows.

    A place whose 3x3 patch touches the hole gets no weight. Its score is set to zero before the softmax, not to minus
    infinity: it still takes its part of the sum, as in the code.

    Args:
        foreground: (1, C, H, W), sides even.
        background: the same shape.
        mask: (1, 1, H, W), 1 = a place of the background that may not be used.
        fuse: sum the scores of neighbours (Section 4.1, "attention propagation").

    Yields:
        the block's first row, the row after its last, and (rows, W / 2, H / 2, W / 2) float32.
    """
    height, width = foreground.shape[2] // 2, foreground.shape[3] // 2
    small, known, hole = (resize_nearest(image, height, width) for image in (foreground, background, mask))
    front, back = (image[0].permute(1, 2, 0).contiguous() for image in (small, known))
    usable = (F.max_pool2d(hole, 3, stride=1, padding=1) == 0).to(front)[0, 0]
    rows = max(BLOCK // (height * width**2), 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        scores = (fused_scores if fuse else patch_scores)(front, back, top, bottom)
        scores = SOFTMAX_SCALE * (scores * usable)
        yield top, bottom, torch.softmax(scores.flatten(2), dim=2).view(scores.shape) * usable


def contextual_attention(foreground: Tensor, background: Tensor, mask: Tensor, fuse: bool = True) -> Tensor:
    """Rebuild `foreground` from 4x4 patches of `background`, by the likeness of 3x3 patches at half the size.

    In float32 under autocast too. Scores are products with patches of length one; the foreground's keep their length,
    so strong features choose more sharply.

    Args:
        foreground: (N, C, H, W), sides even.
        background: the same shape.
        mask: (N, 1, H, W), 1 = a place of the background that may not be used.
        fuse: sum the scores of neighbours.

    Returns:
        (N, C, H, W) float32; zeros where no place could be used.
    """
    height, width = foreground.shape[2] // 2, foreground.shape[3] // 2
    rebuilt = []
    with full_precision(foreground):
        maps = (image.float().split(1) for image in (foreground, background, mask))
        for front, back, hole in zip(*maps, strict=True):
            # A patch is four blocks of 2x2 pixels, and each pixel of the result has its part of four patches: so the
            # weights of the four are summed first, and one product with the blocks is enough, a quarter of the work.
            blocks = F.pixel_unshuffle(F.pad(back, (1, 1, 1, 1)), 2)[0].flatten(1).T
            canvas = blocks.new_zeros((height + 1) * (width + 1), blocks.shape[1])
            for top, bottom, weights in attention_weights(front, back, hole, fuse):
                summed = DiagonalSum.apply(DiagonalSum.apply(weights, (0, 2), 2, 1), (1, 3), 2, 1)
                # The last row of a block of weights and the first of the next one meet in one row of the result.
                canvas[top * (width + 1) : (bottom + 1) * (width + 1)] += summed.flatten(2).flatten(0, 1) @ blocks
            canvas = F.pixel_shuffle(canvas.T.reshape(1, -1, height + 1, width + 1), 2)
            rebuilt.append(canvas[..., 1:-1, 1:-1] / 4)
    return torch.cat(rebuilt)


def contextual_match(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What the attention of one map to itself looks at, for figures.

    Args:
        x: (1, C, H, W), sides even.
        mask: (1, 1, H, W), 1 = hole.

    Returns:
        for each place of the halved map (H / 2, W / 2): the place of the greatest weight, numbered row by row, int64;
        and how much weight the place has received from all, float32.
    """
    best = []
    received = torch.zeros(x.shape[2] // 2, x.shape[3] // 2, device=x.device)
    with full_precision(x):
        for _, _, weights in attention_weights(x.float(), x.float(), mask.float(), fuse=True):
            best.append(weights.flatten(2).argmax(dim=2))
            received += weights.sum(dim=(0, 1))
    return torch.cat(best), received


class ContextualAttention(nn.Module):
    """The attention of a map to its own known places; no weights."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rebuild `x` (N, C, H, W), sides even, from its places where `mask` (N, 1, H, W) is not 1 = hole."""
        return contextual_attention(x, x, mask).to(x.dtype)
