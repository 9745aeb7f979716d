"""The inpainting network of DFFNet: four paths to a coarse image, then two branches and attention to a refined one.

Paper: "Double Feature Fusion network: A Progressive Learning Framework for Sharper Inpainting" (DFFNet), Section 3.3
and Table 7. Code: zhangzhichao19020123/DFFNet (no licence file: read, not copied), commit 6a84a38, TensorFlow. Gated
convolutions: J. Yu, Z. Lin, J. Yang, X. Shen, X. Lu, T. Huang, "Free-Form Image Inpainting with Gated Convolution",
ICCV 2019.

Where Table 7 and the code differ the code is followed, so that its weights load through `rename_generator`: the table
has some sizes of other layers, dilations as paddings, and one of the four paths. The attention of the paper (equations
7 to 9) is not in that code, which has contextual attention; neither has weights, so one checkpoint fits both.

Differs from that code: gated convolutions start from larger kernels. The code draws them from Xavier's distribution,
TensorFlow's default. A gate halves its features, so that behind some forty gates the first refined image varies by
1e-7; from N(0, 2 / sqrt(fan-in)) it varies by a tenth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError, WeightsError
from methods.layers.coherent_attention import CoherentAttention, coherent_match, offset_colours
from methods.layers.contextual_attention import ContextualAttention, contextual_match, resize_nearest
from methods.layers.initial import draw_weights_

if TYPE_CHECKING:
    from bench.contracts import State

ATTENTIONS = {"contextual": ContextualAttention, "coherent": CoherentAttention}
"""The attention modules by the name that a recipe uses."""
Attend = Callable[[Tensor, Tensor], Tensor]
"""Features (N, C, h, w) and the mask (N, 1, h, w) to features of the same shape."""


def double_size(x: Tensor) -> Tensor:
    """Enlarge `x` (N, C, H, W) to (N, C, 2H, 2W) by repeating pixels.

    >>> double_size(torch.tensor([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class GatedConv(nn.Module):
    """A convolution whose second half of filters gates the first: (N, C, H, W) to (N, filters / 2, H / s, W / s).

    It is padded by zeros like TensorFlow's SAME. With stride 2 the sides must be even, and the padding before is one
    pixel smaller than after. Biases start from 0, kernels from N(0, 2 / sqrt(fan-in)), which keeps the features' scale.

    Args:
        in_channels: C.
        filters: of the convolution, an even number.
        kernel_size: of the convolution.
        stride: s, 1 or 2.
        dilation: of the convolution, 1 with stride 2.
        activation: of the first half; the second half has a sigmoid.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        activation: Callable[[Tensor], Tensor] = F.elu,
    ):
        super().__init__()
        padding = dilation * (kernel_size // 2) if stride == 1 else 0
        self.conv = nn.Conv2d(in_channels, filters, kernel_size, stride, padding, dilation)
        draw_weights_(self.conv, partial(nn.init.normal_, std=2 / math.sqrt(in_channels * kernel_size**2)))
        self.border = ((kernel_size - 2) // 2, (kernel_size - 1) // 2) * 2 if stride == 2 else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        halves = self.conv(x if self.border is None else F.pad(x, self.border)).chunk(2, dim=1)
        # Copied to be contiguous: with channels last, ELU and sigmoid are then seven times faster.
        values, gates = (half.clone() for half in halves)
        return self.activation(values) * torch.sigmoid(gates)


class Path(nn.Module):
    """One of the four paths: six gated convolutions, with the result of the third added to that of the fifth.

    Args:
        in_channels: of the coarser path's and the trunk's features together.
        filters: of each convolution.
        residual: add the result of the third layer; False is the ablation without residuals.
    """

    def __init__(self, in_channels: int, filters: int, residual: bool):
        super().__init__()
        self.residual = residual
        inner = [GatedConv(in_channels if i == 0 else filters // 2, filters) for i in range(6)]
        self.convs = nn.ModuleList(inner)

    def forward(self, coarser: Tensor, trunk: Tensor) -> Tensor:
        """Join `coarser` and `trunk`, both (N, C, h, w) with `in_channels` in sum, to (N, filters / 2, h, w)."""
        x = torch.cat([coarser, trunk], dim=1)
        for conv in self.convs[:3]:
            x = conv(x)
        deep = self.convs[4](self.convs[3](x))
        return self.convs[5](deep + x if self.residual else deep)


class Branches(nn.Module):
    """A plain branch with dilations and a branch with attention, both to a quarter of the size, then joined and
    enlarged.

    Args:
        in_channels: of the input.
        channels: filters of the first convolutions, c; the output has c / 2 channels.
        residual: add the result of the fifth layer of the plain branch to that of the seventh.
    """

    def __init__(self, in_channels: int, channels: int, residual: bool):
        super().__init__()
        self.residual = residual
        c = channels
        self.plain = nn.ModuleList(
            [
                GatedConv(in_channels, c, 5),
                GatedConv(c // 2, c, stride=2),
                GatedConv(c // 2, 2 * c),
                GatedConv(c, 2 * c, stride=2),
                GatedConv(c, 4 * c),
                GatedConv(2 * c, 4 * c),
                GatedConv(2 * c, 4 * c),
                GatedConv(2 * c, 4 * c),
                *(GatedConv(2 * c, 4 * c, dilation=dilation) for dilation in (2, 4, 8, 16)),
            ]
        )
        self.before = nn.Sequential(
            GatedConv(in_channels, c, 5),
            GatedConv(c // 2, c, stride=2),
            GatedConv(c // 2, 2 * c),
            GatedConv(c, 4 * c, stride=2),
            GatedConv(2 * c, 4 * c),
            GatedConv(2 * c, 4 * c, activation=F.relu),
        )
        self.after = nn.Sequential(GatedConv(2 * c, 4 * c), GatedConv(2 * c, 4 * c))
        self.join = nn.ModuleList(
            [
                GatedConv(4 * c, 4 * c),
                GatedConv(2 * c, 4 * c),
                GatedConv(2 * c, 2 * c),
                GatedConv(c, 2 * c),
                GatedConv(c, c),
            ]
        )

    def forward(self, x: Tensor, hole: Tensor, attend: Attend) -> Tensor:
        """Refine `x`.

        Args:
            x: (N, in_channels, H, W), sides multiples of 4.
            hole: the mask (N, 1, H / 4, W / 4).
            attend: the attention.

        Returns:
            (N, channels / 2, H, W).
        """
        plain = x
        for conv in self.plain[:5]:
            plain = conv(plain)
        deep = self.plain[6](self.plain[5](plain))
        plain = deep + plain if self.residual else deep
        for conv in self.plain[7:]:
            plain = conv(plain)
        attended = self.after(attend(self.before(x), hole))
        x = self.join[1](self.join[0](torch.cat([plain, attended], dim=1)))
        x = self.join[3](self.join[2](double_size(x)))
        return self.join[4](double_size(x))


class InpaintingNet(nn.Module):
    """Stage two of DFFNet: 20,437,146 parameters with three attention modules, 17,638,794 with one.

    Args:
        channels: filters of the first convolution, a multiple of 4; 48 in Table 7.
        modules: attention modules: 3 (after the first path, between the third and the fourth, and in the refinement) or
            1 (in the refinement), which is the ablation "attention modules decreased to one".
        attention: "contextual" (as the code) or "coherent" (equations 7 to 9).
        residual: the additions within paths and branches; False is the ablation without them.
        gain: factor of the gated convolutions' kernels before training, above 0.

    Raises:
        ParamsError: when an argument has another value.
    """

    def __init__(
        self,
        channels: int = 48,
        modules: int = 3,
        attention: str = "contextual",
        residual: bool = True,
        gain: float = 1.0,
    ):
        super().__init__()
        check_arguments(channels, modules, attention, gain)
        c = channels
        self.trunk = nn.ModuleList(
            [
                GatedConv(5, c, 5),
                GatedConv(c // 2, 2 * c),
                GatedConv(c, 4 * c, 5, stride=2),
                GatedConv(2 * c, 4 * c),
                GatedConv(2 * c, 8 * c, stride=2),
                GatedConv(4 * c, 8 * c),
                GatedConv(4 * c, 8 * c, stride=2),
                GatedConv(4 * c, 8 * c),
                GatedConv(4 * c, 16 * c, stride=2),
                GatedConv(8 * c, 16 * c),
            ]
        )
        # After the trunk and after each path but the last, behind `double_size`.
        self.ups = nn.ModuleList(
            [GatedConv(8 * c, 8 * c), GatedConv(4 * c, 4 * c), GatedConv(2 * c, 2 * c), GatedConv(c, c)]
        )
        self.paths = nn.ModuleList(
            [
                Path(8 * c, 8 * c, residual),
                Path(6 * c, 4 * c, residual),
                Path(3 * c, 2 * c, residual),
                Path(c + c // 2, c, residual),
            ]
        )
        self.middle = Branches(c // 2, c, residual) if modules == 3 else None
        self.coarse = draw_weights_(nn.Conv2d(c // 2, 3, 3, padding=1), nn.init.xavier_uniform_)
        self.refine = Branches(3, c, residual)
        self.last = GatedConv(c // 2, c // 2)
        self.refined = draw_weights_(nn.Conv2d(c // 4, 3, 3, padding=1), nn.init.xavier_uniform_)
        self.attention = ATTENTIONS[attention]()
        for layer in self.modules():
            if isinstance(layer, GatedConv):
                layer.conv.weight.data *= gain

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Complete `x` (N, 3, H, W), RGB in [0, 1], sides multiples of 16, where `mask` (N, 1, H, W) is 1.

        The values of `x` in the hole do not matter. Inside, images are BGR in [-1, 1] with the hole at 0, as in the
        code.

        Returns:
            the refined and the coarse image, (N, 3, H, W), RGB in [0, 1], not composited.
        """
        return self.complete(x, mask, self.attention)

    def complete(self, x: Tensor, mask: Tensor, attend: Attend) -> tuple[Tensor, Tensor]:
        """Do what `forward` does, with `attend` in place of the attention."""
        image = (2 * x.flip(1) - 1) * (1 - mask)
        hole = resize_nearest(mask, x.shape[2] // 4, x.shape[3] // 4)
        y = torch.cat([image, torch.ones_like(mask), mask], dim=1)
        features = []
        for i, conv in enumerate(self.trunk, start=1):
            y = conv(y)
            if i in (2, 4, 6, 8):
                features.append(y)
        y = self.paths[0](self.ups[0](double_size(y)), features[3])
        y = self.ups[1](double_size(y))
        y = attend(y, hole) if self.middle is not None else y
        y = self.ups[2](double_size(self.paths[1](y, features[2])))
        y = self.ups[3](double_size(self.paths[2](y, features[1])))
        y = torch.tanh(self.middle(y, hole, attend)) if self.middle is not None else y
        coarse = torch.tanh(self.coarse(self.paths[3](y, features[0])).float())
        y = self.last(self.refine(coarse * mask + image * (1 - mask), hole, attend))
        refined = torch.tanh(self.refined(y).float())
        return (refined.flip(1) + 1) / 2, (coarse.flip(1) + 1) / 2

    def details(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Complete one image and return what is computed on the way, for figures.

        Args:
            x: (1, 3, H, W), as for `forward`.
            mask: (1, 1, H, W).

        Returns:
            images in [0, 1] by name: "coarse" and "refined" (1, 3, H, W); for each attention module k, in the order of
            computation, "attention k: offsets" (1, 3, h, w), the coloured offset from each place to its best match, and
            "attention k: heat" (1, 1, h, w), the attention that each place receives, relative to the largest.
        """
        maps: dict[str, Tensor] = {}

        def attend(features: Tensor, hole: Tensor) -> Tensor:
            k = len(maps) // 2 + 1
            maps[f"attention {k}: offsets"], maps[f"attention {k}: heat"] = self.attention_maps(features, hole)
            return self.attention(features, hole)

        refined, coarse = self.complete(x, mask, attend)
        return {"coarse": coarse, **maps, "refined": refined}

    def attention_maps(self, x: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coloured offsets (1, 3, h, w) and the heat (1, 1, h, w) of the attention to `x` (1, C, H, W)."""
        if isinstance(self.attention, ContextualAttention):
            match, received = contextual_match(x, hole)
            rebuilt = torch.ones_like(match)  # contextual attention rebuilds the known places too
        else:
            match, rebuilt = coherent_match(x, hole)[0], hole[0, 0] > 0
            received = torch.bincount(match[rebuilt], minlength=match.numel()).view(match.shape).float()
        heat = received / received.max().clamp(min=1e-8)
        return offset_colours(match, rebuilt, *match.shape), heat[None, None]


def check_arguments(channels: int, modules: int, attention: str, gain: float) -> None:
    """Raise ParamsError for arguments that `InpaintingNet` cannot take."""
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0 < gain < math.inf:
        raise ParamsError(f"inpainting network: gain is {gain!r}, expected a number above 0")
    if channels < 4 or channels % 4:
        raise ParamsError(f"inpainting network: channels is {channels}, expected a multiple of 4, like 48")
    if modules not in (1, 3):
        raise ParamsError(f"inpainting network: modules is {modules}, expected 3 or 1 attention modules")
    if attention not in ATTENTIONS:
        raise ParamsError(f"inpainting network: attention is {attention!r}, expected one of {', '.join(ATTENTIONS)}")


def rename_generator(state: State) -> State:
    """Turn the authors' variables, with TensorFlow's names and axis order, into our state dict.

    Theirs are `inpaint_net/<layer>/kernel` (height, width, in, out) and `.../bias`. Other variables of a checkpoint,
    those of the critic and of the optimiser, are dropped.
    """
    return {
        rename_layer(name.split("/")[1]) + (".weight" if name.endswith("kernel") else ".bias"): (
            value.permute(3, 2, 0, 1) if name.endswith("kernel") else value
        )
        for name, value in state.items()
        if name.startswith("inpaint_net/") and name.endswith(("/kernel", "/bias"))
    }


SINGLE_LAYERS = {"r4conv7": "coarse", "allconv16": "last.conv", "allconv17": "refined", "convd": "ups.0.conv"}
"""Layers outside paths and branches: their names in the code to ours."""


def rename_layer(layer: str) -> str:
    """Turn the name of a layer of the code into ours.

    Raises:
        WeightsError: when the network does not have the layer.

    >>> rename_layer("r2conv3")  # the third convolution of the second path
    'paths.1.convs.2.conv'
    """
    if layer in SINGLE_LAYERS:
        return SINGLE_LAYERS[layer]
    if match := re.fullmatch(r"r([1-4])conv([1-6]|d)", layer):
        path, index = match.groups()
        return f"ups.{path}.conv" if index == "d" else f"paths.{int(path) - 1}.convs.{int(index) - 1}.conv"
    if not (match := re.fullmatch(r"(1?)(x|pm|all|)conv(\d+)(_\w+)?", layer)):
        raise WeightsError(f"DFFNet's checkpoint has a layer {layer!r}, which its inpainting network does not have")
    copy, branch, index = match.group(1), match.group(2), int(match.group(3))
    if branch == "":
        return f"trunk.{index - 1}.conv"
    branches = "middle" if copy else "refine"
    if branch == "x":
        return f"{branches}.plain.{index - 1}.conv"
    if branch == "all":
        return f"{branches}.join.{index - 11}.conv"
    return f"{branches}.before.{index - 1}.conv" if index <= 6 else f"{branches}.after.{index - 9}.conv"
