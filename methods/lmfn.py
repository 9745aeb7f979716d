"""LMFN: a lightweight multi-information fusion network for deblurring.

Paper: Y. Zhang, Y. Liu, Q. Li, M. Qi, D. Xu, J. Kong, J. Wang, "Image Deblurring Based on Lightweight Multi-Information
Fusion Network", ICIP 2021. Code: the paper names none; its authors' LiQiang0307/LFDN (no licence), commit db61afc,
holds the network (class RFDN) with other attention modules. Where the paper prints no size, that code's is used. The
network then has 1.22 M parameters; the 1.25 M of table 1 include 0.02 M of layers that the code makes and never calls.
`REPOSITORY` holds the arguments that make the network of the code, which the authors' weights fit.

Not reproduced: the sizes of table 4 (a block costs 96,950 parameters, the table's step is 30,000 to 40,000) and those
of table 3 without MSHF (1.33 M, printed 1.8 M) and without distillation (1.03 M, printed 2.9 M).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import DataError, ParamsError, at_least, supervised
from methods.layers.han import LayerAttention, VolumeAttention
from methods.layers.initial import bias_of
from methods.layers.insides import to_unit_range
from methods.layers.precision import full_precision
from methods.layers.rfdb import RFDB, rename_block
from methods.losses.pixel import mse

if TYPE_CHECKING:
    from bench.contracts import Batch, State

READINGS = (
    "The first convolution is padded; the code's is not, which shifts the grid by a pixel.",
    "The maps of 1/16, 1/8 and 1/4 are fused, with 1, 2 and 5 residual blocks, as in the code; the text has one after "
    "each downblock.",
    "One pixel shuffle by 4 leads back to the image, as in the code; the paper is silent.",
    "The encoder of table 3 without MSHF doubles its width at the first of its two downblocks; the text gives no "
    "width.",
    "Rows of the attention of eq. 1 are normalised and its products are not scaled, as eq. 1 shows neither.",
    "The loss is eq. 4 on images in [0, 1]; the authors' is on [0, 255], 65,025 times larger. Adam's steps do not "
    "depend on that, but the weight decay of 1e-4 counts for more next to a smaller gradient. A loss weight of 65025 "
    "undoes it.",
)

MEAN = (0.4488, 0.4371, 0.4040)
"""The RGB mean, in [0, 1], that is subtracted from the input and added to the output (code)."""

PEAK = 255.0
"""The code works on images in [0, 255]: ours are multiplied by it, so that its weights fit and attentions saturate."""

REPOSITORY = {"attention": "repository", "head_padding": 0, "trainable_mean": True}
"""The arguments that make the network of the authors' code."""


