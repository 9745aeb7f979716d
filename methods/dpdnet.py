"""DPDNet and DPDNet+: a U-Net from the two dual-pixel views to the all-in-focus image.

Paper: A. Abuolaim and M. S. Brown, "Defocus Deblurring Using Dual-Pixel Data", ECCV 2020.
Code: Abdullah-Abuolaim/defocus-deblurring-dual-pixel (MIT), commit 7ebf77e, Keras. DPDNet+ (Abuolaim et al., ICCV 2021)
is the same network trained on Canon and synthetic data; the table of DMTNet's paper counts a build with 3x3
up-convolutions.

The authors' network sees its images as OpenCV reads them, blue first. Ours is RGB like every other: `from_keras` turns
the kernels of the first and the last layer round instead of turning the images.

The trap of this network: three channels pass a ReLU before the last 1x1 convolution and the sigmoid. The ReLU's inputs
come from 576 values that are never negative, so a kernel whose weights sum to little is closed by a few steps of
training, and a channel that is zero for every pixel has no gradient to come back by: with one dead a colour is lost,
with three dead the result is one flat colour. Our choice, against He-normal in the last two layers alone, is
`start_open_`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, WeightsError, supervised
from methods.losses.pixel import mse

if TYPE_CHECKING:
    from bench.contracts import State


def he_normal_(conv: nn.Conv2d) -> None:
    """Keras' He-normal: a normal of variance 2 / fan-in cut at two deviations; the bias 0."""
    fan_in = conv.weight[0].numel()
    std = (2 / fan_in) ** 0.5 / 0.87962566103423978  # the deviation of a unit normal cut at two
    nn.init.trunc_normal_(conv.weight, 0.0, std, -2 * std, 2 * std)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)


@torch.no_grad()
def start_open_(head: nn.Conv2d, out: nn.Conv2d) -> None:
    """Start with the ReLU between the two layers open, and each of its channels in charge of one colour.

    A kernel of `head` whose sum is negative is drawn with the other sign, just as likely a draw; its bias starts at 1.
    `out` starts as 2 h - 2, which is 0, the sigmoid's grey, at that 1: no channel can lower the loss by closing for
    good.
    """
    assert head.bias is not None and out.bias is not None
    total = head.weight.sum(dim=(1, 2, 3), keepdim=True)
    head.weight.mul_(torch.where(total < 0, -1.0, 1.0))
    head.bias.fill_(1.0)
    out.weight.copy_(2 * torch.eye(3)[:, :, None, None])
    out.bias.fill_(-2.0)


