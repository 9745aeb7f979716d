"""RN: region normalization for inpainting.

Paper: T. Yu, Z. Guo, X. Jin, S. Wu, Z. Chen, W. Li, Z. Zhang, S. Liu, "Region Normalization for Image Inpainting", AAAI
2020. Code: geekyutao/RN (MIT), commit b0a9476; its released weights load through `reference`.

Two mistakes of that code are not repeated:
- Biases start at 0. The code draws them from a normal distribution of deviation 1: mean and deviation are swapped.
- Each player has its own gradients. The code clears the critic's gradients only after the critic's step, so those of
  the generator's loss, of the opposite sign, enter the critic's next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, adversarial, at_least
from methods.layers.patch_critic import PatchCritic, network_state, rename_critic
from methods.losses.adversarial import log_critic, log_generator
from methods.losses.pixel import composite, l1_over_hole

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State


def region_norm(x: Tensor, region: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each channel within a region and, separately, outside it, over the whole batch.

    The code fills the outside of a region with the region's mean, takes a batch norm of the whole map, and multiplies
    by sqrt(p), p the region's share of the pixels, to undo what the fill took from the deviation. With m and s the
    region's mean and deviation this is sqrt(p) (x - m) / sqrt(p s^2 + eps), the plain formula but for eps. No running
    statistics are kept: the batch's are used in eval mode too.

    Args:
        x: (N, C, H, W).
        region: (N, 1, H, W) bool.
        eps: added to the variance, as in a batch norm.

    Returns:
        (N, C, H, W) float32, both parts together.

    >>> x = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(1, 1, 1, 4)
    >>> [round(v, 3) for v in region_norm(x, x < 5).flatten().tolist()]
    [-1.0, 1.0, -1.0, 1.0]
    """
    x = x.float()
    inside = region.to(x)
    pixels = inside.numel()
    parts = (inside, 1 - inside)
    counts = [part.sum().clamp(min=1) for part in parts]  # an empty region scales no pixel
    means = [(x * part).sum(dim=(0, 2, 3), keepdim=True) / n for part, n in zip(parts, counts, strict=True)]
    centred = x - torch.where(region, means[0], means[1])
    variances = [(centred.square() * part).mean(dim=(0, 2, 3), keepdim=True) for part in parts]
    scales = [(n / pixels / (variance + eps)).sqrt() for n, variance in zip(counts, variances, strict=True)]
    return centred * torch.where(region, scales[0], scales[1])


class BasicRegionNorm(nn.Module):
    """RN-B: normalises hole and known pixels by the given mask, each with a gain: (N, C, h, w) to the same.

    Gains start at 1, biases at 0. As in the code, each bias is added everywhere, not only in its region.

    Args:
        channels: number of feature channels, C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.hole_gamma = nn.Parameter(torch.zeros(channels))
        self.hole_beta = nn.Parameter(torch.zeros(channels))
        self.known_gamma = nn.Parameter(torch.zeros(channels))
        self.known_beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise `x` (N, C, h, w) by `mask` (N, 1, H, W), 1 = hole, resized to (h, w) by nearest neighbour."""
        hole = F.interpolate(mask, x.shape[-2:], mode="nearest") > 0.5
        gamma = torch.where(hole, self.hole_gamma.view(1, -1, 1, 1), self.known_gamma.view(1, -1, 1, 1))
        beta = (self.hole_beta + self.known_beta).view(1, -1, 1, 1)
        return region_norm(x, hole) * (1 + gamma) + beta


class LearnableRegionNorm(nn.Module):
    """RN-L: finds the regions by a learned map of importance: (N, C, H, W) to the same.

    Args:
        threshold: a pixel is in the region where the map is at least this, in [0, 1]; the comparison has no gradient.
    """

    def __init__(self, threshold: float = 0.8):
        super().__init__()
        self.threshold = threshold
        self.importance = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.gamma = nn.Conv2d(1, 1, 7, padding=3)
        self.beta = nn.Conv2d(1, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, H, W)."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        importance = torch.sigmoid(self.importance(pooled))
        return region_norm(x, importance >= self.threshold) * (1 + self.gamma(importance)) + self.beta(importance)