class ResBlock(nn.Module):
    """x + 3x3(ReLU(3x3(x))) without norms, (N, C, H, W) to the same; starts at 0.1 of Kaiming's scale (code).

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter)
                parameter.data *= 0.1
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def enlarge(x: Tensor) -> Tensor:
    """Double height and width bilinearly, corners not aligned: (N, C, h, w) to (N, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class MSHF(nn.Module):
    """Multi-scale hierarchical fusion: four halvings, then the way back to 1/4 (Section 3.2).

    (N, 3, H, W) to (N, C, H/4, W/4); H and W multiples of 16.

    Args:
        channels: C on every scale.
        head_padding: zero padding of the first convolution, in pixels: 1, or the code's 0.
    """

    def __init__(self, channels: int, head_padding: int):
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=head_padding)
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(4))
        self.sixteenth = ResBlock(channels)
        self.eighth = nn.ModuleList(ResBlock(channels) for _ in range(2))
        self.quarter = nn.ModuleList(ResBlock(channels) for _ in range(5))

    def scales(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the fused maps (N, C, h, w) at 1/4, 1/8 and 1/16 of the size of `x` (N, 3, H, W)."""
        half = F.leaky_relu(self.down[0](F.leaky_relu(self.head(x), 0.1)), 0.1)
        quarter = F.leaky_relu(self.down[1](half), 0.1)
        eighth = F.leaky_relu(self.down[2](quarter), 0.1)
        sixteenth = self.sixteenth(F.leaky_relu(self.down[3](eighth), 0.1))
        eighth = self.eighth[1](self.eighth[0](eighth) + enlarge(sixteenth))
        quarter = self.quarter[1](self.quarter[0](quarter)) + enlarge(eighth)
        for block in self.quarter[2:]:
            quarter = block(quarter)
        return quarter, eighth, sixteenth

    def forward(self, x: Tensor) -> Tensor:
        return self.scales(x)[0]


class PlainEncoder(nn.Module):
    """The encoder of table 3 without MSHF: two stride-2 convolutions, a residual block after each.

    (N, 3, H, W) to (N, 2C, H/4, W/4).

    Args:
        channels: C, the width of the first convolution.
        head_padding: as in MSHF.
    """

    def __init__(self, channels: int, head_padding: int):
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=head_padding)
        self.down1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.block1 = ResBlock(2 * channels)
        self.down2 = nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1)
        self.block2 = ResBlock(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.head(x), 0.1)
        x = self.block1(F.leaky_relu(self.down1(x), 0.1))
        return self.block2(F.leaky_relu(self.down2(x), 0.1))


class ALFM(nn.Module):
    """Attention layer fusion (eq. 1, 2): each channel of each block is corrected by the channels that it resembles.

    (N, B*C, H, W), the B block outputs joined, to the same. With q their (B*C, H*W) matrix:
    theta * softmax(q q^T) q + q. The products grow with the image and saturate the softmax: they stay in float32 under
    autocast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1))

    def queries(self, x: Tensor) -> Tensor:
        """Return the transposed q, (N, H*W, B*C): a view of channels-last memory."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).float()

    def attention(self, queries: Tensor) -> Tensor:
        """Return softmax(q q^T), (N, B*C, B*C): row i is what channel i takes of each channel, and sums to 1."""
        return torch.softmax(queries.mT @ queries, -1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        with full_precision(x):
            queries = self.queries(x)
            mended = queries @ self.attention(queries).mT
        return x + self.theta * mended.unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def between_blocks(self, x: Tensor, num_blocks: int) -> Tensor:
        """Return what a block's channels take of each block on average, (N, B, B); rows sum to 1."""
        with full_precision(x):
            attention = self.attention(self.queries(x))
        return attention.unflatten(-1, (num_blocks, -1)).sum(-1).unflatten(1, (num_blocks, -1)).mean(2)


