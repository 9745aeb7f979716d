"""The network and the losses of RFR, which is also the coarse branch of DGFNet.

Sources and differences from the authors' code are in `methods/rfr.py`.
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
"""The layers of VGG-16 whose features the losses compare."""

Scores = tuple[Tensor, Tensor]
"""What one round of the attention passes to the next: scores (N, h w, h w) and the known pixels (N, h w, 1)."""


def partial_conv(conv: nn.Conv2d, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve the known values only and divide by the known share of each window.

    Source: G. Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV 2018, eq. 1 and 2.

    Args:
        conv: a convolution without bias, padded by zeros, which count as unknown.
        x: (N, C, H, W).
        valid: (N, 1, H, W), or (N, C, H, W) where channels differ; 1 = known, 0 = unknown.

    Returns:
        the result (N, out, h, w), 0 where a window has no known value; and the new `valid` (N, 1, h, w), 1 where it has
        one.

    >>> conv = nn.Conv2d(1, 1, 2, bias=False)
    >>> _ = nn.init.ones_(conv.weight)
    >>> y, known = partial_conv(conv, torch.full((1, 1, 2, 2), 3.0), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    >>> y.item(), known.item()  # one known value of 3 counts for all four
    (12.0, 1.0)
    """
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    share = F.avg_pool2d(valid.mean(dim=1, keepdim=True), size, stride, int(padding))
    known = (share > 0).to(share)
    return conv(x * valid.to(x)) * (known / share.clamp(min=1e-8)), known


class Attention(nn.Module):
    """Knowledge-consistent attention: attention within one map, mixed with the scores of the round before.

    Section 3.2, eq. 3 to 6, in the order of the code: (N, C, h, w) to the same. Scores are sums over 3x3
    places; the features are summed instead, which gives the same on a smaller tensor. It is float32 under
    autocast too, because of the softmax of sums of hundreds of products.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.ratio = nn.Parameter(torch.ones(1))
        self.combine = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, valid: Tensor, before: Scores | None) -> tuple[Tensor, Scores]:
        """Attend.

        Args:
            x: (N, C, h, w).
            valid: (N, 1, h, w), 1 where pixels are known in this round: the next round uses these scores there.
            before: what the round before returned; None in the first round.

        Returns:
            (N, C, h, w), and what the next round needs.
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
            attended = (keys @ scores.mT).view_as(features)
        return self.combine(torch.cat([attended, features], dim=1)), (scores, valid.flatten(2).mT)


def encoder_layer(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Make a 3x3 convolution, with stride 2 or else dilated by 2, batch norm and ReLU."""
    dilation = 1 if stride == 2 else 2
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def decoder_layer(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Make a 4x4 transposed convolution with stride 2 or a 3x3 one dilated by 2, batch norm and LeakyReLU 0.2."""
    conv: nn.Module
    if stride == 2:
        conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    else:
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=2, dilation=2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2))


class Reasoning(nn.Module):
    """The feature reasoning module: an hourglass with skips, and attention at a quarter of its size.

    Args:
        channels: of its input and output; inside up to eight times as many.
    """

    def __init__(self, channels: int):
        super().__init__()
        widths = [channels * factor for factor in (1, 2, 4, 8, 8, 8, 8)]
        strides = (2, 2, 2, 1, 1, 1)
        self.encoder = nn.ModuleList(encoder_layer(widths[i], widths[i + 1], strides[i]) for i in range(6))
        # The input of each is the result of the layer before and the encoder's map of its size.
        layers = [(16, 8, 1), (16, 8, 1), (16, 8, 2), (12, 4, 2), (6, 1, 2)]
        self.decoder = nn.ModuleList(decoder_layer(a * channels, b * channels, stride) for a, b, stride in layers)
        self.attention = Attention(8 * channels)

    def forward(self, x: Tensor, valid: Tensor, before: Scores | None) -> tuple[Tensor, Scores]:
        """Fill the rim of the hole.

        Args:
            x: (N, C, h, w), sides multiples of 8.
            valid: (N, 1, h, w), 1 where `x` is known.
            before: what the attention of the round before returned; None in the first round.

        Returns:
            (N, C, h, w), and what the next round needs.
        """
        maps = [x]
        for layer in self.encoder:
            maps.append(layer(maps[-1]))
        x = maps.pop()
        for layer in self.decoder[:3]:
            x = layer(torch.cat([x, maps.pop()], dim=1))
        # The upper left pixel of each 4x4, as nearest interpolation to a quarter takes it.
        x, scores = self.attention(x, valid[..., ::4, ::4], before)
        for layer in self.decoder[3:]:
            x = layer(torch.cat([x, maps.pop()], dim=1))
        return x, scores


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norms, a skip, and ReLU: (N, C, H, W) to the same.

    Args:
        channels: C.
        inner: output channels of the first two convolutions.
    """

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
    """Fills a hole from its rim inwards, round by round, in feature space: 31,224,065 parameters.

    Args:
        channels: of the features at half the size, an even number, 64 in the code; inside up to eight times as many.
        rounds: recurrences of the shared layers, 6 in the code.
        kernel_size: side of the partial convolutions after the first, odd; 5 is the code's network for smaller holes.

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
            x: the image; its values in the hole do not matter.
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
        # The mean over the rounds in which a pixel was known, otherwise 0 (Section 3.3).
        merged = total / (count + 1e-7 * (self.rounds + 1))
        merged = F.leaky_relu(self.up_norm(self.up(merged)))
        reached = F.interpolate(known, scale_factor=2)
        both = torch.cat([valid.expand_as(x), reached.expand_as(merged)], dim=1)
        tail = F.leaky_relu(partial_conv(self.tail, torch.cat([x, merged.to(x)], dim=1), both)[0])
        return self.exit(torch.cat([tail, self.bottleneck(tail)], dim=1))


@contextmanager
def frozen_norms(network: nn.Module) -> Iterator[None]:
    """Let the batch norms of `network` use their running statistics, without an update, in the `with` block."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    training = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm, mode in zip(norms, training, strict=True):
            norm.train(mode)


def region_losses(pred: Tensor, target: Tensor, mask: Tensor) -> Losses:
    """Return L1 in the hole and L1 outside it, each the mean over all elements of the batch, as in the code.

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole.

    >>> mask = torch.tensor([[[[1.0, 0.0]]]])
    >>> {name: loss.item() for name, loss in region_losses(torch.ones(1, 1, 1, 2), 0 * mask, mask).items()}
    {'hole': 0.5, 'valid': 0.5}
    """
    return {"hole": l1(pred * mask, target * mask), "valid": l1(pred * (1 - mask), target * (1 - mask))}


def vgg_losses(vgg: nn.Module, pred: Tensor, target: Tensor, mask: Tensor) -> Losses:
    """Return the perceptual and the style loss, L1 of features and of Gram matrices, of output and composite summed.

    As in the code, VGG-16 gets images in [0, 1], not normalised as for its training. The features of each image are
    computed once for both losses.

    Args:
        vgg: the helper.
        pred: (N, 3, H, W) in [0, 1], not composited.
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
    """Turn the authors' state dict, bare or under "generator" in their checkpoint, into ours."""
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
