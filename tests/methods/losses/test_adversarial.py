"""The adversarial losses: values known by hand, other implementations, and gradients that are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.losses.adversarial import (
    gradient_penalty,
    hinge_critic,
    hinge_generator,
    log_critic,
    log_generator,
    wasserstein_critic,
    wasserstein_generator,
)

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (log_generator(FAKE), (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(3))) / 2),
        (
            log_critic(REAL, FAKE),
            (math.log1p(math.exp(-2)) + math.log1p(math.exp(1)) + math.log1p(math.exp(0.5)) + math.log1p(math.exp(-3)))
            / 4,
        ),
        (hinge_generator(FAKE), 1.25),
        (hinge_critic(REAL, FAKE), (0 + 2) / 2 + (1.5 + 0) / 2),
        (wasserstein_generator(FAKE), 1.25),
        (wasserstein_critic(REAL, FAKE), -1.25 - 0.5),
    ],
)
def test_adversarial_losses_by_hand(value: Tensor, expected: float) -> None:
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_log_losses_are_binary_cross_entropy_of_the_sigmoid() -> None:
    real, fake = torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5)
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    both = F.binary_cross_entropy(real.sigmoid(), ones) + F.binary_cross_entropy(fake.sigmoid(), zeros)
    torch.testing.assert_close(log_critic(real, fake), both / 2)
    torch.testing.assert_close(log_generator(fake), F.binary_cross_entropy(fake.sigmoid(), ones))
    assert torch.isfinite(log_generator(torch.tensor([-1e4])))


@pytest.mark.parametrize("loss", [log_critic, hinge_critic, wasserstein_critic])
def test_a_critic_that_separates_true_from_restored_has_the_smaller_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    assert loss(torch.tensor(0.9), torch.tensor(0.1)) < loss(torch.tensor(0.1), torch.tensor(0.9))
    assert loss(REAL.bfloat16(), FAKE.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("axes", [(1, 2, 3), (1,)])
def test_the_gradient_penalty_of_a_linear_critic_is_known(axes: tuple[int, ...]) -> None:
    slope = torch.randn(3, 6, 5, requires_grad=True)
    real, fake = torch.rand(2, 3, 6, 5), torch.rand(2, 3, 6, 5, requires_grad=True)
    value = gradient_penalty(lambda x: (slope * x).sum(dim=(1, 2, 3)), real, fake, torch.rand(2, 1, 1, 1), axes)
    norm = slope.detach().square().sum(dim=tuple(axis - 1 for axis in axes)).sqrt()
    assert value.item() == pytest.approx((norm - 1).square().mean().item(), rel=1e-5)
    value.backward()
    expected = 2 * (norm - 1) / norm * slope.detach() / norm.numel()
    torch.testing.assert_close(slope.grad, expected, rtol=1e-4, atol=1e-6)
    assert fake.grad is None


def test_the_gradient_penalty_is_taken_between_true_and_restored() -> None:
    real, fake = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 1.0)
    alpha = torch.full((1, 1, 1, 1), 0.25)  # the point is 1.5, the gradient of x^2 there 3 in each of 4 pixels: norm 6
    assert gradient_penalty(lambda x: x.square(), real, fake, alpha).item() == pytest.approx((6 - 1) ** 2)