class Block(nn.Module):
    """Two 3x3 convolutions, the first dilated by 2, an RN-L after each, and a skip: (N, C, H, W) to the same.

    Args:
        channels: C.
        threshold: of the two RN-L, in [0, 1].
    """

    def __init__(self, channels: int, threshold: float):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect")
        self.norm1 = LearnableRegionNorm(threshold)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = LearnableRegionNorm(threshold)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class Generator(nn.Module):
    """EdgeConnect's generator with RN-B in the encoder and RN-L after it; 11,596,591 parameters.

    Convolutions start from Kaiming's normal distribution times 0.1, biases at 0.

    Args:
        channels: width of the first convolution.
        num_blocks: residual blocks, at a quarter of the size and four times the width.
        threshold: of the blocks' RN-L, in [0, 1]; the decoder's is always 0.8, as in the code.

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 8, threshold: float = 0.8):
        super().__init__()
        at_least(1, "rn", channels=channels, num_blocks=num_blocks)
        if not 0 <= threshold <= 1:
            raise ParamsError(f"rn: threshold is {threshold}; expected a value in [0, 1], 0.8 in the paper")
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
        """Complete a batch of images; the result of an image depends on the others.

        Args:
            x: (N, 3, H, W), RGB in [0, 1], sides multiples of 4; its values in the hole are ignored, set to 1.
            mask: (N, 1, H, W), 1 = hole.

        Returns:
            (N, 3, H, W), RGB in [0, 1], not composited.
        """
        x = x * (1 - mask) + mask
        x = F.relu(self.entry_norm(self.entry(x), mask))
        x = F.relu(self.down1_norm(self.down1(x), mask))
        x = F.relu(self.down2_norm(self.down2(x), mask))
        x = self.blocks(x)
        x = F.relu(self.up1_norm(F.pixel_shuffle(self.up1(x), 2)))
        x = F.relu(self.up2_norm(F.pixel_shuffle(self.up2(x), 2)))
        return (torch.tanh(self.exit(x)) + 1) / 2


def critic(channels: int = 64) -> PatchCritic:
    """Make the critic of images.

    Args:
        channels: width of the critic's first convolution.

    Raises:
        ParamsError: `channels` is below 1.
    """
    at_least(1, "rn", critic_channels=channels)
    return PatchCritic(3, channels)


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> Losses:
    """Return what the critic lowers; it sees the output as it is, not composited."""
    return {"adversarial": log_critic(critic(real)[-1], critic(fake)[-1])}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs, fake: Tensor) -> Losses:
    """Return what the generator lowers: L1 of the composite, divided by the hole's share, and the adversarial loss."""
    completed = composite(outputs["pred"], batch["target"], batch["mask"])
    return {
        "l1": l1_over_hole(completed, batch["target"], batch["mask"]),
        "adversarial": log_generator(networks["critic"](fake)[-1]),
    }


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Complete the images one at a time, so that the result of an image does not depend on its batch."""
    images = zip(batch["x"].split(1), batch["mask"].split(1), strict=True)
    return torch.cat([networks["generator"](x, mask) for x, mask in images])


def rename_generator(state: State) -> State:
    """Turn the authors' state dict, of the generator or of the whole model, into ours."""
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

    return {rename(name): value for name, value in network_state(state, "generator").items()}


method = adversarial(
    "inpaint",
    Generator,
    critic,
    generator_losses,
    critic_losses,
    restore=restore,
    reference={"generator": rename_generator, "critic": rename_critic},
    tiny={"channels": 8, "num_blocks": 2, "critic_channels": 8},
    multiple=4,
    min_size=12,
    tiling="Region norm takes its statistics from the whole image: tiles, which overlap, are normalised separately; "
    "a hole should be within one tile with known pixels around it.",
    limits=(
        "An image's result depends on the other images of its batch, in testing too: it restores one image at a time "
        "(the authors' test script takes 64 together).",
    ),
)
