"""Contextual attention: each place of a feature map is rebuilt from patches of known places, weighted by similarity.

Paper: J. Yu, Z. Lin, J. Yang, X. Shen, X. Lu, T. Huang, "Generative Image Inpainting with Contextual Attention", CVPR
2018, Section 4.1. Code: JiahuiYu/generative_inpainting (CC BY-NC 4.0: not for commercial use), branch v1.0.0, commit
06cd62c, TensorFlow. Results agree with that code, its wrap-around at the borders included.

Differs from that code: each image has its own mask; the code takes the first one's for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from methods.layers.precision import full_precision

SOFTMAX_SCALE = 10.0
"""Factor of the scores before the softmax, lambda in Section 4.1."""
MIN_NORM = 1e-4
"""The smallest length that a patch is divided by, as in the code."""
MAX_SCORES = 2**25
"""Scores computed at once: 128 MiB in float32; a few copies of them are in memory."""


def resize_nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Shrink `x` (N, C, H, W) to (N, C, height, width) as TensorFlow 1 does by nearest neighbour with align_corners.

    Index i of n takes index round(i (size - 1) / (n - 1)), half up, computed in float32 as in TensorFlow. Enlarging by
    2 needs no function: there the result is that of torch's `nearest`.

    >>> resize_nearest(torch.arange(8.0).view(1, 1, 1, 8), 1, 4).flatten().tolist()
    [0.0, 2.0, 5.0, 7.0]
    """
    for axis, size in ((2, height), (3, width)):
        step = torch.tensor((x.shape[axis] - 1) / max(size - 1, 1), dtype=torch.float32)
        index = (torch.arange(size, dtype=torch.float32) * step + 0.5).floor().long()
        x = x.index_select(axis, index.to(x.device))
    return x


class DiagonalContext(FunctionCtx):
    """The arguments of `DiagonalSum`, kept for its gradient."""

    axes: tuple[int, int]
    """The axes that the windows move along."""
    taps: int
    """Number of windows."""
    padding: int
    """Zeros on each side of both axes."""


