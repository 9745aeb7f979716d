"""DMPHN (1-2-4-8): a deep multi-patch hierarchical network for deblurring.

Paper: H. Zhang, Y. Dai, H. Li, P. Koniusz, "Deep Stacked Hierarchical Multi-patch Network for Image Deblurring", CVPR
2019. Code: HongguangZhang/DMPHN-cvpr19-master (no licence), commit 9fff261, whose released weights load through
`reference`. The network is that code's, up to rounding. Only the order of the work differs: the patches of a level go
through their network as one batch; without gradients on a CPU (`lean`) the pairs work in place, and in float32 each
patch goes alone, through convolutions with fewer multiplications.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.contracts import DataError, ParamsError, WeightsError, at_least, supervised
from methods.layers.initial import bias_of
from methods.layers.winograd import winograd_available, winograd_conv
from methods.losses.pixel import mse

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.contracts import State

ROWS, COLUMNS = 2, 3
"""Axes of (N, C, H, W)."""

AXES = (ROWS, COLUMNS, ROWS, COLUMNS)
"""The axis along which each level's patches are halved to give the next level's."""

ENCODER_LAYERS = (1, 2, 3, 5, 6, 7, 9, 10, 11)
DECODER_LAYERS = (13, 14, 16, 17, 18, 20, 21, 22, 24)
"""The authors' numbers of our layers, in order; the numbers between them are sums and activations."""


class Pair(nn.Module):
    """A 3x3 convolution, a ReLU, another 3x3 convolution, plus the input (Fig. 3): (N, C, H, W) to the same.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))

    def add_(self, x: Tensor, convolve: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Do the same in place, without gradients: one block of memory and one pass over it less.

        Args:
            x: (N, C, H, W); it is changed and returned.
            convolve: (convolution, its input) to its output.
        """
        return x.add_(convolve(self.conv2, convolve(self.conv1, x).relu_()))


def encoder(channels: int) -> nn.Sequential:
    """Make an encoder (Fig. 3), an image (N, 3, H, W) to features (N, 4 channels, H/4, W/4).

    It has no activation outside the pairs.

    Args:
        channels: width at full resolution.
    """
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        Pair(channels),
        Pair(channels),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        Pair(2 * channels),
        Pair(2 * channels),
        nn.Conv2d(2 * channels, 4 * channels, 3, stride=2, padding=1),
        Pair(4 * channels),
        Pair(4 * channels),
    )


def decoder(channels: int) -> nn.Sequential:
    """Make a decoder (Fig. 3), an encoder backwards: features (N, 4 channels, H/4, W/4) to an image (N, 3, H, W)."""
    return nn.Sequential(
        Pair(4 * channels),
        Pair(4 * channels),
        nn.ConvTranspose2d(4 * channels, 2 * channels, 4, stride=2, padding=1),
        Pair(2 * channels),
        Pair(2 * channels),
        nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
        Pair(channels),
        Pair(channels),
        nn.Conv2d(channels, 3, 3, padding=1),
    )


