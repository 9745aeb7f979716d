"""DPDNet and DPDNet+: a U-Net from the two dual-pixel views to the all-in-focus image.

Paper: A. Abuolaim and M. S. Brown, "Defocus Deblurring Using Dual-Pixel Data", ECCV 2020.
Code: Abdullah-Abuolaim/defocus-deblurring-dual-pixel (MIT), commit 7ebf77e, Keras. DPDNet+ (Abuolaim et al., ICCV 2021)
is the same network trained on Canon and synthetic data; the table of DMTNet's paper counts a build with 3x3
up-convolutions.

The authors' network gets its images as OpenCV reads them, blue first. Ours is RGB like every other: `from_keras`
reverses the colours in the kernels of the first and the last layer instead of reversing the images.

Three channels pass a ReLU before the last 1x1 convolution and the sigmoid. Each input of this ReLU is a weighted sum of
576 values that are never negative. If the weights have a small sum, a few steps of training can make it negative for
every pixel: the channel is then 0, and no gradient can bring it back. With one such channel a colour is lost, with
three the result is one flat colour. `start_open_` prevents that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, WeightsError, at_least, supervised
from methods.layers.initial import bias_of
from methods.losses.pixel import mse

if TYPE_CHECKING:
    from bench.contracts import State


def he_normal_(conv: nn.Conv2d) -> None:
    """Draw a kernel as Keras' He-normal: a normal of variance 2 / fan-in, cut at two deviations. The bias is 0."""
    fan_in = conv.weight[0].numel()
    std = (2 / fan_in) ** 0.5 / 0.87962566103423978  # the deviation of a unit normal cut at two
    nn.init.trunc_normal_(conv.weight, 0.0, std, -2 * std, 2 * std)
    nn.init.zeros_(bias_of(conv))


@torch.no_grad()
def start_open_(head: nn.Conv2d, out: nn.Conv2d) -> None:
    """Start with an open ReLU between the two layers: no channel is 0 everywhere, and each makes one colour.

    A kernel of `head` with a negative sum gets the opposite sign, an equally likely draw; its bias starts at 1. `out`
    starts as 2 h - 2, which is 0, grey after the sigmoid, where h is 1: no channel can lower the loss by closing.

    Args:
        head: the last 3x3 convolution, 3 output channels.
        out: the 1x1 convolution from 3 to 3 channels.
    """
    total = head.weight.sum(dim=(1, 2, 3), keepdim=True)
    head.weight.mul_(torch.where(total < 0, -1.0, 1.0))
    bias_of(head).fill_(1.0)
    out.weight.copy_(2 * torch.eye(3)[:, :, None, None])
    bias_of(out).fill_(-2.0)


class Double(nn.Sequential):
    """Two 3x3 convolutions, each followed by a ReLU: (N, in_channels, H, W) to (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class Decoder(nn.Module):
    """One step up: nearest x2, a 2x2 convolution with ReLU, concatenation after the skip, two 3x3 convolutions.

    (N, 2C, H, W) and the skip (N, C, 2H, 2W) to (N, C, 2H, 2W).

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.up = nn.Conv2d(2 * channels, channels, 2)
        self.convs = Double(2 * channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        # TensorFlow's SAME adds one row at the bottom and one column at the right for an even kernel.
        x = torch.relu(self.up(F.pad(x, (0, 1, 0, 1))))
        return self.convs(torch.cat((skip, x), 1))


class DPDNet(nn.Module):
    """The U-Net of Fig. 4: four steps down, a bottleneck, four steps up, and the image itself after a sigmoid.

    Args:
        in_views: 2 stacks left and right (six channels); 1 is the single-image network of the paper's ablation, whose
            input is the combined image, here the mean of the views.
        channels: width of the first level; each of the four levels below doubles it.
        dropout: share of values dropped in training, after the fourth encoder (on the way down and on the skip) and
            after the bottleneck, in [0, 1).

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(self, in_views: int = 2, channels: int = 64, dropout: float = 0.4):
        super().__init__()
        if in_views not in (1, 2):
            raise ParamsError(f"dpdnet: in_views is {in_views!r}; expected 1 (combined image) or 2 (left and right)")
        at_least(1, "dpdnet", channels=channels)
        if not 0 <= dropout < 1:
            raise ParamsError(f"dpdnet: dropout is {dropout}; expected a share in [0, 1), 0.4 in the paper")
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
        """Return the output of the last decoder, (N, channels, H, W), not negative. Arguments as in `forward`."""
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
        """Restore from both views.

        Args:
            left: (N, 3, H, W), RGB in [0, 1], sides multiples of 16.
            right: the same shape.

        Returns:
            (N, 3, H, W), RGB in (0, 1).
        """
        return torch.sigmoid(self.out(torch.relu(self.head(self.features(left, right)))))


def keras_layers() -> list[str]:
    """Return the names of our 24 convolutions in the order in which the authors' code builds theirs."""
    down = [f"encoders.{level}.{i}" for level in range(4) for i in (0, 2)] + ["bottleneck.0", "bottleneck.2"]
    up = [f"decoders.{level}.{layer}" for level in range(4) for layer in ("up", "convs.0", "convs.2")]
    return [*down, *up, "head", "out"]


def from_keras(state: State) -> State:
    """Turn the authors' weights into ours: layers by order, axes from HWIO to OIHW, colours from BGR to RGB.

    Args:
        state: `conv2d_7/kernel:0` (height, width, in, out) and `conv2d_7/bias:0` (out), with any prefix and numbers.
            Only the order of the numbers counts, because Keras numbers all layers of a process.

    Raises:
        WeightsError: these are not the 24 kernels and 24 biases.
    """
    by_number: dict[str, dict[int, Tensor]] = {"kernel": {}, "bias": {}}
    for name, tensor in state.items():
        if match := re.search(r"conv2d(?:_(\d+))?/(kernel|bias)(?::0)?$", name):
            by_number[match[2]][int(match[1] or 0)] = tensor
    layers, kernels, biases = keras_layers(), by_number["kernel"], by_number["bias"]
    if len(kernels) != len(layers) or kernels.keys() != biases.keys():
        raise WeightsError(
            f"dpdnet: {len(kernels)} kernels and {len(biases)} biases named conv2d_<number>/kernel:0 and"
            f" conv2d_<number>/bias:0, expected {len(layers)} of each; is this the authors' Keras model of DPDNet?"
        )
    ours: dict[str, Tensor] = {}
    for layer, number in zip(layers, sorted(kernels), strict=True):
        ours[f"{layer}.weight"] = kernels[number].permute(3, 2, 0, 1).contiguous()
        ours[f"{layer}.bias"] = biases[number]
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
    margin=128,  # at most 123, depending on the place in the pooling's grid; 128 keeps tiles on that grid of 16
    readings=(
        "The paper draws all layers from He-normal. Here the last two start with their ReLU open, each channel making "
        "one colour: otherwise a channel can close for good in the first steps.",
    ),
)
