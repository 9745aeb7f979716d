"""The losses of pixels that several methods share, and the composite that some of them compare.

Images are (N, C, H, W) in [0, 1] unless a method says otherwise; losses are scalars.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def l1(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of two tensors of one shape.

    >>> l1(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0])).item()
    0.25
    """
    return F.l1_loss(pred, target)


def mse(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two tensors of one shape.

    >>> mse(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0])).item()
    0.125
    """
    return F.mse_loss(pred, target)


def charbonnier(pred: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Return the mean of sqrt((pred - target)^2 + eps^2), an L1 loss that is smooth at 0.

    Source: P. Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging",
    ICIP 1994.

    Args:
        pred: the restored images.
        target: the same shape.
        eps: the value of the loss where both are equal, in units of the image.

    >>> round(charbonnier(torch.tensor([3.0]), torch.tensor([0.0]), eps=4.0).item(), 4)
    5.0
    """
    return torch.sqrt((pred - target) ** 2 + eps**2).mean()


def total_variation(pred: Tensor) -> Tensor:
    """Return the mean absolute difference of vertical neighbours plus that of horizontal ones, for `pred` (N, C, H, W).

    Source: L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D, 1992,
    in the anisotropic form and as a mean.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).item()
    1.0
    """
    return (pred[..., 1:, :] - pred[..., :-1, :]).abs().mean() + (pred[..., 1:] - pred[..., :-1]).abs().mean()


SCALE_REFINEMENT_READINGS = (
    "The scale refinement loss reduces the truth to each scale by area averaging; the paper does not say how.",
)
"""How the paper of `scale_refinement` was read where it is silent."""


def scale_refinement(preds: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return 1/(2K) times the sum over K scales of the mean squared error (MRFNet, eq. 5).

    Args:
        preds: finest first; each (N, C, h, w) with h, w the target's sides divided by a whole number.
        target: (N, C, H, W); reduced to each scale by area averaging.

    >>> target = torch.ones(1, 3, 8, 8)
    >>> round(scale_refinement([target - 0.1, torch.zeros(1, 3, 4, 4)], target).item(), 4)  # (0.01 + 1) / 4
    0.2525
    """
    total = target.new_zeros(())
    for pred in preds:
        height, width = pred.shape[-2:]
        truth = target if pred.shape == target.shape else F.adaptive_avg_pool2d(target, (height, width))
        total = total + F.mse_loss(pred, truth)
    return total / (2 * len(preds))


def l1_over_hole(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean absolute difference over all elements, divided by the hole's share of the pixels.

    Source: the code of EdgeConnect and of RN, so that the loss does not shrink with the hole.

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole, at least one pixel of the batch; without any the result is infinite.

    >>> mask = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    >>> l1_over_hole(0.5 * mask, 0 * mask, mask).item()
    0.5
    """
    return F.l1_loss(pred, target) / mask.mean()


def composite(pred: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return `pred` in the hole and `image` outside it.

    Args:
        pred: (N, C, H, W).
        image: the same shape.
        mask: (N, 1, H, W), 1 = hole.

    >>> composite(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])).flatten().tolist()
    [1.0, 0.0]
    """
    return mask * pred + (1 - mask) * image
