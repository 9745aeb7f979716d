"""DMTNet: window transformer blocks extract features, dynamic multi-scale residual groups restore the image.

Paper: D. Zhang and X. Wang, "DMTNet: Dynamic Multi-scale Network for Dual-pixel Images Defocus Deblurring with
Transformer", arXiv 2209.06040, 2022. There is no public code, so this is a reading of the paper. Its printed parameters
and multiply-adds (Table 1, convolutions and linear layers at 1680 x 1120) decide where the text is silent; ours are
within 0.2 % of the parameters and 0.7 % of the multiply-adds for all five sizes.

Our readings:
- T has ten transformer blocks and S to H five: T's printed size fits ten alone; Section 4.2 says five and tells no
  sizes apart (`SIZES`).
- Windows of 10 tokens (the text: C is about W^2; 10 divides the 280 x 420 tokens of a test image), 3 heads, an MLP
  ratio of 4 and Swin's relative position bias; windows do not shift ("non-overlapping").
- DMSSRM has three scales (Fig. 5), at 1, 1/2 and 1/4 of the tokens, each with one residual group of 5 x 10 residual
  modules closed by a convolution at both levels, as in RCAN (Zhang et al., ECCV 2018). Scales are reached by
  pixel-unshuffle and left by pixel-shuffle (Vu et al., ECCV workshops 2018, cited for the up-sampling) with 1x1
  convolutions from and to 96 channels.
- PReLU has one slope a layer. Scale weights are one number a scale and image (eq. 15, 16).
- T has no reconstruction: F_S = F_E. With one and more, F_S = F_D + F_0 (eq. 13).
- Up-sampling: 3x3 convolutions to 96, 48 and 3 channels with pixel-shuffle by 2 after the first and the second.
- The network gives the image itself: two views have no single image to add a residual to.
- Without the transformer (Table 2) two 3x3 convolutions of stride 2, with a PReLU between, replace partition and
  blocks.

Our choice of initial weights, on which the paper is silent: the untrained network passes the mean of the two views on.
Partition puts the pixels of the views' mean into the first 48 channels (a pixel-unshuffle), constants of mixed sign
keep the layer norm after it nearly linear, every residual branch ends in a layer that starts at zero, and the
up-sampling begins as the pixel-shuffle back. Learning then starts from the blurred image, not from noise. All weights
stay free. This takes more than 48 channels: with fewer some pixels of a token find no room, and with 48 the norm keeps
no brightness; such a network learns both from the data, which takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from bench.contracts import ParamsError, supervised
from methods.layers.initial import Tap, select_pixels_
from methods.layers.insides import to_unit_range
from methods.layers.window_attention import WindowBlock
from methods.losses.pixel import charbonnier

if TYPE_CHECKING:
    from bench.contracts import Batch

PATCH_SIZE = 4
"""Pixels a token's side, P in Section 4.2."""

SCALES = (1, 2, 4)
"""How much smaller each branch of DMSSRM is than the map of tokens."""

SIZES = {
    "T": {"num_blocks": 10, "num_dmssrm": 0},
    "S": {"num_blocks": 5, "num_dmssrm": 1},
    "B": {"num_blocks": 5, "num_dmssrm": 2},
    "L": {"num_blocks": 5, "num_dmssrm": 3},
    "H": {"num_blocks": 5, "num_dmssrm": 4},
}
"""The arguments of Table 1's five sizes; everything else is the default."""


def token_channel(colour: int, row: int, column: int) -> int:
    """The channel of a pixel of a token in pixel-unshuffle's order."""
    return (colour * PATCH_SIZE + row) * PATCH_SIZE + column


