"""DeblurGAN: blind motion deblurring by a conditional Wasserstein GAN.

Paper: O. Kupyn, V. Budzan, M. Mykhailych, D. Mishkin, J. Matas, "DeblurGAN: Blind Motion Deblurring Using Conditional
Adversarial Networks", CVPR 2018. Code: KupynOrest/DeblurGAN (BSD), commit a6f4ad0: the last one with the paper's
network (from commit afc149d on each residual block has one convolution instead of two). Released weights load through
`reference`.

Differs from that code: dropout is off in restoring, so that one image has one result; the authors' test script leaves
the network in training mode, with dropout. The paper does not have the loss "l1": its weight is 0 in the paper's
recipe. The small recipe uses it because the weights of VGG-19 may be absent, and the adversarial loss alone does not
bind the result to the input.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, adversarial, at_least
from methods.layers.initial import draw_weights_
from methods.layers.instance_norm import instance_norm
from methods.losses import perceptual
from methods.losses.adversarial import gradient_penalty, wasserstein_critic, wasserstein_generator
from methods.losses.pixel import l1, mse

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State


def signed(image: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1], the range of the authors' networks and of their losses.

    >>> signed(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return 2 * image - 1


def initialise(network: nn.Module) -> None:
    """Draw kernels from a normal of deviation 0.02 and set biases to 0, as in the code; the paper is silent."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            draw_weights_(module, partial(nn.init.normal_, std=0.02))


class Block(nn.Module):
    """Two 3x3 convolutions with dropout between them and a skip, no ReLU after it: (N, C, H, W) to the same.

    Args:
        channels: C.
        dropout: probability of a zero, in [0, 1).
    """

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        inner = F.dropout(F.relu(instance_norm(self.conv1(x))), self.dropout, self.training)
        return x + instance_norm(self.conv2(inner))


class Generator(nn.Module):
    """The blurred image plus a learned residual (Fig. 3); 11,378,179 parameters.

    Args:
        channels: width of the first convolution.
        num_blocks: residual blocks, at a quarter of the size and four times the width.
        dropout: probability of a zero within a block, in [0, 1).

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 9, dropout: float = 0.5):
        super().__init__()
        at_least(1, "deblurgan", channels=channels, num_blocks=num_blocks)
        if not 0 <= dropout < 1:
            raise ParamsError(f"deblurgan: dropout is {dropout}; expected a probability in [0, 1), 0.5 in the paper")
        self.entry = nn.Conv2d(3, channels, 7, padding=3, padding_mode="reflect")
        self.down1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(2 * channels, 4 * channels, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(4 * channels, dropout) for _ in range(num_blocks)))
        self.up1 = nn.ConvTranspose2d(4 * channels, 2 * channels, 3, stride=2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(2 * channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.exit = nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect")
        initialise(self)

    def residual(self, x: Tensor) -> Tensor:
        """Return what is added to the input: (N, 3, H, W) in [-1, 1] to the same shape in (-1, 1)."""
        for down in (self.entry, self.down1, self.down2):
            x = F.relu(instance_norm(down(x)))
        x = self.blocks(x)
        for up in (self.up1, self.up2):
            x = F.relu(instance_norm(up(x)))
        return torch.tanh(self.exit(x))

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (N, 3, H, W), RGB in [0, 1], sides multiples of 4; clipped to [0, 1], as in the code."""
        x = signed(x)
        return ((x + self.residual(x)).clamp(-1, 1) + 1) / 2


