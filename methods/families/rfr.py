"""The network and the losses of RFR, which is also the coarse branch of DGFNet.

What it is and where it comes from stands in `methods/rfr.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods.layers.patch_critic import network_state
from methods.layers.precision import full_precision
from methods.losses import perceptual
from methods.losses.pixel import composite, l1

if TYPE_CHECKING:
    from bench.contracts import Losses, State

POOLS = ("pool1", "pool2", "pool3")
"""The layers of VGG-16 that the losses look at."""

Scores = tuple[Tensor, Tensor]
"""What a round of the attention leaves to the next: scores (N, h w, h w) and the known pixels (N, h w, 1)."""


def partial_conv(conv: nn.Conv2d, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve the known values alone, as if a window's unknown ones were like them (Liu et al., ECCV 2018, eq. 1).

    Args:
        conv: a convolution without bias, padded with zeros, which count as unknown.
        x: (N, C, H, W).
        valid: (N, 1, H, W), or (N, C, H, W) where channels differ; 1 = known, 0 = not.

    Returns:
        the result (N, out, h, w), 0 where a window has no known value, and (N, 1, h, w): 1 where it has one.
    """
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    share = F.avg_pool2d(valid.mean(dim=1, keepdim=True), size, stride, int(padding))
    known = (share > 0).to(share)
    return conv(x * valid.to(x)) * (known / share.clamp(min=1e-8)), known