class DiagonalSum(torch.autograd.Function):
    """The sum of a tensor and copies of it, shifted along two axes together. Its gradient is a diagonal sum too."""

    @staticmethod
    def forward(ctx: DiagonalContext, x: Tensor, axes: tuple[int, int], taps: int, padding: int) -> Tensor:
        """Add `taps` windows of `x`, at least 2, each one step further along both axes, which are padded by zeros."""
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
    def backward(ctx: DiagonalContext, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return DiagonalSum.apply(gradient, ctx.axes, ctx.taps, ctx.taps - 1 - ctx.padding), None, None, None


def add_diagonal_neighbours(scores: Tensor, *axes: int) -> Tensor:
    """Add to each score the one before and the one after it along both axes together; the shape is kept.

    >>> add_diagonal_neighbours(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1).tolist()
    [[5.0, 2.0], [3.0, 5.0]]
    """
    return DiagonalSum.apply(scores, axes, 3, 1)


def patch_scores(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """Return the products of 3x3 patches of `front` with 3x3 patches of `back` of length 1, both maps padded by zeros.

    A product of two patches is a sum of nine products of places, shifted equally in both maps. So one product of the
    maps suffices, a ninth of the work.

    Args:
        front: (h, w, C).
        back: the same shape.
        top: the first row of `front` to score, in [0, h).
        bottom: the row after the last one.

    Returns:
        (bottom - top, w, h, w).
    """
    rows = front[max(top - 1, 0) : bottom + 1]
    scores = (rows.flatten(0, 1) @ back.flatten(0, 1).T).view(*rows.shape[:2], *back.shape[:2])
    scores = add_diagonal_neighbours(add_diagonal_neighbours(scores, 0, 2), 1, 3)
    scores = scores[min(top, 1) :][: bottom - top]
    squares = F.avg_pool2d(back.square().sum(dim=2)[None, None], 3, stride=1, padding=1)[0, 0] * 9
    return scores / squares.clamp(min=MIN_NORM**2).sqrt()


def fuse_along_rows(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """Sum `patch_scores` along the diagonals of the score matrix, with the places of both maps in the order of rows.

    Arguments and result as in `fused_scores`.
    """
    height, width = front.shape[:2]
    scores = patch_scores(front, back, max(top - 1, 0), min(bottom + 1, height))
    begin = (top - max(top - 1, 0)) * width
    fused = add_diagonal_neighbours(scores.flatten(2).flatten(0, 1), 0, 1)[begin : begin + (bottom - top) * width]
    return fused.view(bottom - top, width, height, width)


def fused_scores(front: Tensor, back: Tensor, top: int, bottom: int) -> Tensor:
    """Sum `fuse_along_rows` once more, with the places in the order of columns (Section 4.1, "attention propagation").

    The end of a column is followed by the start of the next one, as in the code.

    Args:
        front: (h, w, C).
        back: the same shape.
        top: the first row of `front` to score.
        bottom: the row after the last one.

    Returns:
        (bottom - top, w, h, w).
    """
    height, width = front.shape[:2]
    rows = [fuse_along_rows(front, back, max(top - 1, 0), min(bottom + 1, height))]
    zeros = rows[0].new_zeros(1, 1, height, width)
    whole = rows[0] if bottom - top == height else None
    if top == 0:  # the row above the first is the last one, a column to the left
        last = fuse_along_rows(front, back, height - 1, height) if whole is None else whole[-1:]
        rows.insert(0, torch.cat([zeros, last[:, :-1]], dim=1))
    if bottom == height:
        first = fuse_along_rows(front, back, 0, 1) if whole is None else whole[:1]
        rows.append(torch.cat([first[:, 1:], zeros], dim=1))
    columns = torch.cat(rows).transpose(2, 3).flatten(2)
    fused = add_diagonal_neighbours(columns, 0, 2)[1:-1]
    return fused.view(-1, width, width, height).transpose(2, 3)


def attention_weights(
    foreground: Tensor, background: Tensor, mask: Tensor, fuse: bool
) -> Iterator[tuple[int, int, Tensor]]:
    """Compute the weight of each background place in each foreground place, at half the size, in blocks of rows.

    A place whose 3x3 patch touches the hole gets no weight. As in the code its score is 0 before the softmax, not minus
    infinity, so it still counts in the softmax's sum.

    Args:
        foreground: (1, C, H, W), sides even.
        background: the same shape.
        mask: (1, 1, H, W), 1 = a place of the background that must not be used.
        fuse: sum the scores of neighbours (Section 4.1, "attention propagation").

    Yields:
        the first row of a block, the row after its last one, and the weights (rows, W / 2, H / 2, W / 2) float32.
    """
    height, width = foreground.shape[2] // 2, foreground.shape[3] // 2
    small, known, hole = (resize_nearest(image, height, width) for image in (foreground, background, mask))
    front, back = (image[0].permute(1, 2, 0).contiguous() for image in (small, known))
    usable = (F.max_pool2d(hole, 3, stride=1, padding=1) == 0).to(front)[0, 0]
    rows = max(MAX_SCORES // (height * width**2), 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        scores = (fused_scores if fuse else patch_scores)(front, back, top, bottom)
        scores = SOFTMAX_SCALE * (scores * usable)
        yield top, bottom, torch.softmax(scores.flatten(2), dim=2).view(scores.shape) * usable


def contextual_attention(foreground: Tensor, background: Tensor, mask: Tensor, fuse: bool = True) -> Tensor:
    """Rebuild `foreground` from 4x4 patches of `background`, weighted by the similarity of 3x3 patches at half the
    size.

    It is float32 under autocast too. Only the background's patches are divided by their length, so large features of
    the foreground make the softmax sharper.

    Args:
        foreground: (N, C, H, W), sides even.
        background: the same shape.
        mask: (N, 1, H, W), 1 = a place of the background that must not be used.
        fuse: sum the scores of neighbours.

    Returns:
        (N, C, H, W) float32; 0 for an image without a usable place.
    """
    height, width = foreground.shape[2] // 2, foreground.shape[3] // 2
    rebuilt = []
    with full_precision(foreground):
        maps = (image.float().split(1) for image in (foreground, background, mask))
        for front, back, hole in zip(*maps, strict=True):
            # A patch is four blocks of 2x2 pixels, and each pixel of the result is in four patches. So the weights of
            # the four are summed first, and one product with the blocks suffices: a quarter of the work.
            blocks = F.pixel_unshuffle(F.pad(back, (1, 1, 1, 1)), 2)[0].flatten(1).T
            canvas = blocks.new_zeros((height + 1) * (width + 1), blocks.shape[1])
            for top, bottom, weights in attention_weights(front, back, hole, fuse):
                summed = DiagonalSum.apply(DiagonalSum.apply(weights, (0, 2), 2, 1), (1, 3), 2, 1)
                # The last row of one block of weights and the first row of the next are in one row of the result.
                canvas[top * (width + 1) : (bottom + 1) * (width + 1)] += summed.flatten(2).flatten(0, 1) @ blocks
            canvas = F.pixel_shuffle(canvas.T.reshape(1, -1, height + 1, width + 1), 2)
            rebuilt.append(canvas[..., 1:-1, 1:-1] / 4)
    return torch.cat(rebuilt)


def contextual_match(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Find the best match of each place in the attention of one map to itself, for figures.

    Args:
        x: (1, C, H, W), sides even.
        mask: (1, 1, H, W), 1 = hole.

    Returns:
        two maps (H / 2, W / 2): the place of the greatest weight of each place, numbered row by row, int64; and the sum
        of the weights that each place gets from all places, float32.
    """
    best = []
    received = torch.zeros(x.shape[2] // 2, x.shape[3] // 2, device=x.device)
    with full_precision(x):
        for _, _, weights in attention_weights(x.float(), x.float(), mask.float(), fuse=True):
            best.append(weights.flatten(2).argmax(dim=2))
            received += weights.sum(dim=(0, 1))
    return torch.cat(best), received


class ContextualAttention(nn.Module):
    """The attention of a map to its known places. No weights, no arguments."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rebuild `x` (N, C, H, W), sides even, from its known places; `mask` (N, 1, H, W), 1 = hole."""
        return contextual_attention(x, x, mask).to(x.dtype)
