"""The adversarial losses: for each kind, the generator's and the critic's.

The arguments are scores, a critic's outputs before any sigmoid, of any shape (a patch critic gives a map): `real` of
true images, `fake` of restored ones. Each loss is a scalar, the mean over all scores, in float32 whatever the critic's
precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.layers.precision import full_precision


def log_generator(fake: Tensor) -> Tensor:
    """Return the mean of -log s(fake), s the sigmoid: the non-saturating loss.

    Source: I. Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, Section 3; "nsgan" in EdgeConnect's code.

    >>> round(log_generator(torch.tensor([0.0])).item(), 4)  # log 2
    0.6931
    """
    return F.softplus(-fake.float()).mean()


def log_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean of -log s(real) and -log(1 - s(fake)): the binary cross-entropy, halved as in EdgeConnect and RN.

    >>> round(log_critic(torch.tensor([0.0]), torch.tensor([0.0])).item(), 4)  # log 2
    0.6931
    """
    return (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()) / 2


def hinge_generator(fake: Tensor) -> Tensor:
    """Return -fake (T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, eq. 17).

    >>> hinge_generator(torch.tensor([2.0, -1.0])).item()
    -0.5
    """
    return -fake.float().mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return max(0, 1 - real) + max(0, 1 + fake), a sum, not halved (Miyato et al., eq. 16).

    >>> hinge_critic(torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])).item()  # (0 + 2) / 2 + (1.5 + 0) / 2
    1.75
    """
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Return -fake (M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein GAN", ICML 2017, Algorithm 1).

    >>> wasserstein_generator(torch.tensor([2.0, -1.0])).item()
    -0.5
    """
    return -fake.float().mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return fake - real, minus the estimate of the Wasserstein distance (Arjovsky et al., Algorithm 1).

    >>> wasserstein_critic(torch.tensor([2.0]), torch.tensor([0.5])).item()
    -1.5
    """
    return fake.float().mean() - real.float().mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor, axes: tuple[int, ...] = (1, 2, 3)
) -> Tensor:
    """Return the mean of (|gradient of the summed scores| - 1)^2 at points between true and restored images.

    Source: I. Gulrajani et al., "Improved Training of Wasserstein GANs", NIPS 2017, eq. 3, without its weight. It is
    float32 under autocast too, because it is differentiated a second time.

    Args:
        critic: images to scores. Its gradient is taken with respect to its input, so the range of the images matters.
        real: true images, (N, C, H, W).
        fake: restored images, the same shape; no gradient reaches the generator.
        alpha: share of `real` in the point where the gradient is taken, in [0, 1]: (N, 1, 1, 1) for one per image.
        axes: the norm is over these axes, the mean over the others. The default is the paper's: one norm per image.

    >>> image, alpha = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1)
    >>> gradient_penalty(lambda x: 3 * x, image, image, alpha).item()  # a gradient of 3 in each of 4 pixels: norm 6
    25.0
    """
    with full_precision(real):
        point = (alpha * real.detach().float() + (1 - alpha) * fake.detach().float()).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        return (torch.linalg.vector_norm(gradient, dim=axes) - 1).square().mean()
