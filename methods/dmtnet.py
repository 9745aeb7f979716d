"""DMTNet: window transformer blocks extract features, dynamic multi-scale residual groups restore the image.

Paper: D. Zhang and X. Wang, "DMTNet: Dynamic Multi-scale Network for Dual-pixel Images Defocus Deblurring with
Transformer", arXiv 2209.06040, 2022. No code is public: this network is made from the paper. Where the text is silent
its printed parameters and multiply-adds decide (Table 1, convolutions and linear layers at 1680 x 1120); ours are
within 0.2 % of the parameters and 0.7 % of the multiply-adds for all five sizes, which are variants of the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from bench.contracts import ParamsError, at_least, supervised
from methods.layers import token_start
from methods.layers.initial import Tap, select_pixels_
from methods.layers.insides import to_unit_range
from methods.layers.window_attention import WindowBlock
from methods.losses.pixel import charbonnier

if TYPE_CHECKING:
    from bench.contracts import Batch

READINGS = (
    "Size T has ten transformer blocks, S to H have five: T's printed size fits ten alone; Section 4.2 gives five.",
    "Attention windows are 10 tokens wide: in the text C is about W^2, and 10 divides the 280 x 420 tokens of a test "
    "image. There are 3 heads, an MLP ratio of 4 and the relative position bias of Swin.",
    'Windows do not shift: the text calls them "non-overlapping".',
    "A DMSSRM has three scales (Fig. 5), at 1, 1/2 and 1/4 of the tokens, each with one residual group of 5 x 10 "
    "residual modules closed by a convolution at both levels, as in RCAN (Zhang et al., ECCV 2018).",
    "Scales are reached by pixel-unshuffle and left by pixel-shuffle (Vu et al., ECCV workshops 2018, cited for the "
    "up-sampling), with 1x1 convolutions from and to 96 channels.",
    "A PReLU has one slope per layer.",
    "The scale weights of eq. 15 and 16 are one number per scale and image.",
    'Removing the selection (Table 2) means to add the scales with weight 1; `selection: "mean"` takes their mean.',
    "Size T has no reconstruction: F_S = F_E. With one DMSSRM and more, F_S = F_D + F_0 (eq. 13).",
    "Up-sampling consists of 3x3 convolutions to 96, 48 and 3 channels with pixel-shuffle by 2 after the first two.",
    "The network gives the image itself: two views have no single image to add a residual to.",
    "Without the transformer (Table 2), two 3x3 convolutions of stride 2 with a PReLU between them replace partition "
    "and blocks.",
    "The paper does not give initial weights. The untrained network passes on the mean of the two views, so that "
    "training starts from the blurred image, not from noise; all weights are free. This takes more than 48 channels: "
    "with 48 the layer norm removes the brightness, with fewer some pixels of a token have no channel, and the network "
    "learns both from the data, which takes longer.",
)

SCALES = (1, 2, 4)
"""Factors by which the branches of a DMSSRM are smaller than the map of tokens."""

FIXED_WEIGHTS = {"sum": 1.0, "mean": 1 / len(SCALES)}
"""Weights of the scales without selection, by the argument `selection`."""


class PatchPartition(nn.Module):
    """Two stacked views (N, 6, H, W) to tokens (N, C, H/4, W/4): a convolution of stride 4, a layer norm (eq. 2).

    It is float32 under autocast too: next to the constants that it starts with, pixels in bfloat16 would lose their
    last bits.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(6, channels, token_start.SIDE, token_start.SIDE)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return self.norm(self.conv(x.to(self.conv.weight.dtype)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TransformerExtraction(nn.Module):
    """Patch partition and window blocks (eq. 2, 3, 10, 11): (N, 6, H, W) to (N, C, H/4, W/4).

    Arguments as in `DMTNet`.
    """

    def __init__(
        self, channels: int, num_blocks: int, window_size: int, num_heads: int, relative_bias: bool, shifted: bool
    ):
        super().__init__()
        self.partition = PatchPartition(channels)
        shifts = [window_size // 2 if shifted and i % 2 else 0 for i in range(num_blocks)]
        self.blocks = nn.ModuleList(
            WindowBlock(channels, window_size, num_heads, shift, relative_bias=relative_bias) for shift in shifts
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.partition(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class ConvExtraction(nn.Sequential):
    """Two 3x3 convolutions of stride 2, Table 2 without the transformer: (N, 6, H, W) to (N, `channels`, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(6, channels, 3, 2, padding=1), nn.PReLU(), nn.Conv2d(channels, channels, 3, 2, padding=1)
        )


class RM(nn.Module):
    """Residual module: 3x3, PReLU, 3x3 and a skip; (N, C, H, W) to the same.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.act(self.conv1(x)))


class RBM(nn.Module):
    """Residual block module: RMs, a 3x3 convolution and a skip; (N, C, H, W) to the same.

    Args:
        channels: C.
        num_rm: number of RMs.
    """

    def __init__(self, channels: int, num_rm: int):
        super().__init__()
        self.rms = nn.Sequential(*(RM(channels) for _ in range(num_rm)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.rms(x))


class RGM(nn.Module):
    """Residual group module: RBMs, a 3x3 convolution and a skip; (N, C, H, W) to the same.

    Args:
        channels: C.
        num_rbm: number of RBMs.
        num_rm: number of RMs in each RBM.
    """

    def __init__(self, channels: int, num_rbm: int, num_rm: int):
        super().__init__()
        self.blocks = nn.Sequential(*(RBM(channels, num_rm) for _ in range(num_rbm)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x))


class ScaleBranch(nn.Sequential):
    """F_scale of eq. 14, an RGM on a map `scale` times smaller: (N, C, h, w) to the same, sides multiples of `scale`.

    Other arguments as in `DMTNet`.
    """

    def __init__(self, channels: int, rgm_channels: int, num_rbm: int, num_rm: int, scale: int):
        back = nn.Conv2d(rgm_channels // scale**2, channels, 1)  # drawn first: the order of draws is part of a seed
        super().__init__(
            nn.PixelUnshuffle(scale),
            nn.Conv2d(channels * scale**2, rgm_channels, 1),
            RGM(rgm_channels, num_rbm, num_rm),
            nn.PixelShuffle(scale),
            back,
        )


class DMSSRM(nn.Module):
    """Dynamic multi-scale sub-reconstruction module, eq. 14 to 16: (N, C, h, w) to the same, h and w multiples of 4.

    Other arguments as in `DMTNet`.

    Args:
        selection: where the scales' weights alpha come from. "dynamic": from the map's average, softmax over the
            scales; "sum": all are 1, "mean": all are 1/3, the fixed fusion of Table 2.
    """

    def __init__(self, channels: int, rgm_channels: int, num_rbm: int, num_rm: int, selection: str):
        super().__init__()
        self.branches = nn.ModuleList(ScaleBranch(channels, rgm_channels, num_rbm, num_rm, scale) for scale in SCALES)
        self.fixed_weight = FIXED_WEIGHTS.get(selection, 0.0)
        self.select = nn.Conv2d(channels, len(SCALES), 1) if selection == "dynamic" else None
        self.fuse = nn.Conv2d(channels, channels, 1)

    def alphas(self, x: Tensor) -> Tensor:
        """Return the scales' weights (N, 3) for the map `x` (N, C, h, w), finest scale first."""
        if self.select is None:
            return x.new_full((len(x), len(SCALES)), self.fixed_weight)
        return self.select(x.mean((2, 3), keepdim=True)).flatten(1).softmax(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the new map (N, C, h, w), the weights (N, 3) and the three branches' maps before weighting."""
        alphas = self.alphas(x)
        maps = [branch(x) for branch in self.branches]
        total = x
        for alpha, map_ in zip(alphas.to(x.dtype).unbind(1), maps, strict=True):
            total = total + alpha[:, None, None, None] * map_
        return self.fuse(total), alphas, maps


class Upsampling(nn.Sequential):
    """Tokens (N, C, H/4, W/4) to the image (N, 3, H, W): 3x3, pixel-shuffle, 3x3, pixel-shuffle, 3x3 (eq. 5).

    Args:
        channels: C.
        widths: output channels of the first two convolutions, multiples of 4.
    """

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__(
            nn.Conv2d(channels, widths[0], 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(widths[0] // 4, widths[1], 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(widths[1] // 4, 3, 3, padding=1),
        )


class Details(NamedTuple):
    """What Fig. 5 shows, one entry per DMSSRM in order; empty for T.

    Args:
        scale_weights: (N, 3) each, finest scale first.
        scale_maps: three maps (N, C, H/4, W/4) each, before they are weighted.
    """

    scale_weights: list[Tensor]
    scale_maps: list[list[Tensor]]


class DMTNet(nn.Module):
    """DMTNet, eq. 1 to 6: both views in, the all-in-focus image out. The defaults are size B.

    Args:
        num_blocks: number of transformer blocks, N_T.
        num_dmssrm: number of DMSSRMs in cascade, N_D; 0 is size T.
        channels: C, a multiple of `num_heads`.
        rgm_channels: width of the residual groups, a multiple of 16.
        num_rbm: number of RBMs in an RGM.
        num_rm: number of RMs in an RBM.
        window_size: side of an attention window, in tokens of 4x4 pixels.
        num_heads: number of attention heads.
        relative_bias: add Swin's relative position bias.
        shifted: shift every second block's windows by half a window.
        transformer: False is row 1 of the ablation, Table 2: two convolutions extract the features.
        selection: "dynamic"; "sum" or "mean" is row 2 of the ablation, without adaptive weights.
        up_channels: channels of the first two up-sampling convolutions, multiples of 4; (96, 56) is closer still to the
            printed multiply-adds of T.
        right_first: stack the right view before the left, as eq. 1 does.

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(
        self,
        num_blocks: int = 5,
        num_dmssrm: int = 2,
        channels: int = 96,
        rgm_channels: int = 64,
        num_rbm: int = 5,
        num_rm: int = 10,
        window_size: int = 10,
        num_heads: int = 3,
        relative_bias: bool = True,
        shifted: bool = False,
        transformer: bool = True,
        selection: str = "dynamic",
        up_channels: Sequence[int] = (96, 48),
        right_first: bool = True,
    ):
        super().__init__()
        at_least(0, "dmtnet", num_blocks=num_blocks, num_dmssrm=num_dmssrm, num_rbm=num_rbm, num_rm=num_rm)
        at_least(1, "dmtnet", channels=channels, num_heads=num_heads, window_size=window_size)
        if rgm_channels % SCALES[-1] ** 2 or rgm_channels < 1:
            raise ParamsError(f"dmtnet: rgm_channels is {rgm_channels}; expected a multiple of {SCALES[-1] ** 2}")
        if len(up_channels) != 2 or any(width % 4 or width < 4 for width in up_channels):
            raise ParamsError(f"dmtnet: up_channels is {list(up_channels)}; expected two multiples of 4")
        if selection not in ("dynamic", *FIXED_WEIGHTS):
            raise ParamsError(f"dmtnet: selection is {selection!r}; expected 'dynamic', 'sum' or 'mean'")
        self.right_first = right_first
        self.extraction: TransformerExtraction | ConvExtraction = (
            TransformerExtraction(channels, num_blocks, window_size, num_heads, relative_bias, shifted)
            if transformer
            else ConvExtraction(channels)
        )
        self.reconstruction = nn.ModuleList(
            DMSSRM(channels, rgm_channels, num_rbm, num_rm, selection) for _ in range(num_dmssrm)
        )
        self.upsampling = Upsampling(channels, up_channels)
        start_as_mean_of_views(self)

    def restore(self, left: Tensor, right: Tensor, details: Details | None) -> Tensor:
        """Do what `forward` does; `details`, where given, is filled with the weights and maps of each DMSSRM."""
        first = self.extraction(torch.cat((right, left) if self.right_first else (left, right), 1))
        x = first
        for module in self.reconstruction:
            x, alphas, maps = module(x)
            if details is not None:
                details.scale_weights.append(alphas)
                details.scale_maps.append(maps)
        if len(self.reconstruction):
            x = x + first
        return self.upsampling(x)

    def details(self, left: Tensor, right: Tensor) -> tuple[Tensor, Details]:
        """Return the restored image and what the DMSSRMs did for it. Arguments as in `forward`."""
        details = Details([], [])
        return self.restore(left, right, details), details

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Restore from both views, (N, 3, H, W), RGB in [0, 1], sides multiples of 16; the result is not clipped."""
        return self.restore(left, right, None)


# Starting weights -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def start_as_mean_of_views(network: DMTNet) -> None:
    """Set weights so that the network passes on the mean of the two views (see `READINGS`).

    The extraction puts the pixels of the mean, less 0.5, into the first 48 channels in the order of pixel-unshuffle;
    every residual branch ends in a layer of zeros; the up-sampling is the pixel-shuffle back. Other weights keep the
    values that torch drew.
    """
    extraction = network.extraction
    if isinstance(extraction, TransformerExtraction):
        token_start.partition(extraction.partition.conv, extraction.partition.norm)
    else:
        token_start.two_convolutions(*(layer for layer in extraction if isinstance(layer, nn.Conv2d)))
    for module in network.modules():
        if isinstance(module, WindowBlock):
            zero_(module.attn.proj)
            zero_(module.mlp.fc2)
        elif isinstance(module, ScaleBranch):
            zero_(module[-1])
        elif isinstance(module, DMSSRM):
            select_pixels_(module.fuse, [Tap(channel, channel, 0, 0) for channel in range(module.fuse.out_channels)])
    gain = 0.5 if len(network.reconstruction) else 1.0  # F_D + F_0 holds the pixels twice
    first, second, last = (layer for layer in network.upsampling if isinstance(layer, nn.Conv2d))
    token_start.upsampling(first, second, last, gain)


def zero_(layer: nn.Module) -> None:
    """Set the weights and the bias of a layer to 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


# The entry ------------------------------------------------------------------------------------------------------------


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """Return the scales' weights and maps in each DMSSRM, Fig. 5, for one image; nothing for T, which has none."""
    network = networks["network"]
    assert isinstance(network, DMTNet)
    _, details = network.details(batch["left"], batch["right"])
    names = ["1" if scale == 1 else f"1/{scale}" for scale in SCALES]
    images = {}
    for i, (weights, maps) in enumerate(zip(details.scale_weights, details.scale_maps, strict=True), 1):
        images[f"DMSSRM {i}: scales {', '.join(names)}"] = weights[0]
        for name, map_ in zip(names, maps, strict=True):
            images[f"DMSSRM {i}, scale {name}: mean of the channels, own range"] = to_unit_range(map_.mean(1, True))
    return images


method = supervised(
    "dual-pixel",
    DMTNet,
    charbonnier,
    tiny={
        "num_blocks": 1,
        "num_dmssrm": 1,
        "channels": 16,
        "rgm_channels": 16,
        "num_rbm": 1,
        "num_rm": 1,
        "window_size": 4,
        "num_heads": 2,
        "up_channels": [16, 16],
    },
    multiple=16,
    min_size=16,
    tiling="Each DMSSRM weights its scales by an average over the image, so every tile has different weights and "
    "differs slightly from the whole image.",
    insides=insides,
    readings=READINGS,
)