class Critic(nn.Module):
    """The patch critic: 4x4 convolutions with padding 2, instance norm in the middle, no sigmoid; 2,764,737 parameters.

    Args:
        channels: width of the critic's first convolution.

    Raises:
        ParamsError: `channels` is below 1.
    """

    def __init__(self, channels: int = 64):
        super().__init__()
        at_least(1, "deblurgan", critic_channels=channels)
        widths = (3, channels, 2 * channels, 4 * channels, 8 * channels, 1)
        strides = (2, 2, 2, 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride, padding=2)
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Score patches of `x` (N, 3, H, W): higher looks sharper.

        `x` is in [-1, 1], unlike elsewhere: the gradient penalty bounds the slope with respect to this range.

        Returns:
            (N, 1, h, w), not bounded.
        """
        x = F.leaky_relu(self.convs[0](x), 0.2)
        for conv in self.convs[1:-1]:
            x = F.leaky_relu(instance_norm(conv(x)), 0.2)
        return self.convs[-1](x)


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> Losses:
    """Return what the critic lowers: WGAN-GP, of images in [-1, 1].

    As in the code, the penalty takes one random point for the whole batch, and the gradient's norm over the colours of
    each pixel. Gulrajani et al. draw one point per image and take the norm over the whole image.
    """
    alpha = torch.rand(1, 1, 1, 1, device=real.device)
    return {
        "wasserstein": wasserstein_critic(critic(real), critic(fake)),
        "gradient_penalty": gradient_penalty(critic, real, fake, alpha, axes=(1,)),
    }


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs, fake: Tensor) -> Losses:
    """Return what the generator lowers; "content" is the mean squared difference of conv3_3 of VGG-19, before its ReLU.

    As in the code, VGG gets images in [-1, 1], not normalised as for its training.
    """
    pred, target = outputs["pred"], batch["target"]
    losses = {"adversarial": wasserstein_generator(networks["critic"](fake)), "l1": l1(pred, target)}
    if "vgg19" in networks:
        losses["content"] = perceptual.perceptual(networks["vgg19"], signed(pred), signed(target), ("conv3_3",), mse)
    return losses


def weights_by_layer(state: State) -> dict[tuple[int, ...], dict[str, Tensor]]:
    """Group weights and biases by the numbers in their names, in order; running statistics of old files are dropped."""
    layers: dict[tuple[int, ...], dict[str, Tensor]] = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        if kind in ("weight", "bias"):
            layers.setdefault(tuple(int(number) for number in re.findall(r"\d+", layer)), {})[kind] = value
    return dict(sorted(layers.items()))


def rename_generator(state: State) -> State:
    """Turn the authors' state dict into ours.

    Theirs numbers all layers in one sequence (`model.4.weight`; a block's are `model.10.conv_block.1.weight` and, with
    dropout, `.6.weight`, without it `.5.weight`), so the order decides.
    """
    layers = weights_by_layer(state)
    outer = [key for key in layers if len(key) == 1]
    inner = [key for key in layers if len(key) > 1]
    names: dict[tuple[int, ...], str] = dict(
        zip(outer, ("entry", "down1", "down2", "up1", "up2", "exit"), strict=False)
    )
    names |= {key: f"blocks.{i // 2}.conv{i % 2 + 1}" for i, key in enumerate(inner)}
    return {f"{name}.{kind}": value for key, name in names.items() for kind, value in layers[key].items()}


def rename_critic(state: State) -> State:
    """Turn the authors' discriminator into ours: its convolutions (`model.0`, `model.2`, `model.5`, ...) in order."""
    return {
        f"convs.{i}.{kind}": value
        for i, layer in enumerate(weights_by_layer(state).values())
        for kind, value in layer.items()
    }


method = adversarial(
    "deblur",
    Generator,
    Critic,
    generator_losses,
    critic_losses,
    critic_sees=lambda image, batch: signed(image),
    critic_updates=5,
    reference={"generator": rename_generator, "critic": rename_critic},
    tiny={"channels": 8, "num_blocks": 2, "critic_channels": 8},
    multiple=4,
    min_size=8,
    tiling="Instance norm takes its statistics from the whole image: tiles, which overlap, are normalised separately, "
    "and seams can appear where brightness changes.",
    helpers={"vgg19": perceptual.vgg_helper("vgg19", ("content",))},
    limits=(
        "It restores with dropout off, so that one image has one result; the authors' test script leaves dropout on.",
    ),
)