class Attention(nn.Module):
    """Knowledge-consistent attention: every place looks at all places of its own map, and remembers the last round.

    Section 3.2, eq. 3 to 6; the order of steps is the code's. (N, C, h, w) to the same. Scores are summed over 3x3
    places by summing the features first, which is the same and does it on a small tensor. In float32 under autocast
    too: the softmax of sums of hundreds of products.

    Args:
        channels: width of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.ratio = nn.Parameter(torch.ones(1))
        self.combine = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, valid: Tensor, before: Scores | None) -> tuple[Tensor, Scores]:
        """Attend.

        Args:
            x: (N, C, h, w).
            valid: (N, 1, h, w), the pixels that are known in this round: where the next one trusts these scores.
            before: what the last round left, None in the first.
        """
        with full_precision(x):
            features = x.float()
            keys = F.normalize(features + 1e-7, dim=1).flatten(2)
            queries = (9 * F.avg_pool2d(features, 3, stride=1, padding=1)).flatten(2)
            scores = (queries.mT @ keys).softmax(dim=-1)
            if before is not None:
                last, known = before
                ratio = self.ratio.abs() + 1e-7
                scores = (last * known + scores * ratio) / (known + ratio)
            seen = (keys @ scores.mT).view_as(features)
        return self.combine(torch.cat([seen, features], dim=1)), (scores, valid.flatten(2).mT)


def down(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution, of stride 2 or dilated by 2, batch norm and ReLU."""
    dilation = 1 if stride == 2 else 2
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def up(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 4x4 transposed convolution of stride 2, or a 3x3 one dilated by 2; batch norm and LeakyReLU 0.2."""
    conv: nn.Module
    if stride == 2:
        conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    else:
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=2, dilation=2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2))


class Reasoning(nn.Module):
    """The feature reasoning module: an hourglass with skips, attention at a quarter of its size.

    Args:
        channels: width of its input and output; inside up to eight times as many.
    """

    def __init__(self, channels: int):
        super().__init__()
        widths = [channels * factor for factor in (1, 2, 4, 8, 8, 8, 8)]
        strides = (2, 2, 2, 1, 1, 1)
        self.encoder = nn.ModuleList(down(widths[i], widths[i + 1], strides[i]) for i in range(6))
        # Each takes what comes from below and the encoder's map of its size.
        pairs = [(16, 8, 1), (16, 8, 1), (16, 8, 2), (12, 4, 2), (6, 1, 2)]
        self.decoder = nn.ModuleList(up(a * channels, b * channels, stride) for a, b, stride in pairs)
        self.attention = Attention(8 * channels)

    def forward(self, x: Tensor, valid: Tensor, before: Scores | None) -> tuple[Tensor, Scores]:
        """Reason about `x` (N, C, h, w), sides multiples of 8, known where `valid` (N, 1, h, w) is 1."""
        maps = [x]
        for layer in self.encoder:
            maps.append(layer(maps[-1]))
        x = maps.pop()
        for i, layer in enumerate(self.decoder):
            x = layer(torch.cat([x, maps.pop()], dim=1))
            if i == 2:
                # As nearest interpolation to a quarter takes it: the upper left pixel of each 4x4.
                x, before = self.attention(x, valid[..., ::4, ::4], before)
        assert before is not None
        return x, before


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norms, a skip, and ReLU: (N, C, H, W) to the same."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(x + self.norm3(self.conv3(y)))


class RFR(nn.Module):
    """Fill a hole from its rim inwards, round by round, in feature space: 31,224,065 parameters.

    Args:
        channels: width at half the size, 64 in the code; up to eight times as many inside.
        rounds: recurrences of the shared layers.
        kernel_size: side of the partial convolutions after the first; 5 is the code's network for smaller holes.

    Raises:
        ParamsError: when channels is odd or below 2, rounds below 1, or kernel_size even.
    """

    def __init__(self, channels: int = 64, rounds: int = 6, kernel_size: int = 7):
        super().__init__()
        if channels < 2 or channels % 2 or rounds < 1 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ParamsError(
                f"rfr: channels {channels}, rounds {rounds}, kernel_size {kernel_size}: "
                "expected an even number of channels, at least 1 round and an odd kernel_size"
            )
        self.rounds = rounds

        def partial(in_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False)

        self.entry1, self.entry1_norm = partial(3, 7, stride=2), nn.BatchNorm2d(channels)
        self.entry2, self.entry2_norm = partial(channels, kernel_size), nn.BatchNorm2d(channels)
        self.grow1, self.grow2 = partial(channels, kernel_size), partial(channels, kernel_size)
        self.grow_norm = nn.BatchNorm2d(channels)
        self.reasoning = Reasoning(channels)
        self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
        self.up_norm = nn.BatchNorm2d(channels)
        self.tail = nn.Conv2d(3 + channels, channels // 2, 3, padding=1, bias=False)
        self.bottleneck = Bottleneck(channels // 2, max(channels // 8, 1))
        self.exit = nn.Conv2d(channels, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Complete `x` (N, 3, H, W), RGB in [0, 1], sides multiples of 16.

        Args:
            x: the image; what it holds in the hole does not matter.
            mask: (N, 1, H, W), 1 = hole.

        Returns:
            (N, 3, H, W), not clipped and not composited.
        """
        valid = 1 - mask
        features, known = partial_conv(self.entry1, x, valid)
        features, known = partial_conv(self.entry2, F.relu(self.entry1_norm(features)), known)
        features = F.relu(self.entry2_norm(features))
        total, count = features * known, known
        before: Scores | None = None
        for _ in range(self.rounds):
            features, known = partial_conv(self.grow1, features, known)
            features, known = partial_conv(self.grow2, features, known)
            features, before = self.reasoning(F.leaky_relu(self.grow_norm(features)), known, before)
            features = features * known
            total, count = total + features, count + known
        # The mean over the rounds in which a pixel was known; 0 where it never was (Section 3.3).
        merged = total / (count + 1e-7 * (self.rounds + 1))
        merged = F.leaky_relu(self.up_norm(self.up(merged)))
        reached = F.interpolate(known, scale_factor=2)
        both = torch.cat([valid.expand_as(x), reached.expand_as(merged)], dim=1)
        tail = F.leaky_relu(partial_conv(self.tail, torch.cat([x, merged.to(x)], dim=1), both)[0])
        return self.exit(torch.cat([tail, self.bottleneck(tail)], dim=1))


@contextmanager
def frozen_norms(network: nn.Module) -> Iterator[None]:
    """Let the batch norms of `network` use and keep their running statistics within the block, as in eval mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    training = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm, was in zip(norms, training, strict=True):
            norm.train(was)


def region_losses(pred: Tensor, target: Tensor, mask: Tensor) -> Losses:
    """L1 in the hole and L1 outside, each the mean over all elements of the batch, as in the code.

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole.
    """
    return {"hole": l1(pred * mask, target * mask), "valid": l1(pred * (1 - mask), target * (1 - mask))}


def vgg_losses(vgg: nn.Module, pred: Tensor, target: Tensor, mask: Tensor) -> Losses:
    """Perceptual and style loss (L1 of features and of Gram matrices), for the output and for the composite, summed.

    VGG-16 is given the images as they are, not normalised as it was trained, as in the code. The features of each
    image are computed once for both losses.

    Args:
        vgg: the helper.
        pred: (N, 3, H, W), not composited.
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole.
    """
    with torch.no_grad():
        truth = [features.float() for features in vgg(target, POOLS)]
        grams = [perceptual.gram(features) for features in truth]
    content_terms, style_terms = [], []
    for image in (pred, composite(pred, target, mask)):
        for features, true, true_gram in zip(vgg(image, POOLS), truth, grams, strict=True):
            content_terms.append(l1(features.float(), true))
            style_terms.append(l1(perceptual.gram(features), true_gram))
    return {"perceptual": torch.stack(content_terms).sum(), "style": torch.stack(style_terms).sum()}


def rename(state: State) -> State:
    """Turn the authors' state dict, bare or in their checkpoint under "generator", into ours."""
    layers = {
        "Pconv1": "entry1",
        "bn1": "entry1_norm",
        "Pconv2": "entry2",
        "bn20": "entry2_norm",
        "Pconv21": "grow1",
        "Pconv22": "grow2",
        "bn2": "grow_norm",
        "Tconv": "up",
        "bn3": "up_norm",
        "tail1": "tail",
        "out": "exit",
        "RFRModule.att.att": "reasoning.attention",
        "RFRModule.att.combiner": "reasoning.attention.combine",
    }
    layers |= {f"RFRModule.enc_{i}.{j}": f"reasoning.encoder.{i - 1}.{j}" for i in range(1, 7) for j in (0, 1)}
    layers |= {f"RFRModule.dec_{i}.{j}": f"reasoning.decoder.{5 - i}.{j}" for i in range(1, 6) for j in (0, 1)}
    layers |= {f"tail2.conv{i}": f"bottleneck.conv{i}" for i in (1, 2, 3)}
    layers |= {f"tail2.bn{i}": f"bottleneck.norm{i}" for i in (1, 2, 3)}

    def ours(name: str) -> str:
        layer, _, kind = name.rpartition(".")
        return f"{layers.get(layer, layer)}.{kind}"

    return {ours(name): value for name, value in network_state(state, "generator").items()}
