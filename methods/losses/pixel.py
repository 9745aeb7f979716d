"""The losses that several methods share, and the composite that some of them judge.

Images are (N, C, H, W) in [0, 1] unless a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def l1(pred: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference."""
    return F.l1_loss(pred, target)


def mse(pred: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference."""
    return F.mse_loss(pred, target)


def charbonnier(pred: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """The mean of sqrt((pred - target)^2 + eps^2): an L1 that is smooth at zero."""
    return torch.sqrt((pred - target) ** 2 + eps**2).mean()


def total_variation(pred: Tensor) -> Tensor:
    """The mean absolute difference of neighbours along each axis, both axes added."""
    return (pred[..., 1:, :] - pred[..., :-1, :]).abs().mean() + (pred[..., 1:] - pred[..., :-1]).abs().mean()


SCALE_REFINEMENT_READINGS = (
    "The scale refinement loss reduces the truth to each scale by area averaging; the paper does not say how.",
)
"""How the paper of `scale_refinement` was read where it is silent."""


def scale_refinement(preds: Sequence[Tensor], target: Tensor) -> Tensor:
    """1/(2K) times the sum over K scales of the squared error per value (MRFNet, eq. 5).

    Args:
        preds: finest first; each (N, C, h, w) with h, w the target's sides divided by a whole number.
        target: (N, C, H, W); reduced to each scale by area averaging.
    """
    total = target.new_zeros(())
    for pred in preds:
        height, width = pred.shape[-2:]
        truth = target if pred.shape == target.shape else F.adaptive_avg_pool2d(target, (height, width))
        total = total + F.mse_loss(pred, truth)
    return total / (2 * len(preds))


def l1_over_hole(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean absolute difference over all elements, divided by the hole's share of the pixels (EdgeConnect, RN).

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole, at least one pixel of the batch; without any the result is infinite.
    """
    return F.l1_loss(pred, target) / mask.mean()


def composite(pred: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """`pred` in the hole, `image` outside: (N, C, H, W) both, `mask` (N, 1, H, W), 1 = hole."""
    return mask * pred + (1 - mask) * image