def zero_(layer: nn.Conv2d | nn.Linear) -> None:
    """Start a residual branch at zero by its last layer."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class PatchPartition(nn.Module):
    """Two stacked views (N, 6, H, W) to tokens (N, C, H/4, W/4): a convolution of stride 4, a layer norm (eq. 2).

    In float32 under autocast too: beside the constants that it starts with, pixels in bfloat16 would lose their last
    bits.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(6, channels, PATCH_SIZE, PATCH_SIZE)
        self.norm = nn.LayerNorm(channels)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Half sums of the two views' pixels less 0.5, then half differences, each in the order of pixel-unshuffle.

        The norm would take each token's brightness and contrast away. So the channels after the pixels subtract what
        those add to the mean, and carry constants of both signs that hold the deviation near 4; the norm's own weight
        and bias undo this, within 2 % of a pixel's distance from 0.5. Without channels after the pixels all carry the
        constants.
        """
        channels, pixels, deviation = self.conv.out_channels, 3 * PATCH_SIZE**2, 4.0
        taps = []
        for output in range(2 * pixels):
            colour, pixel = divmod(output % pixels, PATCH_SIZE**2)
            sign = 1 if output < pixels else -1
            row, column = divmod(pixel, PATCH_SIZE)
            taps += [Tap(output, colour, row, column, 0.5), Tap(output, colour + 3, row, column, 0.5 * sign)]
        select_pixels_(self.conv, taps)
        assert self.conv.bias is not None
        self.conv.bias[:pixels] -= 0.5
        constant = torch.zeros_like(self.conv.bias)
        carriers = constant[pixels:] if channels > pixels else constant
        carriers[::2], carriers[1::2] = 1.0, -1.0
        if channels > pixels:
            self.conv.weight[pixels:] -= self.conv.weight[:pixels].sum(0) / (channels - pixels)
            self.conv.bias[pixels:] -= self.conv.bias[:pixels].sum() / (channels - pixels)
        constant *= deviation * (channels / len(carriers)) ** 0.5
        self.conv.bias += constant
        self.norm.weight.fill_(deviation)
        self.norm.bias.copy_(-constant)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return self.norm(self.conv(x.to(self.conv.weight.dtype)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TransformerExtraction(nn.Module):
    """Patch partition and `num_blocks` window blocks (eq. 2, 3, 10, 11): (N, 6, H, W) to (N, C, H/4, W/4)."""

    def __init__(
        self, channels: int, num_blocks: int, window_size: int, num_heads: int, relative_bias: bool, shifted: bool
    ):
        super().__init__()
        self.partition = PatchPartition(channels)
        shifts = [window_size // 2 if shifted and i % 2 else 0 for i in range(num_blocks)]
        self.blocks = nn.ModuleList(
            WindowBlock(channels, window_size, num_heads, shift, relative_bias=relative_bias) for shift in shifts
        )
        for block in self.blocks:
            assert isinstance(block, WindowBlock)
            zero_(block.attn.proj)
            zero_(block.mlp.fc2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.partition(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class ConvExtraction(nn.Sequential):
    """Table 2's row without the transformer: two 3x3 convolutions of stride 2; (N, 6, H, W) to (N, C, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(6, channels, 3, 2, padding=1), nn.PReLU(), nn.Conv2d(channels, channels, 3, 2, padding=1)
        )
        first, last = self[0], self[2]
        assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d)
        colours, bits = range(3), (0, 1)
        half = [(4 * c + 2 * i + j, c, i, j) for c in colours for i in bits for j in bits]
        select_pixels_(first, [Tap(o, c + view, i + 1, j + 1, 0.5) for o, c, i, j in half for view in (0, 3)])
        taps = [
            Tap(token_channel(c, 2 * y + i, 2 * x + j), o, y + 1, x + 1)
            for o, c, i, j in half
            for y in bits
            for x in bits
        ]
        select_pixels_(last, taps, bias=-0.5)


