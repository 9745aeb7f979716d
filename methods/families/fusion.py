"""Stage three of DFFNet: the network that fuses the blurred and the refined image.

Sources are in `methods/dffnet.py`; the sections, figures and tables named here are those of DFFNet's paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.coherent_attention import CoherentAttention
from methods.layers.initial import Tap, bias_of, select_pixels_

READINGS = (
    "The circles of figure 16 are labelled as sums and have 1 - x and x as inputs: they are products.",
    "Stage three attends at a quarter of the size, where a place is a hole if any of its pixels is one.",
    'The attention that Section 3.4.1 applies "once again" is the same layer after alpha has become 1.',
    "Alpha rises evenly from 0 at the start of the phase to 1 in its middle and stays there; the phase that trains "
    "all stages and restoring have 1.",
    "All blocks of stage three are 48 channels wide, as the first layer of stage two.",
    "Stage three starts as B, the blurred image with stage two's pixels in its hole: no path of figure 16 passes an "
    "image on, and a short training would be spent on learning that.",
)
"""How the paper was read where it is silent or contradicts itself, in what this file defines."""

QUARTER = 4
"""Side in pixels of the cells over which features are averaged before the attention."""


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Make a 3x3 convolution and a ReLU: (N, in_channels, H, W) to (N, out_channels, H, W)."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU())


class Fusion(nn.Module):
    """The blurred and the refined image to the result (Section 3.4.1, figure 16); 170,980 parameters.

    M = block([alpha R, (1 - alpha) E]), F = [B, M], x from F by attention, the result from [(1 - x) B, x F].

    Args:
        channels: width of every block, at least 3.
        progressive: let alpha rise in training; False keeps it at 1, DFFNet 3 of the ablation (4.3.3, table 4).
    """

    def __init__(self, channels: int = 48, progressive: bool = True):
        super().__init__()
        self.progressive = progressive
        self.blurred, self.refined, self.edges = block(3, channels), block(3, channels), block(1, channels)
        self.mix = block(2 * channels, channels)
        self.attention = CoherentAttention()
        self.share = nn.Sequential(block(2 * channels, channels), nn.Conv2d(channels, 1, 3, padding=1))
        self.narrow = block(2 * channels, channels)
        self.image = nn.Sequential(block(2 * channels, channels), nn.Conv2d(channels, 3, 3, padding=1))
        self.start_as_blurred()

    def start_as_blurred(self) -> None:
        """Let three channels pass B's colours on in both branches: the result starts near (1 - x) B + x B."""
        for branch, copies in ((self.blurred, 1), (self.narrow, 1), (self.image, 2)):
            conv = next(layer for layer in branch.modules() if isinstance(layer, nn.Conv2d))
            width = conv.in_channels // copies
            select_pixels_(conv, [Tap(c, copy * width + c, 1, 1) for c in range(3) for copy in range(copies)])
        head = self.image[1]
        assert isinstance(head, nn.Conv2d)
        with torch.no_grad():
            head.weight *= 0.1  # not 0: the other channels would have no gradient
            head.weight[range(3), range(3), 1, 1] = 1.0
            bias_of(head).zero_()

    def alpha(self, progress: float) -> float:
        """Return the share of the refined image in M, from 0 at the start to 1 in the middle of the phase.

        Args:
            progress: the share of the phase's steps that are done, in [0, 1].

        >>> Fusion(3).alpha(0.25), Fusion(3).alpha(0.75), Fusion(3, progressive=False).alpha(0.0)
        (0.5, 1.0, 1.0)
        """
        return min(1.0, 2 * progress) if self.progressive else 1.0

    def mixed(self, refined: Tensor, edges: Tensor | None, alpha: float) -> Tensor:
        """Return M (N, channels, H, W). Arguments as in `forward`."""
        features = self.refined(refined)
        drawn = torch.zeros_like(features) if edges is None else self.edges(edges)
        return self.mix(torch.cat([alpha * features, (1 - alpha) * drawn], dim=1))

    def forward(
        self, blurred: Tensor, refined: Tensor, mask: Tensor, edges: Tensor | None = None, alpha: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Fuse both images, sides multiples of 4.

        Args:
            blurred: B (N, 3, H, W) in [0, 1], its hole filled.
            refined: R, the same shape and range; its hole is filled too.
            mask: (N, 1, H, W), 1 = hole.
            edges: E (N, 1, H, W) in [0, 1], of the truth; None where alpha is 1.
            alpha: share of R in M, in [0, 1].

        Returns:
            The result (N, 3, H, W), not clipped, and x (N, 1, H, W), the share of F in it, in (0, 1).
        """
        low = self.blurred(blurred)
        features = torch.cat([low, self.mixed(refined, edges, alpha)], dim=1)
        matched = self.attention(F.avg_pool2d(features, QUARTER), F.max_pool2d(mask, QUARTER))
        share = F.interpolate(self.share(matched), scale_factor=QUARTER, mode="bilinear", align_corners=False).sigmoid()
        return self.image(torch.cat([(1 - share) * low, share * self.narrow(features)], dim=1)), share
