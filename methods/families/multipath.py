"""The network of MRFNet, which is also the first stage of DFFNet and the trunk of MRFNet with its edge branch.

Sources are in `methods/mrfnet.py`; the tables, figures, equations and sections named here are those of MRFNet's paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import DataError, ParamsError
from methods.layers.insides import to_unit_range
from methods.layers.refinenet import CRP, RCU, conv
from methods.losses.pixel import mse, scale_refinement

if TYPE_CHECKING:
    from bench.contracts import Losses

READINGS = (
    "The bottleneck of a light residual unit is a quarter of its channels wide.",
    "Of the five convolutions in the text of the fusion unit, conv-f-1 is the entry of its path; a ReLU follows each.",
    "A network of fewer than four paths drops the coarsest; one of more repeats conv7, conv8 and path r1.",
    "Behind a stem of stride 4 (the text's scales 1/4 to 1/32) the finest head's correction is enlarged bilinearly and "
    "added to the whole image.",
    "Residual units (RCU) on the encoder's maps and after the pooling are left out, as in table I; `rcus` adds them.",
)
"""How the paper was read where it is silent or contradicts itself, in what this file defines."""
COARSEST_SCALE = 32
"""No path is coarser than 1/32 of the image: six paths, or four behind a stem of stride 4 (figure 2)."""
SCALE_LOSSES = tuple(f"scale_{k}" for k in range(1, 7))
"""One loss for each possible path (Section III.B): logged for the curves by scale, not minimised."""


class MRFUnit(nn.Module):
    """Multipath refinement fusion (eq. 3): f2(f1(x)) + f4(f3(f2(f1(x)))), (N, C, H, W) to the same.

    A ReLU follows each convolution.

    Args:
        channels: C.
        kernel_sizes: of f1 to f4: conv_r_m1 to conv_r_m4 of table I.
        residual: add the first term; False leaves a plain chain of four convolutions.
    """

    def __init__(self, channels: int, kernel_sizes: Sequence[int], residual: bool):
        super().__init__()
        self.residual = residual
        self.convs = nn.ModuleList(conv(channels, channels, size) for size in kernel_sizes)

    def forward(self, x: Tensor) -> Tensor:
        near = F.relu(self.convs[1](F.relu(self.convs[0](x))))
        far = F.relu(self.convs[3](F.relu(self.convs[2](near))))
        return near + far if self.residual else far


class Path(nn.Module):
    """One refinement path: fusion, CRP, MRF unit and the remote residual (Section III.A and B).

    Args:
        blurred: channels of the encoder's map b_k at this scale.
        coarser: channels of the coarser path's result l_(k+1), at half the size; None for the coarsest path.
        finer: channels of the finer path's result l_(k-1), at twice the size; None without feedback.
        channels: channels of this path and of its result.
        kernel_sizes: of its MRF unit, four odd numbers.
        light: 1x1 convolutions in CRP and bottlenecks in RCUs.
        residual: the sum of eq. 3 and the remote residual.
        rcus: add two RCUs on the encoder's map and three after CRP.
    """

    def __init__(
        self,
        blurred: int,
        coarser: int | None,
        finer: int | None,
        channels: int,
        kernel_sizes: Sequence[int],
        light: bool,
        residual: bool,
        rcus: bool,
    ):
        super().__init__()
        self.residual = residual
        self.enlarge = nn.ConvTranspose2d(coarser, channels, 4, 2, 1) if coarser else None
        self.feedback = conv(finer, channels, 3, stride=2) if finer else None
        self.adapt = nn.Sequential(*(RCU(blurred, light) for _ in range(2 if rcus else 0)))
        self.entry = conv(blurred + (channels if coarser else 0), channels, 3)
        self.pool = CRP(channels, 1 if light else 3)
        self.refine = nn.Sequential(*(RCU(channels, light) for _ in range(3 if rcus else 0)))
        self.unit = MRFUnit(channels, kernel_sizes, residual)

    def forward(self, blurred: Tensor, coarser: Tensor | None, finer: Tensor | None) -> Tensor:
        """Compute the result l_k of this path, (N, channels, h, w).

        Args:
            blurred: b_k, (N, C, h, w).
            coarser: l_(k+1) of this round, (N, C, h/2, w/2); None for the coarsest path.
            finer: l_(k-1) of the round before, (N, C, 2h, 2w); None in the first round and for the finest path.
        """
        fused = self.adapt(blurred)
        if self.enlarge is not None:
            fused = torch.cat((fused, self.enlarge(coarser)), 1)  # eq. 1
        fused = F.relu(self.entry(fused))
        if self.feedback is not None and finer is not None:
            fused = fused + self.feedback(finer)  # eq. 2
        result = self.unit(self.refine(self.pool(F.relu(fused))))
        return result + fused if self.residual else result


class MRFNet(nn.Module):
    """An encoder with one map per scale, and one refinement path per scale from coarse to fine, in rounds (Fig. 2).

    Args:
        channels: output channels of conv1, at least 4, 32 in table I; those of all other layers are multiples of it.
        num_paths: scales and paths, 1 to 6, 4 in table I. Fewer drop the coarsest, more repeat conv7, conv8 and path
            r1.
        light: 1x1 convolutions where table I has them and in CRP; False has 3x3 there, RefineNet or RCRefineNet of
            table V.
        residual: the sum of eq. 3, the remote residual, the blurred image in the heads and the feedback of eq. 2; False
            is RefineNet or LWRefineNet of table V.
        rounds: passes over the paths, each with the results of the one before (eq. 2). None is 2, and 1 without
            `residual`.
        stem_stride: 1 as in table I, or 4 for the text's scales 1/4 to 1/32: the correction of the finest head is then
            enlarged bilinearly and added to the whole image.
        rcus: put RCUs on the encoder's maps and after CRP, as the text counts them.

    Raises:
        ParamsError: for another value, more than one round without `residual`, or scales below 1/32.
    """

    def __init__(
        self,
        channels: int = 32,
        num_paths: int = 4,
        light: bool = True,
        residual: bool = True,
        rounds: int | None = None,
        stem_stride: int = 1,
        rcus: bool = False,
    ):
        super().__init__()
        rounds = (2 if residual else 1) if rounds is None else rounds
        check_arguments(channels, num_paths, residual, rounds, stem_stride)
        self.residual = residual
        self.stem_stride = stem_stride
        self.multiple = stem_stride * 2 ** (num_paths - 1)
        feedback = rounds > 1 and num_paths > 1
        self.rounds = rounds if feedback else 1  # with one path nothing is fed back, and all rounds are the same
        thin = 1 if light else 3
        maps = [channels * times for times in (2, 4, 8, 8, 8, 8)][:num_paths]
        widths = [channels * times for times in (1, 2, 4, 8, 8, 8)][:num_paths]

        stages = [nn.Sequential(conv(3, channels, 5, stem_stride), nn.ReLU(), conv(channels, maps[0], thin), nn.ReLU())]
        for level, (before, after) in enumerate(pairwise(maps), 1):
            down = conv(before, after, 5 if level == 1 else 3, stride=2)
            stages.append(nn.Sequential(down, nn.ReLU(), conv(after, after, thin), nn.ReLU()))
        self.encoder = nn.ModuleList(stages)

        self.paths = nn.ModuleList(
            Path(
                maps[k],
                coarser=widths[k + 1] if k + 1 < num_paths else None,
                finer=widths[k - 1] if k and feedback else None,
                channels=widths[k],
                kernel_sizes=(3, thin, 3, thin) if k else (3, 3, thin, 3),
                light=light,
                residual=residual,
                rcus=rcus,
            )
            for k in range(num_paths)
        )
        self.heads = nn.ModuleList(conv(width, 3, 3) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Restore `x` (N, 3, H, W), RGB in [0, 1].

        Returns:
            one image per path, finest first, not clipped: the first (N, 3, H, W), the k-th after it (N, 3, H/s, W/s)
            with s = 2**k * stem_stride.
        Raises:
            DataError: when H or W is not a multiple of 2**(num_paths - 1) * stem_stride.
        """
        _, results = self.features(x)
        return self.images(x, results)

    def features(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the encoder's maps b_k and the paths' results l_k of the last round for `x`, both finest first."""
        check_size(x, self.multiple)
        maps, features = [], x
        for stage in self.encoder:
            features = stage(features)
            maps.append(features)
        finer: list[Tensor | None] = [None] * len(maps)
        for _ in range(self.rounds):
            results = self.refine(maps, finer)
            finer = [None, *results[:-1]]
        return maps, results

    def refine(self, maps: list[Tensor], finer: list[Tensor | None]) -> list[Tensor]:
        """Compute one round over the paths.

        Args:
            maps: the encoder's maps b_k, finest first.
            finer: for each path the result l_(k-1) of the round before, finest first; None in the first round.

        Returns:
            the paths' results l_k, finest first.
        """
        results: list[Tensor] = []
        coarser = None
        for path, blurred, last in zip(reversed(self.paths), reversed(maps), reversed(finer), strict=True):
            coarser = path(blurred, coarser, last)
            results.insert(0, coarser)
        return results

    def images(self, x: Tensor, results: list[Tensor]) -> list[Tensor]:
        """Return the heads' images for the paths' results, finest first.

        With `residual` the blurred image `x` is added, reduced to each scale by area averaging.
        """
        images = [head(result) for head, result in zip(self.heads, results, strict=True)]
        if self.stem_stride > 1:
            images[0] = F.interpolate(images[0], size=x.shape[-2:], mode="bilinear", align_corners=False)
        if not self.residual:
            return images
        blurred = [x] + [F.avg_pool2d(x, self.stem_stride * 2**k) for k in range(1, len(images))]
        return [image + scale for image, scale in zip(images, blurred, strict=True)]


def check_arguments(channels: int, num_paths: int, residual: bool, rounds: int, stem_stride: int) -> None:
    """Raise ParamsError for arguments that `MRFNet` cannot take."""
    if channels < 4:
        raise ParamsError(f"mrfnet: channels is {channels}, expected at least 4")
    if not 1 <= num_paths <= 6:
        raise ParamsError(f"mrfnet: num_paths is {num_paths}, expected 1 to 6 (Section III.B)")
    if rounds < 1 or (rounds > 1 and not residual):
        allowed = "at least 1" if residual else "1: without residual nothing is fed back"
        raise ParamsError(f"mrfnet: rounds is {rounds}, expected {allowed}")
    if stem_stride not in (1, 4):
        raise ParamsError(f"mrfnet: stem_stride is {stem_stride}, expected 1 (table I) or 4 (figure 2)")
    coarsest = stem_stride * 2 ** (num_paths - 1)
    if coarsest > COARSEST_SCALE:
        raise ParamsError(
            f"mrfnet: {num_paths} paths behind a stem of stride {stem_stride} end at 1/{coarsest} "
            f"of the image, expected 1/{COARSEST_SCALE} at most; use fewer paths or stem_stride 1"
        )


def check_size(x: Tensor, multiple: int) -> None:
    """Raise DataError for an image `x` (N, 3, H, W) whose sides are not multiples of `multiple`."""
    height, width = x.shape[-2:]
    if height % multiple or width % multiple:
        raise DataError(
            f"mrfnet: the image is {height}x{width} pixels (height x width), "
            f"expected sides that are multiples of {multiple}; pad it"
        )


def receptive_radius(
    num_paths: int = 4,
    light: bool = True,
    residual: bool = True,
    rounds: int | None = None,
    stem_stride: int = 1,
    rcus: bool = False,
) -> int:
    """Return the distance in pixels beyond which an input pixel does not influence a pixel of the full-size image.

    The arguments are MRFNet's. Each map of scale s, whose steps are s pixels, depends on a number of pixels before and
    after each position; a k x k convolution adds s (k - 1) / 2 to both. The result is exact for the default arguments.
    Where the positions of several scales are not aligned it is a few pixels too large.

    >>> receptive_radius(), receptive_radius(num_paths=1)
    (219, 11)
    """
    rounds = (2 if residual else 1) if rounds is None else rounds
    thin = 0 if light else 1  # steps to each side of a 1x1 or a 3x3 convolution
    scales = [stem_stride * 2**k for k in range(num_paths)]
    maps = [2 + stem_stride * thin]  # conv1 and conv2; in the encoder both sides are equal
    for k in range(1, num_paths):
        maps.append(maps[-1] + scales[k - 1] * (2 if k == 1 else 1) + scales[k] * thin)

    finer: list[tuple[int, int] | None] = [None] * num_paths
    for _ in range(rounds):
        results: list[tuple[int, int]] = []
        for k in reversed(range(num_paths)):
            step = scales[k]
            rcu = 1 if light else 2  # steps of one RCU
            before = after = maps[k] + (2 * rcu * step if rcus else 0)
            if results:  # a 4x4 deconvolution depends on two steps of the coarser map: one back, or half of one ahead
                before, after = max(before, results[0][0] + 2 * step), max(after, results[0][1] + step)
            before, after = before + step, after + step  # entry
            last = finer[k]
            if last is not None:
                before, after = max(before, last[0] + scales[k - 1]), max(after, last[1] + scales[k - 1])
            inside = 2 * (2 + thin) + (3 * rcu if rcus else 0) + (3 + thin if k == 0 else 2 + 2 * thin)
            results.insert(0, (before + inside * step, after + inside * step))
        finer = [None, *results[:-1]]
    before, after = results[0][0] + stem_stride, results[0][1] + stem_stride  # head
    return max(before + 5, after + 2) if stem_stride == 4 else max(before, after)  # bilinear enlargement by 4


def path_losses(preds: Sequence[Tensor], target: Tensor) -> Losses:
    """Return both losses of the paper, which the recipe weights: of all scales (eq. 5), and of the final image.

    The mean squared error of each path, `scale_1` the finest, is for the curves and not minimised.

    Args:
        preds: the network's images, finest first.
        target: (N, 3, H, W) in [0, 1].
    """
    with torch.no_grad():  # eq. 5 of one scale is half of its error
        by_scale = {f"scale_{k}": 2 * scale_refinement([pred], target) for k, pred in enumerate(preds, 1)}
    return {"scale_refinement": scale_refinement(preds, target), "mse": mse(preds[0], target), **by_scale}


def path_insides(x: Tensor, preds: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return each path's image, and its difference to the blurred image at its scale, for figures.

    Args:
        x: the blurred image (1, 3, H, W).
        preds: the network's images for it, finest first.

    Returns:
        by name: images (1, 3, h, w), and mean absolute differences of R, G and B (1, 1, h, w), all in [0, 1].
    """
    maps = {}
    for k, pred in enumerate(preds, 1):
        height, width = pred.shape[-2:]
        blurred = F.adaptive_avg_pool2d(x, (height, width))
        maps[f"path {k}: image"] = pred.clamp(0, 1)
        maps[f"path {k}: difference to the blurred image, own range"] = to_unit_range(
            (pred - blurred).abs().mean(1, True)
        )
    return maps