class RM(nn.Module):
    """Residual module: 3x3, PReLU, 3x3 and a skip; (N, C, H, W) to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.act(self.conv1(x)))


class RBM(nn.Module):
    """Residual block module: `num_rm` RMs, a 3x3 convolution and a skip; (N, C, H, W) to the same."""

    def __init__(self, channels: int, num_rm: int):
        super().__init__()
        self.rms = nn.Sequential(*(RM(channels) for _ in range(num_rm)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.rms(x))


class RGM(nn.Module):
    """Residual group module: `num_rbm` RBMs, a 3x3 convolution and a skip; (N, C, H, W) to the same."""

    def __init__(self, channels: int, num_rbm: int, num_rm: int):
        super().__init__()
        self.blocks = nn.Sequential(*(RBM(channels, num_rm) for _ in range(num_rbm)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x))


class ScaleBranch(nn.Sequential):
    """F_scale of eq. 14: (N, C, h, w) to the same by way of a map `scale` times smaller; sides multiples of `scale`."""

    def __init__(self, channels: int, rgm_channels: int, num_rbm: int, num_rm: int, scale: int):
        back = nn.Conv2d(rgm_channels // scale**2, channels, 1)
        super().__init__(
            nn.PixelUnshuffle(scale),
            nn.Conv2d(channels * scale**2, rgm_channels, 1),
            RGM(rgm_channels, num_rbm, num_rm),
            nn.PixelShuffle(scale),
            back,
        )
        zero_(back)


class DMSSRM(nn.Module):
    """Dynamic multi-scale sub-reconstruction module, eq. 14 to 16: (N, C, h, w) to the same, h and w multiples of 4.

    Args:
        selection: where the scales' weights alpha come from. "dynamic": from the map's average, softmax over the
            scales; "sum": all 1, "mean": all 1/3, the fixed fusion of Table 2 (our reading of "remove the selection" is
            the sum).
    """

    def __init__(self, channels: int, rgm_channels: int, num_rbm: int, num_rm: int, selection: str):
        super().__init__()
        self.branches = nn.ModuleList(ScaleBranch(channels, rgm_channels, num_rbm, num_rm, scale) for scale in SCALES)
        self.fixed = {"dynamic": None, "sum": 1.0, "mean": 1 / len(SCALES)}[selection]
        self.select = nn.Conv2d(channels, len(SCALES), 1) if self.fixed is None else None
        self.fuse = nn.Conv2d(channels, channels, 1)
        select_pixels_(self.fuse, [Tap(channel, channel, 0, 0) for channel in range(channels)])

    def alphas(self, x: Tensor) -> Tensor:
        """The scales' weights (N, 3) for the map `x`, finest scale first."""
        if self.fixed is not None:
            return x.new_full((len(x), len(SCALES)), self.fixed)
        assert self.select is not None
        return self.select(x.mean((2, 3), keepdim=True)).flatten(1).softmax(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The new map, the weights (N, 3) and the three branches' maps before weighting."""
        alphas = self.alphas(x)
        maps = [branch(x) for branch in self.branches]
        total = x
        for alpha, map_ in zip(alphas.to(x.dtype).unbind(1), maps, strict=True):
            total = total + alpha[:, None, None, None] * map_
        return self.fuse(total), alphas, maps


class Upsampling(nn.Sequential):
    """Tokens (N, C, H/4, W/4) to the image (N, 3, H, W): 3x3, pixel-shuffle, 3x3, pixel-shuffle, 3x3 (eq. 5).

    Args:
        widths: output channels of the first two convolutions, multiples of 4.
        gain: what the untrained layers multiply the pixels in the map by.
    """

    def __init__(self, channels: int, widths: Sequence[int], gain: float):
        convs = [
            nn.Conv2d(channels, widths[0], 3, padding=1),
            nn.Conv2d(widths[0] // 4, widths[1], 3, padding=1),
            nn.Conv2d(widths[1] // 4, 3, 3, padding=1),
        ]
        super().__init__(convs[0], nn.PixelShuffle(2), convs[1], nn.PixelShuffle(2), convs[2])
        colours, bits = range(3), (0, 1)
        half = [(4 * c + 2 * i + j, c, i, j) for c in colours for i in bits for j in bits]
        first = [
            Tap(4 * o + 2 * y + x, token_channel(c, 2 * y + i, 2 * x + j), 1, 1, gain)
            for o, c, i, j in half
            for y in bits
            for x in bits
        ]
        select_pixels_(convs[0], first)
        select_pixels_(convs[1], [Tap(o, o, 1, 1) for o, *_ in half])
        select_pixels_(convs[2], [Tap(c, c, 1, 1) for c in colours], bias=0.5)


class Details(NamedTuple):
    """What Fig. 5 shows, one entry a DMSSRM in order; none for T.

    Args:
        scale_weights: (N, 3) each, finest scale first.
        scale_maps: three maps (N, C, H/4, W/4) each, before they are weighted.
    """

    scale_weights: list[Tensor]
    scale_maps: list[list[Tensor]]


class DMTNet(nn.Module):
    """DMTNet, eq. 1 to 6: both views in, the all-in-focus image out. `SIZES` has the arguments of T, S, B, L and H.

    Args:
        num_blocks: transformer blocks, N_T.
        num_dmssrm: DMSSRMs in cascade, N_D; 0 is size T.
        channels: C, a multiple of `num_heads`.
        rgm_channels: width of the residual groups, a multiple of 16.
        num_rbm: RBMs in an RGM.
        num_rm: RMs in an RBM.
        window_size: side of an attention window in tokens of 4 pixels.
        num_heads: attention heads.
        relative_bias: Swin's relative position bias.
        shifted: shift every second block's windows by half a window.
        transformer: False is row 1 of the ablation, Table 2: two convolutions extract the features.
        selection: "dynamic"; "sum" or "mean" is row 2 of the ablation, without adaptive weights.
        up_channels: channels of the first two up-sampling convolutions, multiples of 4; (96, 56) meets the printed
            multiply-adds of T still closer.
        right_first: stack the right view before the left, as eq. 1 does.

    Raises:
        ParamsError: for widths that cannot be split as said, and an unknown `selection`.
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
        counts = {"num_blocks": num_blocks, "num_dmssrm": num_dmssrm, "num_rbm": num_rbm, "num_rm": num_rm}
        for name, value in counts.items():
            if value < 0:
                raise ParamsError(f"dmtnet: {name} is {value}; expected 0 or more")
        for name, value in {"channels": channels, "num_heads": num_heads, "window_size": window_size}.items():
            if value < 1:
                raise ParamsError(f"dmtnet: {name} is {value}; expected 1 or more")
        if rgm_channels % SCALES[-1] ** 2 or rgm_channels < 1:
            raise ParamsError(f"dmtnet: rgm_channels is {rgm_channels}; expected a multiple of {SCALES[-1] ** 2}")
        if len(up_channels) != 2 or any(width % 4 or width < 4 for width in up_channels):
            raise ParamsError(f"dmtnet: up_channels is {list(up_channels)}; expected two multiples of 4")
        if selection not in ("dynamic", "sum", "mean"):
            raise ParamsError(f"dmtnet: selection is {selection!r}; expected 'dynamic', 'sum' or 'mean'")
        self.right_first = right_first
        self.extraction = (
            TransformerExtraction(channels, num_blocks, window_size, num_heads, relative_bias, shifted)
            if transformer
            else ConvExtraction(channels)
        )
        self.reconstruction = nn.ModuleList(
            DMSSRM(channels, rgm_channels, num_rbm, num_rm, selection) for _ in range(num_dmssrm)
        )
        self.upsampling = Upsampling(channels, up_channels, gain=0.5 if num_dmssrm else 1.0)

    def restore(self, left: Tensor, right: Tensor, details: Details | None) -> Tensor:
        """The restored image; `details`, where given, is filled with what each DMSSRM did."""
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
        """The restored image and what the DMSSRMs did for it. Arguments as in `forward`."""
        details = Details([], [])
        return self.restore(left, right, details), details

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Restore from both views, (N, 3, H, W), RGB in [0, 1], sides multiples of 16; the result is not clipped."""
        return self.restore(left, right, None)


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """The scales' weights and maps in each DMSSRM, Fig. 5, for one image; nothing for T, which has none."""
    network = networks["network"]
    assert isinstance(network, DMTNet)
    _, details = network.details(batch["left"], batch["right"])
    names = ["1" if scale == 1 else f"1/{scale}" for scale in SCALES]
    found = {}
    for i, (weights, maps) in enumerate(zip(details.scale_weights, details.scale_maps, strict=True), 1):
        found[f"DMSSRM {i}: scales {', '.join(names)}"] = weights[0]
        for name, map_ in zip(names, maps, strict=True):
            found[f"DMSSRM {i}, scale {name}: mean of the channels, own range"] = to_unit_range(map_.mean(1, True))
    return found


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
    tiling="each DMSSRM weighs its scales by an average over all that it sees, so every tile has its own weights and"
    " differs slightly from the whole image",
    insides=insides,
)