class ACFM(nn.Module):
    """Attention channel fusion (eq. 3): f + alpha * sigmoid(conv2(conv1(f))) * f, (N, C, H, W) to the same.

    The C channels are the depth of a volume of one channel: conv1 is 1x3x3, conv2 is 3x1x1, with nothing between them.
    They are computed as one 3x3 filter on every channel and three shifts of the channels: the same sums, several times
    faster on a CPU than convolutions of volumes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 3, padding=1)
        self.conv2 = nn.Conv1d(1, 1, 3, padding=1)
        self.alpha = nn.Parameter(torch.zeros(1))

    def gate(self, x: Tensor) -> Tensor:
        """Return sigmoid(conv2(conv1(f))), of the shape of `x`, in (0, 1)."""
        channels = x.shape[1]
        spatial = F.conv2d(x, self.conv1.weight.expand(channels, 1, 3, 3), padding=1, groups=channels)
        depth = F.pad(spatial + bias_of(self.conv1), (0, 0, 0, 0, 1, 1))
        before, here, after = self.conv2.weight.flatten()
        mixed = before * depth[:, :-2] + here * depth[:, 1:-1] + after * depth[:, 2:] + bias_of(self.conv2)
        return torch.sigmoid(mixed)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.alpha * self.gate(x) * x


class MeanShift(nn.Module):
    """Add `sign` times the mean to an image in [0, 255], (N, 3, H, W): fixed, and in float32 under autocast too."""

    shift: Tensor

    def __init__(self, sign: int):
        super().__init__()
        self.register_buffer("shift", sign * PEAK * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


def mean_convolution(sign: int) -> nn.Conv2d:
    """Make the shift of `MeanShift` as a trained 1x1 convolution: the code means to freeze it and does not."""
    conv = nn.Conv2d(3, 3, 1)
    conv.weight.data = torch.eye(3).view(3, 3, 1, 1)
    conv.bias = nn.Parameter(sign * PEAK * torch.tensor(MEAN))
    return conv


class LMFN(nn.Module):
    """An encoder to 1/4 of the size, a chain of RFDBs, two attentions on them, one pixel shuffle back (Fig. 1).

    Args:
        channels: width of the encoder, 64.
        block_channels: width of the blocks, 50 (code); at least 4.
        num_blocks: RFDBs in the chain, 1 to 6; table 4.
        attention: "paper" for ALFM and ACFM; "repository" for the code's two modules; "none" joins the block outputs by
            a 1x1 convolution alone, table 3.
        mshf: False replaces MSHF by PlainEncoder, table 3.
        distillation: False replaces every RFDB by a residual block, table 3.
        head_padding: of the first convolution, in pixels: 1, or the code's 0.
        trainable_mean: shift the mean by trained 1x1 convolutions, as the code does; otherwise the shift is fixed.

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(
        self,
        channels: int = 64,
        block_channels: int = 50,
        num_blocks: int = 4,
        attention: str = "paper",
        mshf: bool = True,
        distillation: bool = True,
        head_padding: int = 1,
        trainable_mean: bool = False,
    ):
        super().__init__()
        check_arguments(channels, block_channels, num_blocks, attention, head_padding)
        self.sub_mean = mean_convolution(-1) if trainable_mean else MeanShift(-1)
        self.encoder = (MSHF if mshf else PlainEncoder)(channels, head_padding)
        self.reduce = nn.Conv2d(channels if mshf else 2 * channels, block_channels, 3, padding=1)
        block = RFDB if distillation else ResBlock
        self.blocks = nn.ModuleList(block(block_channels) for _ in range(num_blocks))
        self.fuse = nn.Conv2d(num_blocks * block_channels, block_channels, 1)
        self.attention = attention
        if attention != "none":
            self.layer_attention = ALFM() if attention == "paper" else LayerAttention(num_blocks)
            self.channel_attention = ACFM() if attention == "paper" else VolumeAttention()
            self.join = nn.Conv2d(2 * block_channels, block_channels, 3, padding=1)
        self.exit = nn.Conv2d(block_channels, 3 * 16, 3, padding=1)
        self.add_mean = mean_convolution(1) if trainable_mean else MeanShift(1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (N, 3, H, W), RGB in [0, 1]; the result has the same shape and is not clipped.

        Raises:
            DataError: H or W is not a multiple of 16, or below 64.
        """
        check_size(x)
        reduced = self.reduce(self.encoder(self.sub_mean(PEAK * x)))
        outputs = self.decode(reduced)
        joined, features = torch.cat(outputs, 1), outputs[-1]
        if self.attention == "none":
            features = F.leaky_relu(self.fuse(joined), 0.05)
        else:
            layers = F.leaky_relu(self.fuse(self.layer_attention(joined)), 0.05)
            features = self.join(torch.cat((layers, self.channel_attention(features)), 1))
        return self.add_mean(F.pixel_shuffle(self.exit(features + reduced), 4)) / PEAK

    def decode(self, reduced: Tensor) -> list[Tensor]:
        """Return the outputs of the blocks in order, each of the shape of `reduced` (N, block_channels, H/4, W/4)."""
        outputs = [reduced]
        for block in self.blocks:
            outputs.append(block(outputs[-1]))
        return outputs[1:]


def check_arguments(channels: int, block_channels: int, num_blocks: int, attention: str, head_padding: int) -> None:
    """Raise ParamsError for arguments out of their ranges."""
    at_least(1, "lmfn", channels=channels)
    at_least(4, "lmfn", block_channels=block_channels)  # ESA works in a quarter of them
    if not 1 <= num_blocks <= 6:
        raise ParamsError(f"lmfn: num_blocks is {num_blocks}; expected 1 to 6 (table 4)")
    if attention not in ("paper", "repository", "none"):
        raise ParamsError(f"lmfn: attention is {attention!r}; expected 'paper', 'repository' or 'none'")
    if head_padding not in (0, 1):
        raise ParamsError(f"lmfn: head_padding is {head_padding}; expected 1, or 0 as in the authors' code")


def check_size(x: Tensor) -> None:
    """Raise DataError for an image whose scales do not fit together or that is too small for ESA."""
    height, width = x.shape[-2:]
    if height % 16 or width % 16 or min(height, width) < 64:
        raise DataError(
            f"lmfn: the image is {height}x{width} pixels (height x width), "
            "expected sides that are multiples of 16 and at least 64; pad it"
        )


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """Return the maps of MSHF at each scale, what blocks take of each other, and where the gate opens, for one image.

    A map of many channels is shown by the channels' mean. The attention has one row per block: the share of each block
    that its channels take, 1 in all. For ALFM the shares are added over the channels of the block that is taken from
    and averaged over the block's own.
    """
    network = networks["network"]
    assert isinstance(network, LMFN)
    features = network.sub_mean(PEAK * batch["x"])
    images: dict[str, Tensor] = {}
    if isinstance(network.encoder, MSHF):
        for name, scale in zip(("1/4", "1/8", "1/16"), network.encoder.scales(features), strict=True):
            images[f"MSHF at {name}: mean of the channels, own range"] = to_unit_range(scale.mean(1, True))
    if network.attention == "none":
        return images
    outputs = network.decode(network.reduce(network.encoder(features)))
    between = network.layer_attention.between_blocks(torch.cat(outputs, 1), len(outputs))
    gate = network.channel_attention.gate(outputs[-1]).mean(1, True)
    return images | {
        "attention between blocks: a row takes of the columns": between[:, None],
        "gate of the last block: mean of the channels": gate,
        "theta, alpha": torch.cat((network.layer_attention.theta, network.channel_attention.alpha)),
    }


OFFICIAL = {
    "sub_mean": "sub_mean",
    "encode.conv_first": "encoder.head",
    "encode.stride_conv_hr1": "encoder.down.0",
    "encode.stride_conv_hr2": "encoder.down.1",
    "encode.stride_conv_l2": "encoder.down.2",
    "encode.stride_conv_l3": "encoder.down.3",
    "encode.resblock_l3": "encoder.sixteenth",
    "encode.resblock_l2_1": "encoder.eighth.0",
    "encode.resblock_l2_2": "encoder.eighth.1",
    "encode.resblock_l1": "encoder.quarter",
    "fea_conv": "reduce",
    "c.0": "fuse",
    "lam.gamma": "layer_attention.theta",
    "scam.gamma": "channel_attention.alpha",
    "scam.conv": "channel_attention.conv",
    "last": "join",
    "upsampler.0": "exit",
    "add_mean": "add_mean",
}
"""Names in the authors' code, or their beginnings, to ours; without those of the blocks B1, B2, ..."""

UNUSED = ("LR_conv.", "final_lym.")
"""Layers that the authors' code makes and never calls: 23,903 parameters without effect."""


def rename(name: str) -> str:
    """Turn a tensor's name in the authors' code into ours; an unknown name is kept.

    >>> rename("encode.conv_first.bias")
    'encoder.head.bias'
    """
    head, _, rest = name.partition(".")
    if head[0] == "B" and head[1:].isdigit():
        return f"blocks.{int(head[1:]) - 1}.{rename_block(rest)}"
    for official, ours in OFFICIAL.items():
        if name == official or name.startswith(f"{official}."):
            return ours + name[len(official) :]
    return name


def reference(state: State) -> State:
    """Turn the state dict of the authors' code into that of `LMFN(**REPOSITORY)`, without UNUSED."""
    return {rename(name): tensor for name, tensor in state.items() if not name.startswith(UNUSED)}


method = supervised(
    "deblur",
    LMFN,
    mse,
    reference=reference,
    tiny={"channels": 8, "block_channels": 8, "num_blocks": 2},
    multiple=16,
    min_size=64,
    tiling="ALFM and ESA look at the whole image, so every pixel depends on all others: overlapping tiles are restored "
    "separately, and the result differs from the whole image's.",
    insides=insides,
    readings=READINGS,
    limits=("Sides must be multiples of 16 and at least 64 pixels: four halvings, and ESA's pooling at a quarter.",),
)
