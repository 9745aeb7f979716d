"""Coherent attention: what stands in the hole is put together from known places, each close to the one before it.

Paper: DFFNet, equations 7 to 9 and algorithm 1 ("MCA"), after CSA (Liu, Jiang, Xiao, Yang, "Coherent Semantic Attention
for Image Inpainting", ICCV 2019). With p_i the features at the hole's places in row order, and cos the cosine of two:

    p'_i   the known place with the greatest cosine to p_i, C_max that cosine            (eq. 7)
    C_ad = cos(p_i, q_{i-1})                                                             (eq. 8)
    q_i  = a q_{i-1} + (1 - a) p'_i,   a = C_ad / (C_ad + C_max),   q_1 = p'_1           (eq. 9)

Hole places become q_i, known places stay; `READINGS` lists what the paper leaves open. The weights a are constants in
the gradient, as in CSA's code. That code mixes cosines and products, unlike the equations.

The layer has no weights. The search is a few matrix products; the recursion, a few thousand short steps that no product
can hold, runs over NumPy rows. `python -m benchmarks.coherent_attention` times it beside the layer in torch operations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
"""Added to the sum of the cosines in eq. 9, and the least length that a patch is divided by."""
CHUNK = 1 << 22
"""Entries of the score matrix that stand in memory at once: 16 MB."""


def check(x: Tensor, mask: Tensor) -> None:
    """Raise DataError where the mask does not fit the features."""
    if x.dim() != 4 or mask.shape != (x.shape[0], 1, *x.shape[2:]):
        raise DataError(
            f"coherent attention: features {tuple(x.shape)} and mask {tuple(mask.shape)}; expected (N, C, h, w) and"
            " (N, 1, h, w) of the same size: resize the mask to the features"
        )


def places_of(x: Tensor) -> Tensor:
    """The features as rows: (N, C, h, w) to (N, h w, C); no copy of a channels-last tensor."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def best_known(hole: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 7: the greatest cosine of each hole place to a known one.

    Args:
        hole: (n, C) directions of the hole's places, each of length 1.
        known: (m, C) directions of the known places, at least one.

    Returns:
        (n,) the cosine, and (n,) the row of `known` that has it, the first of equal ones.
    """
    rows = max(CHUNK // len(known), 1)
    found = [(part @ known.T).max(dim=1) for part in hole.split(rows)]
    return torch.cat([best.values for best in found]), torch.cat([best.indices for best in found])


def recursion(directions: NDArray[Any], matches: NDArray[Any], cosines: NDArray[Any]) -> list[float]:
    """Eq. 8 and 9: turn `matches` into the patches q, in place.

    Args:
        directions: (n, C) the hole's old patches over their lengths.
        matches: (n, C) p', the best known patch of each.
        cosines: (n,) C_max, at least 0.

    Returns:
        The n weights a of the patch before; the first is 0.
    """
    weights = [0.0]
    bests = cosines.tolist()
    q = matches[0]
    for i in range(1, len(matches)):
        adjacent = max(float(directions[i] @ q) / max(math.sqrt(q @ q), EPS), 0.0)
        a = adjacent / (adjacent + bests[i] + EPS)
        weights.append(a)
        row = matches[i]
        row *= 1 - a
        row += a * q
        q = row
    return weights


def reverse_recursion(gradient: NDArray[Any], weights: list[float]) -> None:
    """g_k = gradient_k + a_{k+1} g_{k+1} from the last row to the first, then times 1 - a_k: (n, C), in place."""
    for k in range(len(weights) - 2, -1, -1):
        gradient[k] += weights[k + 1] * gradient[k + 1]
    gradient *= 1 - np.asarray(weights, dtype=gradient.dtype)[:, None]


class Coherent(torch.autograd.Function):
    """The layer and its gradient. The recursions run on the CPU wherever the features are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        """`x` (N, C, h, w) float32 or float64, `mask` (N, 1, h, w)."""
        out = places_of(x).clone(memory_format=torch.contiguous_format)
        ctx.filled = []
        for number, (image, inside) in enumerate(zip(out, mask.flatten(1) > 0, strict=True)):
            hole, known = inside.nonzero().flatten(), (~inside).nonzero().flatten()
            if not len(hole) or not len(known):
                continue
            directions = F.normalize(image, dim=1, eps=EPS)
            cosines, rows = best_known(directions[hole], directions[known])
            matched = known[rows]
            patches = image[matched].cpu().numpy()
            weights = recursion(directions[hole].cpu().numpy(), patches, cosines.clamp(min=0).cpu().numpy())
            image[hole] = torch.from_numpy(patches).to(image.device)
            ctx.filled.append((number, hole, matched, weights))
        return out.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """A known place gets its own and its share of every hole place's that it went into; a hole place gets none."""
        size = gradient.shape[2:]
        given = places_of(gradient).clone(memory_format=torch.contiguous_format)
        for number, hole, matched, weights in ctx.filled:
            of_hole = given[number, hole].cpu().numpy()
            given[number, hole] = 0
            reverse_recursion(of_hole, weights)
            given[number].index_add_(0, matched, torch.from_numpy(of_hole).to(given.device))
        return given.unflatten(1, size).permute(0, 3, 1, 2), None


class CoherentAttention(nn.Module):
    """Fill the hole of a feature map from its known places. No weights, no arguments.

    An image without a hole, and one without a known place, comes out as it went in.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend within each image.

        Args:
            x: (N, C, h, w) features; float16 and bfloat16 are computed in float32.
            mask: (N, 1, h, w), hole where above 0, at the size of the features.

        Returns:
            (N, C, h, w) of x's type.
        Raises:
            DataError: where the mask does not fit.
        """
        check(x, mask)
        with full_precision(x):
            exact = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            return Coherent.apply(exact, mask).to(x.dtype)


# Figures --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def coherent_match(x: Tensor, mask: Tensor) -> Tensor:
    """The place of the best known match p' of every hole place (eq. 7), for figures.

    Args:
        x: (N, C, h, w) features.
        mask: (N, 1, h, w), hole where above 0.

    Returns:
        (N, h, w) int64: row * w + column of the match; a known place's own, and every place's own in an image without a
        hole or without a known place.
    Raises:
        DataError: where the mask does not fit.
    """
    check(x, mask)
    height, width = x.shape[2:]
    matches = torch.arange(height * width, device=x.device).repeat(len(x), 1)
    with full_precision(x):
        directions = F.normalize(places_of(x if x.dtype == torch.float64 else x.float()), dim=2, eps=EPS)
    for image, inside, match in zip(directions, mask.flatten(1) > 0, matches, strict=True):
        known = (~inside).nonzero().flatten()
        if inside.any() and len(known):
            match[inside] = known[best_known(image[inside], image[known])[1]]
    return matches.unflatten(1, (height, width))


def offset_colours(matches: Tensor, mask: Tensor, height: int, width: int) -> Tensor:
    """Colour each hole place by the way to its match, as DFFNet (figure 4) and DeepFill draw their attention maps.

    The hue is the direction (right is red, then by the angle downwards: yellow, green, left is cyan, blue, magenta),
    the saturation is the distance over the map's longer side, at most 1. Known places are white, as is a place that
    matches itself.

    Args:
        matches: `height` x `width` places in any shape: row * width + column of the match of each, row by row.
        mask: as many values, hole where above 0.
        height: of the map.
        width: of the map.

    Returns:
        (1, 3, height, width) RGB in [0, 1].
    Raises:
        DataError: where there are not height x width matches and mask values, or a match lies outside the map.
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
