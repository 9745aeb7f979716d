"""The adversarial losses: for each kind, what the generator lowers and what the critic lowers.

Scores are a critic's outputs before any sigmoid, of any shape (a patch critic gives a map); each loss is the mean over
all of them, in float32 whatever the critic ran in. `real` are the scores of true images, `fake` those of restored ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.layers.precision import full_precision


def log_generator(fake: Tensor) -> Tensor:
    """-log s(fake), s the sigmoid: the non-saturating loss (Goodfellow et al., NIPS 2014; "nsgan" in EdgeConnect)."""
    return F.softplus(-fake.float()).mean()


def log_critic(real: Tensor, fake: Tensor) -> Tensor:
    """The mean of -log s(real) and -log(1 - s(fake)): binary cross-entropy, halved as in EdgeConnect and RN."""
    return (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()) / 2


def least_squares_generator(fake: Tensor) -> Tensor:
    """(fake - 1)^2 (Mao et al., ICCV 2017, eq. 9 without its factor 1/2, as pix2pix and EdgeConnect write it)."""
    return (fake.float() - 1).square().mean()


def least_squares_critic(real: Tensor, fake: Tensor) -> Tensor:
    """The mean of (real - 1)^2 and fake^2 (Mao et al., ICCV 2017, eq. 9)."""
    return ((real.float() - 1).square().mean() + fake.float().square().mean()) / 2


def hinge_generator(fake: Tensor) -> Tensor:
    """-fake (Miyato et al., ICLR 2018, eq. 17)."""
    return -fake.float().mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake), a sum and no mean (Miyato et al., ICLR 2018, eq. 16)."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-fake (Arjovsky et al., ICML 2017)."""
    return -fake.float().mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real: minus the estimate of the Wasserstein distance (Arjovsky et al., ICML 2017)."""
    return fake.float().mean() - real.float().mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor, axes: tuple[int, ...] = (1, 2, 3)
) -> Tensor:
    """The mean of (|gradient of the summed scores| - 1)^2 at points between true and restored images.

    Gulrajani et al., NIPS 2017, eq. 3, without its weight. It is differentiated a second time, so it runs in float32
    under autocast too.

    Args:
        critic: images to scores. Its gradient is taken with respect to its input: the range of the images counts.
        real: (N, C, H, W).
        fake: the same shape; no gradient reaches what made it.
        alpha: share of `real` in the point where the gradient is taken, in [0, 1]: (N, 1, 1, 1) for one an image.
        axes: the norm is over these axes, the mean over the others; (1, 2, 3) is the paper's, one norm an image.
    """
    with full_precision(real):
        point = (alpha * real.detach().float() + (1 - alpha) * fake.detach().float()).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        return (torch.linalg.vector_norm(gradient, dim=axes) - 1).square().mean()
