"""RN: region normalization for inpainting.

Paper: T. Yu, Z. Guo, X. Jin, S. Wu, Z. Chen, W. Li, Z. Zhang, S. Liu, "Region Normalization for Image Inpainting", AAAI
2020. Code: geekyutao/RN (MIT), commit b0a9476; its released weights load through `reference`.

Differs from that code, both slips of it that we do not repeat:
- Biases start at 0. The code draws them from a normal distribution of deviation 1 (its mean and deviation are swapped).
- Each player's gradients are its own. The code clears a critic's gradients only after the critic's step, so those that
  the generator's loss left in it, of the opposite sign, enter the critic's next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Phase, Player
from methods.layers.patch_critic import PatchCritic, rename_critic, unwrap
from methods.losses.adversarial import log_critic, log_generator
from methods.losses.pixel import l1_over_hole

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State


def region_norm(x: Tensor, region: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each channel in a region and, by itself, in the rest, over the whole batch.

    A region keeps its share p of the pixels of the batch. The code fills what is outside a region with its mean, takes
    a batch norm of all, and multiplies by sqrt(p) for what the fill took from the deviation. That is, with m and s the
    region's own mean and deviation, sqrt(p) (x - m) / sqrt(p s^2 + eps) inside: only eps tells it from the plain
    formula. Nothing is kept for eval: the batch's statistics rule there too.

    Args:
        x: (N, C, H, W).
        region: (N, 1, H, W) bool.

    Returns:
        float32 of the shape of x, both regions together.
    """
    x = x.float()
    inside = region.to(x)
    pixels = inside.numel()
    parts = (inside, 1 - inside)
    counts = [part.sum().clamp(min=1) for part in parts]  # that of an empty region scales no pixel
    means = [(x * part).sum(dim=(0, 2, 3), keepdim=True) / n for part, n in zip(parts, counts, strict=True)]
    centred = x - torch.where(region, means[0], means[1])
    variances = [(centred.square() * part).mean(dim=(0, 2, 3), keepdim=True) for part in parts]
    scales = [(n / pixels / (variance + eps)).sqrt() for n, variance in zip(counts, variances, strict=True)]
    return centred * torch.where(region, scales[0], scales[1])


class BasicRegionNorm(nn.Module):
    """RN-B: hole and known pixels by the given mask, each with its own gain.

    Gains start at 1, biases at 0. Each bias is added everywhere, not in its region alone: so does the code.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.hole_gamma = nn.Parameter(torch.zeros(channels))
        self.hole_beta = nn.Parameter(torch.zeros(channels))
        self.known_gamma = nn.Parameter(torch.zeros(channels))
        self.known_beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise `x` (N, C, h, w) by `mask` (N, 1, H, W), 1 = hole, shrunk to it by taking the nearest pixel."""
        hole = F.interpolate(mask, x.shape[-2:], mode="nearest") > 0.5
        gamma = torch.where(hole, self.hole_gamma.view(1, -1, 1, 1), self.known_gamma.view(1, -1, 1, 1))
        beta = (self.hole_beta + self.known_beta).view(1, -1, 1, 1)
        return region_norm(x, hole) * (1 + gamma) + beta