class Double(nn.Sequential):
    """Two 3x3 convolutions, each with a ReLU: (N, in_channels, H, W) to (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class Decoder(nn.Module):
    """One step up: nearest x2, a 2x2 convolution with ReLU, joined after the skip, two 3x3 convolutions.

    (N, 2C, H, W) and the skip (N, C, 2H, 2W) to (N, C, 2H, 2W).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.up = nn.Conv2d(2 * channels, channels, 2)
        self.convs = Double(2 * channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        # TensorFlow's "same" for an even kernel adds its one row at the bottom and its one column at the right.
        x = torch.relu(self.up(F.pad(x, (0, 1, 0, 1))))
        return self.convs(torch.cat((skip, x), 1))


class DPDNet(nn.Module):
    """The U-Net of Fig. 4: four steps down, a bottleneck, four steps up, the image itself out of a sigmoid.

    Args:
        in_views: 2 stacks left and right (six channels); 1 is the single-image network of the paper's ablation, which
            sees the combined image, here the mean of the views.
        channels: width of the first level; each of the four levels below doubles it.
        dropout: share of values dropped, while training, after the fourth encoder (on the way down and on the skip) and
            after the bottleneck.

    Raises:
        ParamsError: for `in_views` other than 1 or 2, `channels` below 1, `dropout` outside [0, 1).
    """

    def __init__(self, in_views: int = 2, channels: int = 64, dropout: float = 0.4):
        super().__init__()
        if in_views not in (1, 2):
            raise ParamsError(f"dpdnet: in_views is {in_views!r}; 1 (combined image) or 2 (left and right) is possible")
        if channels < 1 or not 0 <= dropout < 1:
            raise ParamsError(f"dpdnet: channels {channels}, dropout {dropout}; expected at least 1, and within [0, 1)")
        self.in_views = in_views
        widths = [channels * 2**level for level in range(4)]
        self.encoders = nn.ModuleList(Double(i, o) for i, o in zip([3 * in_views, *widths[:-1]], widths, strict=True))
        self.bottleneck = Double(widths[-1], 2 * widths[-1])
        self.decoders = nn.ModuleList(Decoder(width) for width in reversed(widths))
        self.head = nn.Conv2d(channels, 3, 3, padding=1)
        self.out = nn.Conv2d(3, 3, 1)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_normal_(module)
        start_open_(self.head, self.out)

    def features(self, left: Tensor, right: Tensor) -> Tensor:
        """What the last decoder gives, (N, channels, H, W), not negative. Arguments as in `forward`."""
        x = torch.cat((left, right), 1) if self.in_views == 2 else (left + right) / 2
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(x if not skips else F.max_pool2d(x, 2))
            if len(skips) == len(self.encoders) - 1:
                x = self.dropout(x)
            skips.append(x)
        x = self.dropout(self.bottleneck(F.max_pool2d(x, 2)))
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x, skip)
        return x

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Restore from `left` and `right`, both (N, 3, H, W), RGB in [0, 1], sides multiples of 16; within (0, 1)."""
        return torch.sigmoid(self.out(torch.relu(self.head(self.features(left, right)))))


def keras_layers() -> list[str]:
    """Names of our 24 convolutions in the order in which the authors' code builds theirs."""
    down = [f"encoders.{level}.{i}" for level in range(4) for i in (0, 2)] + ["bottleneck.0", "bottleneck.2"]
    up = [f"decoders.{level}.{layer}" for level in range(4) for layer in ("up", "convs.0", "convs.2")]
    return [*down, *up, "head", "out"]


def from_keras(state: State) -> State:
    """Turn the authors' weights into ours: layers by order, axes from HWIO to OIHW, colours from BGR to RGB.

    Args:
        state: `conv2d_7/kernel:0` (height, width, in, out) and `conv2d_7/bias:0` (out), with anything before that and
            any running numbers: Keras counts on within a process, so only their order means something.

    Raises:
        WeightsError: where these are not the 24 kernels and 24 biases.
    """
    found: dict[str, dict[int, Tensor]] = {"kernel": {}, "bias": {}}
    for name, tensor in state.items():
        if match := re.search(r"conv2d(?:_(\d+))?/(kernel|bias)(?::0)?$", name):
            found[match[2]][int(match[1] or 0)] = tensor
    layers, kernels = keras_layers(), found["kernel"]
    if len(kernels) != len(layers) or kernels.keys() != found["bias"].keys():
        raise WeightsError(
            f"dpdnet: {len(kernels)} kernels and {len(found['bias'])} biases named conv2d_<number>/kernel:0 and"
            f" conv2d_<number>/bias:0, expected {len(layers)} of each; is this the authors' Keras model of DPDNet?"
        )
    ours: dict[str, Tensor] = {}
    for layer, number in zip(layers, sorted(kernels), strict=True):
        ours[f"{layer}.weight"] = kernels[number].permute(3, 2, 0, 1).contiguous()
        ours[f"{layer}.bias"] = found["bias"][number]
    first = ours["encoders.0.0.weight"]
    ours["encoders.0.0.weight"] = first.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)  # each view's three colours
    ours["out.weight"], ours["out.bias"] = ours["out.weight"].flip(0), ours["out.bias"].flip(0)
    return ours


method = supervised(
    "dual-pixel",
    DPDNet,
    mse,
    reference=from_keras,
    tiny={"channels": 4},
    multiple=16,
    min_size=16,
    margin=128,  # 123 at most, by position within the pooling's grid; 128 keeps tiles on that grid of 16
)