def split(x: Tensor, axis: int) -> Tensor:
    """Halve every image along `axis`: (N, C, H, W) to (2N, ...), the halves of an image one after the other.

    >>> split(torch.arange(4.0).view(1, 1, 1, 4), COLUMNS).flatten(1).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    return torch.stack(x.chunk(2, axis), 1).flatten(0, 1)


def join(x: Tensor, axis: int) -> Tensor:
    """Join the halves of images: the inverse of `split`."""
    return torch.cat(x.unflatten(0, (-1, 2)).unbind(1), axis)


def lean(layers: nn.Module, x: Tensor) -> Tensor:
    """Return `layers(x)` of `x` (N, C, H, W), without gradients, with pairs that work in place; `x` is unchanged."""
    if winograd_available(x):
        return torch.cat(
            [_lean(layers, image.clone(memory_format=torch.contiguous_format), winograd_conv) for image in x.split(1)]
        )
    return _lean(layers, x.clone(memory_format=torch.channels_last), lambda layer, x: layer(x))


def _lean(layers: nn.Module, x: Tensor, convolve: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
    for layer in layers.children():
        x = layer.add_(x, convolve) if isinstance(layer, Pair) else convolve(layer, x)
    return x


def run(layers: nn.Module, x: Tensor) -> Tensor:
    """Apply an encoder or a decoder: plainly with gradients, on accelerators and in a trace, otherwise by `lean`."""
    plain = torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return layers(x) if plain else lean(layers, x)


class DMPHN(nn.Module):
    """Levels of ever smaller patches, each with an encoder and a decoder; the finest level begins (Section 3.1).

    A level adds the residual image of the level below to its patches, encodes each, adds the features of the level
    below, joins them in pairs, and decodes. The last decoder gives the image itself, minus 0.5, and not a residual.

    Args:
        channels: width at full resolution; twice at half, four times at a quarter.
        num_levels: 4 is 1-2-4-8, 3 is 1-2-4 and so on, 1 to 5.

    Raises:
        ParamsError: an argument is out of its range.
    """

    def __init__(self, channels: int = 32, num_levels: int = 4):
        super().__init__()
        at_least(1, "dmphn", channels=channels)
        if not 1 <= num_levels <= len(AXES) + 1:
            raise ParamsError(f"dmphn: num_levels is {num_levels}; expected 1 to {len(AXES) + 1} (4 is 1-2-4-8)")
        self.axes = AXES[: num_levels - 1]
        self.encoders = nn.ModuleList(encoder(channels) for _ in range(num_levels))
        self.decoders = nn.ModuleList(decoder(channels) for _ in range(num_levels))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                # As in the code; the paper is silent.
                std = 0.5 * math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
                nn.init.normal_(module.weight, std=std)
                nn.init.zeros_(bias_of(module))

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return the output of each level's decoder: the whole image first, then the residuals of finer patches.

        Args:
            x: (N, 3, H, W), RGB in [-0.5, 0.5].

        Returns:
            `num_levels` tensors of that shape, patches joined. The first is the restored image in [-0.5, 0.5], not
            clipped.

        Raises:
            DataError: the patches' sides are not multiples of 4 pixels (1-2-4-8: H of 16 and W of 8).
        """
        height, width = (4 * 2 ** self.axes.count(axis) for axis in (ROWS, COLUMNS))
        if x.shape[ROWS] % height or x.shape[COLUMNS] % width:
            raise DataError(
                f"dmphn: an image is {x.shape[ROWS]} pixels high and {x.shape[COLUMNS]} wide; with {len(self.encoders)}"
                f" levels its sides must be multiples of {height} and {width}: pad it first"
            )
        patches = [x]
        for axis in self.axes:
            patches.append(split(patches[-1], axis))
        outputs: list[Tensor] = []
        features = residual = None
        for level in reversed(range(len(patches))):
            patch = patches[level] if residual is None else patches[level] + residual
            encoded = run(self.encoders[level], patch)
            features = encoded if features is None else features + encoded
            if level:
                features = join(features, self.axes[level - 1])
            residual = whole = run(self.decoders[level], features)
            for axis in reversed(self.axes[: max(level - 1, 0)]):
                whole = join(whole, axis)
            outputs.insert(0, whole)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (N, 3, H, W), RGB in [0, 1], H a multiple of 16 and W of 8; the result is not clipped."""
        return self.levels(x - 0.5)[0] + 0.5


def reference(state: State) -> State:
    """Turn the authors' eight state dicts into ours.

    Args:
        state: their tensors under "<file's stem>.<name in that file>": encoder_lv1.layer2.0.weight is the first
            convolution of the first pair of level 1.

    Raises:
        WeightsError: a name is not one of theirs.
    """
    return {_rename(name): value for name, value in state.items()}


def _rename(name: str) -> str:
    try:
        stem, layer, *of_pair, kind = name.split(".")
        side, level = stem.split("_lv")
        numbers = {"encoder": ENCODER_LAYERS, "decoder": DECODER_LAYERS}[side]
        ours = [f"{side}s", f"{int(level) - 1}", f"{numbers.index(int(layer.removeprefix('layer')))}"]
        return ".".join([*ours, *({"0": "conv1", "2": "conv2"}[index] for index in of_pair), kind])
    except (ValueError, KeyError):
        example = "encoder_lv1.layer1.weight"
        raise WeightsError(f"dmphn: {name!r} is not a tensor of the authors' code, which has {example!r}") from None


method = supervised(
    "deblur",
    DMPHN,
    mse,
    reference=reference,
    tiny={"channels": 4},
    multiple=16,
    min_size=16,
    tiling="Each tile is restored as an image: the network cuts what it gets into 2, 4 and 8 patches with zeros "
    "around them, so a tile differs from the same area of the whole image, most of all near the borders of "
    "patches.",
    readings=(
        "For 1-2-4-8-16 the eight patches of the code, four rows of two, are halved along their columns; the code "
        "ends at 1-2-4-8.",
    ),
)