class LearnableRegionNorm(nn.Module):
    """RN-L: it finds the regions itself, from a map of where features stand out.

    Args:
        threshold: a pixel is in the region where the map is at least this, in [0, 1]; no gradient passes there.
    """

    def __init__(self, threshold: float = 0.8):
        super().__init__()
        self.threshold = threshold
        self.importance = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.gamma = nn.Conv2d(1, 1, 7, padding=3)
        self.beta = nn.Conv2d(1, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, H, W)."""
        about = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        importance = torch.sigmoid(self.importance(about))
        return region_norm(x, importance >= self.threshold) * (1 + self.gamma(importance)) + self.beta(importance)


class Block(nn.Module):
    """A 3x3 convolution dilated by 2, a plain one, RN-L after each, and a skip: (N, C, H, W) to the same."""

    def __init__(self, channels: int, threshold: float):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect")
        self.norm1 = LearnableRegionNorm(threshold)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = LearnableRegionNorm(threshold)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class Generator(nn.Module):
    """EdgeConnect's generator with region norms: basic ones in the encoder, learnable ones after it.

    11,596,591 parameters. Convolutions start from Kaiming's normal distribution times 0.1.

    Args:
        channels: width of the first convolution.
        num_blocks: residual blocks, at a quarter of the size and four times the width.
        threshold: of the blocks' RN-L, in [0, 1]; the decoder's is always 0.8, as in the code.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 8, threshold: float = 0.8):
        super().__init__()
        self.entry = nn.Conv2d(3, channels, 7, padding=3, padding_mode="reflect")
        self.entry_norm = BasicRegionNorm(channels)
        self.down1 = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1)
        self.down1_norm = BasicRegionNorm(2 * channels)
        self.down2 = nn.Conv2d(2 * channels, 4 * channels, 4, stride=2, padding=1)
        self.down2_norm = BasicRegionNorm(4 * channels)
        self.blocks = nn.Sequential(*(Block(4 * channels, threshold) for _ in range(num_blocks)))
        self.up1 = nn.Conv2d(4 * channels, 8 * channels, 3, padding=1)
        self.up1_norm = LearnableRegionNorm()
        self.up2 = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)
        self.up2_norm = LearnableRegionNorm()
        self.exit = nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.weight.data.mul_(0.1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Complete `x` (N, 3, H, W), RGB in [0, 1], sides multiples of 4, where `mask` (N, 1, H, W) is 1.

        What `x` holds in the hole does not matter: it is set to 1. Returns RGB in [0, 1], not composited; an image's
        result depends on its batch mates.
        """
        x = x * (1 - mask) + mask
        x = F.relu(self.entry_norm(self.entry(x), mask))
        x = F.relu(self.down1_norm(self.down1(x), mask))
        x = F.relu(self.down2_norm(self.down2(x), mask))
        x = self.blocks(x)
        x = F.relu(self.up1_norm(F.pixel_shuffle(self.up1(x), 2)))
        x = F.relu(self.up2_norm(F.pixel_shuffle(self.up2(x), 2)))
        return (torch.tanh(self.exit(x)) + 1) / 2


def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the batch, with statistics of the whole batch."""
    return {"pred": networks["generator"](batch["x"], batch["mask"])}


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the critic lowers; it sees the output as it is, not composited."""
    critic, pred = networks["critic"], outputs["pred"]
    assert isinstance(pred, Tensor)
    return {"adversarial": log_critic(critic(batch["target"])[-1], critic(pred.detach())[-1])}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the generator lowers: L1 of the composite, divided by the hole's share, and the adversarial loss."""
    pred, target, mask = outputs["pred"], batch["target"], batch["mask"]
    assert isinstance(pred, Tensor)
    composite = mask * pred + (1 - mask) * target
    return {
        "l1": l1_over_hole(composite, target, mask),
        "adversarial": log_generator(networks["critic"](pred)[-1]),
    }


def networks(
    channels: int = 64, num_blocks: int = 8, threshold: float = 0.8, critic_channels: int = 64
) -> Mapping[str, nn.Module]:
    """Make the generator (`channels`, `num_blocks`, `threshold`) and its critic (`critic_channels`).

    Raises:
        ParamsError: when an argument is out of its range.
    """
    if min(channels, num_blocks, critic_channels) < 1:
        found = f"channels {channels}, num_blocks {num_blocks}, critic_channels {critic_channels}"
        raise ParamsError(f"rn: {found}: each must be at least 1")
    if not 0 <= threshold <= 1:
        raise ParamsError(f"rn: threshold is {threshold}, expected a value of a sigmoid, in [0, 1]; the paper has 0.8")
    return {"generator": Generator(channels, num_blocks, threshold), "critic": PatchCritic(3, critic_channels)}


def restore(networks: nn.ModuleDict | None, batch: Batch) -> Tensor:
    """Complete each image by itself, so that its result does not depend on the batch it came in."""
    assert networks is not None
    images = zip(batch["x"].split(1), batch["mask"].split(1), strict=True)
    return torch.cat([networks["generator"](x, mask) for x, mask in images])


def rename_generator(state: State) -> State:
    """Turn the authors' state dict, of the generator alone or of the whole model, into ours."""
    parts = {
        "encoder_conv1": "entry",
        "encoder_conv2": "down1",
        "encoder_conv3": "down2",
        "encoder_in1": "entry_norm",
        "encoder_in2": "down1_norm",
        "encoder_in3": "down2_norm",
        "decoder.0": "up1",
        "decoder.2": "up1_norm",
        "decoder.4": "up2",
        "decoder.6": "up2_norm",
        "decoder.9": "exit",
        "middle": "blocks",
        "conv_block.1": "conv1",
        "conv_block.2": "norm1",
        "conv_block.5": "conv2",
        "conv_block.6": "norm2",
        "sa.conv1": "importance",
        "sa.gamma_conv": "gamma",
        "sa.beta_conv": "beta",
        "foreground_gamma": "hole_gamma",
        "foreground_beta": "hole_beta",
        "background_gamma": "known_gamma",
        "background_beta": "known_beta",
    }

    def rename(name: str) -> str:
        for theirs, ours in parts.items():
            name = f".{name}.".replace(f".{theirs}.", f".{ours}.")[1:-1]
        return name

    return {rename(name): value for name, value in unwrap(state, "generator").items()}


method = Method(
    ("inpaint",),
    networks,
    {
        "train": Phase(
            forward,
            {
                "critic": Player(("critic",), critic_losses),
                "generator": Player(("generator",), generator_losses),
            },
        )
    },
    restore,
    reference={"generator": rename_generator, "critic": rename_critic},
    tiny={"channels": 8, "num_blocks": 2, "critic_channels": 8},
    multiple=4,
    min_size=12,
    tiling="Region norm takes its statistics from the whole image: tiles, which overlap, normalise by themselves, and "
    "a hole should lie within one tile with known pixels around it.",
    limits=(
        "An image's result depends on the other images of its batch, in testing too: it restores one image at a time "
        "(the authors' test script takes 64 together).",
    ),
)
