"""Coherent attention: fills a hole with features of known places, each blended with the feature filled before it.

Paper: DFFNet, equations 7 to 9 and algorithm 1 ("MCA"), after H. Liu, B. Jiang, Y. Xiao, C. Yang, "Coherent Semantic
Attention for Image Inpainting" (CSA), ICCV 2019. With p_i the features at the hole's places in row order, and cos the
cosine of two features:

    p'_i   the known feature with the greatest cosine to p_i, C_max that cosine          (eq. 7)
    C_ad = cos(p_i, q_{i-1})                                                             (eq. 8)
    q_i  = a q_{i-1} + (1 - a) p'_i,   a = C_ad / (C_ad + C_max),   q_1 = p'_1           (eq. 9)

Hole places become q_i, known places are kept; `READINGS` lists what the paper leaves open. The weights a are constants
in the gradient, as in CSA's code. That code mixes cosines and products, unlike the equations.

The layer has no weights. The search is a few matrix products. The recursion is a few thousand short steps that cannot
be one product and runs over rows in NumPy; `python -m benchmarks.coherent_attention` compares it with torch operations.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from bench.contracts import DataError
from methods.layers.precision import full_precision

READINGS = (
    "A patch of the coherent attention is one place of the feature map, as in CSA.",
    "Eq. 8 takes the new patch before a place, not the old one, as figure 7 draws it.",
    "Both cosines of eq. 9 are at least 0, and 1e-8 is added to their sum; otherwise a could leave [0, 1].",
    "The softmax that the text mentions does not fit eq. 9 and is left out.",
    "The patch before the first one of a row is the hole's last one in the row above, as in CSA.",
    "Attention maps are drawn with the direction of the match as hue and its distance as saturation.",
)
"""How the paper was read where it is silent or contradicts itself."""
EPS = 1e-8
"""Added to the sum of the cosines in eq. 9, and the smallest length that a feature is divided by."""
MAX_SCORES = 1 << 22
"""Entries of the score matrix that are in memory at once: 16 MB."""

Rows = NDArray[np.floating]
"""Features, one row per place."""


def check_mask(x: Tensor, mask: Tensor) -> None:
    """Raise DataError when the mask does not fit the features."""
    if x.dim() != 4 or mask.shape != (x.shape[0], 1, *x.shape[2:]):
        raise DataError(
            f"coherent attention: features {tuple(x.shape)} and mask {tuple(mask.shape)}; expected (N, C, h, w) and"
            " (N, 1, h, w) of the same size: resize the mask to the features"
        )


def as_rows(x: Tensor) -> Tensor:
    """Reshape a map (N, C, h, w) to one row per place, (N, h w, C); no copy of a channels-last tensor."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def best_matches(hole: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Find the known feature with the greatest cosine to each feature of the hole (eq. 7).

    Args:
        hole: (n, C) features of the hole, each of length 1.
        known: (m, C) known features, each of length 1, at least one.

    Returns:
        (n,) the cosine, and (n,) the row of `known`, the first of equal ones.

    >>> cosines, rows = best_matches(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]]))
    >>> round(cosines.item(), 4), rows.item()
    (0.6, 1)
    """
    rows = max(MAX_SCORES // len(known), 1)
    maxima = [(part @ known.T).max(dim=1) for part in hole.split(rows)]
    return torch.cat([best.values for best in maxima]), torch.cat([best.indices for best in maxima])


def blend_matches(directions: Rows, matches: Rows, cosines: Rows) -> list[float]:
    """Turn `matches` into the features q of eq. 8 and 9, in place.

    Args:
        directions: (n, C) the hole's features p, each of length 1.
        matches: (n, C) p', the best known feature of each.
        cosines: (n,) C_max, at least 0.

    Returns:
        the n weights a of the previous feature; the first is 0.

    >>> q = np.array([[2.0, 0.0], [0.0, 3.0]])
    >>> weights = blend_matches(np.array([[1.0, 0.0], [0.6, 0.8]]), q, np.array([1.0, 0.8]))
    >>> round(weights[1], 4), q[1].round(4).tolist()  # a = 0.6 / (0.6 + 0.8)
    (0.4286, [0.8571, 1.7143])
    """
    weights = [0.0]
    greatest = cosines.tolist()
    q = matches[0]
    for i in range(1, len(matches)):
        adjacent = max(float(directions[i] @ q) / max(math.sqrt(q @ q), EPS), 0.0)
        a = adjacent / (adjacent + greatest[i] + EPS)
        weights.append(a)
        row = matches[i]
        row *= 1 - a
        row += a * q
        q = row
    return weights


def blend_gradient(gradient: Rows, weights: list[float]) -> None:
    """Turn the gradient of q into that of p', in place: the reverse of `blend_matches`.

    From the last row to the first g_k = gradient_k + a_{k+1} g_{k+1}; then all are multiplied by 1 - a_k.

    Args:
        gradient: (n, C).
        weights: the n weights a.
    """
    for k in range(len(weights) - 2, -1, -1):
        gradient[k] += weights[k + 1] * gradient[k + 1]
    gradient *= 1 - np.asarray(weights, dtype=gradient.dtype)[:, None]


class FillContext(FunctionCtx):
    """What the forward pass of `CoherentFill` keeps for its gradient."""

    filled: list[tuple[int, Tensor, Tensor, list[float]]]
    """For each image with a hole: its index, the places of the hole, the places of their matches, the weights a."""


class CoherentFill(torch.autograd.Function):
    """The layer and its gradient. The recursions run on the CPU wherever the features are."""

    @staticmethod
    def forward(ctx: FillContext, x: Tensor, mask: Tensor) -> Tensor:
        """Fill `x` (N, C, h, w), float32 or float64, where `mask` (N, 1, h, w) is above 0."""
        out = as_rows(x).clone(memory_format=torch.contiguous_format)
        ctx.filled = []
        for index, (image, inside) in enumerate(zip(out, mask.flatten(1) > 0, strict=True)):
            hole, known = inside.nonzero().flatten(), (~inside).nonzero().flatten()
            if not len(hole) or not len(known):
                continue
            directions = F.normalize(image, dim=1, eps=EPS)
            cosines, rows = best_matches(directions[hole], directions[known])
            matched = known[rows]
            filled = image[matched].cpu().numpy()
            weights = blend_matches(directions[hole].cpu().numpy(), filled, cosines.clamp(min=0).cpu().numpy())
            image[hole] = torch.from_numpy(filled).to(image.device)
            ctx.filled.append((index, hole, matched, weights))
        return out.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FillContext, gradient: Tensor) -> tuple[Tensor, None]:
        """Give each known place its own gradient and its share of those of the hole; a hole place gets 0."""
        size = gradient.shape[2:]
        rows = as_rows(gradient).clone(memory_format=torch.contiguous_format)
        for index, hole, matched, weights in ctx.filled:
            of_hole = rows[index, hole].cpu().numpy()
            rows[index, hole] = 0
            blend_gradient(of_hole, weights)
            rows[index].index_add_(0, matched, torch.from_numpy(of_hole).to(rows.device))
        return rows.unflatten(1, size).permute(0, 3, 1, 2), None


class CoherentAttention(nn.Module):
    """Fills the hole of a feature map from its known places. No weights, no arguments.

    An image without a hole, or without a known place, is returned unchanged.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole of each image.

        Args:
            x: (N, C, h, w) features; float16 and bfloat16 are computed in float32.
            mask: (N, 1, h, w), hole where above 0, at the size of the features.

        Returns:
            (N, C, h, w) of x's type.
        Raises:
            DataError: when the mask does not fit the features.
        """
        check_mask(x, mask)
        with full_precision(x):
            exact = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            return CoherentFill.apply(exact, mask).to(x.dtype)


# Figures --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def coherent_match(x: Tensor, mask: Tensor) -> Tensor:
    """Find the place of the best known match p' of each hole place (eq. 7), for figures.

    Args:
        x: (N, C, h, w) features.
        mask: (N, 1, h, w), hole where above 0.

    Returns:
        (N, h, w) int64: row * w + column of the match. A known place matches itself, and so does every place of an
        image without a hole or without a known place.
    Raises:
        DataError: when the mask does not fit the features.
    """
    check_mask(x, mask)
    height, width = x.shape[2:]
    matches = torch.arange(height * width, device=x.device).repeat(len(x), 1)
    with full_precision(x):
        directions = F.normalize(as_rows(x if x.dtype == torch.float64 else x.float()), dim=2, eps=EPS)
    for image, inside, match in zip(directions, mask.flatten(1) > 0, matches, strict=True):
        known = (~inside).nonzero().flatten()
        if inside.any() and len(known):
            match[inside] = known[best_matches(image[inside], image[known])[1]]
    return matches.unflatten(1, (height, width))


def offset_colours(matches: Tensor, mask: Tensor, height: int, width: int) -> Tensor:
    """Colour each hole place by the offset to its match, as in the attention maps of DFFNet (figure 4) and DeepFill.

    The hue is the direction: red to the right, then by the angle downwards yellow, green, cyan to the left, blue,
    magenta. The saturation is the distance over the map's longer side, at most 1. Known places, and places that match
    themselves, are white.

    Args:
        matches: `height` x `width` values in any shape: row * width + column of the match of each place, row by row.
        mask: as many values, hole where above 0.
        height: of the map.
        width: of the map.

    Returns:
        (1, 3, height, width) RGB in [0, 1].
    Raises:
        DataError: when the numbers of matches or mask values are not height x width, or a match is outside the map.

    >>> offset_colours(torch.tensor([1, 1]), torch.tensor([1, 0]), 1, 2)[0, :, 0].tolist()  # half the width, right
    [[1.0, 1.0], [0.5, 1.0], [0.5, 1.0]]
    """
    count = height * width
    if matches.numel() != count or mask.numel() != count:
        raise DataError(
            f"offset colours: {matches.numel()} matches and {mask.numel()} mask values; expected {count} of both,"
            f" one image of {height}x{width}"
        )
    if matches.min() < 0 or matches.max() >= count:
        raise DataError(
            f"offset colours: matches {int(matches.min())} to {int(matches.max())}; expected 0 to {count - 1}"
        )
    matches = matches.reshape(height, width)
    places = torch.arange(count, device=matches.device).reshape(height, width)
    down = (matches // width - places // width).float()
    right = (matches % width - places % width).float()
    hue = torch.atan2(down, right) / (2 * math.pi) % 1
    saturation = (torch.hypot(down, right) / max(height, width)).clamp(max=1) * (mask.reshape(height, width) > 0)
    # A pure hue is 1, 0 or a ramp in each channel, a third of a turn apart; less saturation mixes white in.
    turn = torch.tensor([0.0, 2 / 3, 1 / 3], device=hue.device)[:, None, None]
    pure = ((6 * ((hue + turn) % 1) - 3).abs() - 1).clamp(0, 1)
    return (1 - saturation * (1 - pure))[None]
