"""Mine, as a GAN: the network of `mine.py` and a critic that compares its image with the sharp one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.contracts import Batch, Losses, Outputs, adversarial
from methods.losses.adversarial import hinge_critic, hinge_generator
from methods.losses.pixel import l1


class Generator(nn.Module):
    """The blurred image plus a learned residual, (N, 3, H, W) to the same."""

    def __init__(self, channels: int = 32):
        super().__init__()
        self.body = nn.Conv2d(3, channels, 5, padding=2)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tail(torch.relu(self.body(x)))


class Critic(nn.Sequential):
    """Scores of patches, (N, 3, H, W) to (N, 1, H / 4, W / 4)."""

    def __init__(self, channels: int = 16):
        layers = (nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(channels, 1, 4, 2, 1))
        super().__init__(*layers)


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs, fake: Tensor) -> Losses:
    """What the generator lowers; the recipe weights `l1` and `generator.adversarial`."""
    return {"l1": l1(outputs["pred"], batch["target"]), "adversarial": hinge_generator(networks["critic"](fake))}


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> Losses:
    """What the critic lowers."""
    return {"adversarial": hinge_critic(critic(real), critic(fake))}


method = adversarial(
    "deblur", Generator, Critic, generator_losses, critic_losses, tiny={"channels": 4, "critic_channels": 4}, margin=3
)
