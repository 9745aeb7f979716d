"""RFR: recurrent feature reasoning for inpainting.

Paper: J. Li, N. Wang, L. Zhang, B. Du, D. Tao, "Recurrent Feature Reasoning for Image Inpainting", CVPR 2020. Code:
jingyuanli001/RFR-Inpainting (MIT; its partial convolution is NVIDIA's, BSD 3-clause), commit e1cad6a; released weights
load through `reference`. Network and losses are in `methods/families/rfr.py`, because DGFNet uses both.

Two phases: "train", then "finetune" with a lower rate and with batch norms that use their running statistics without
updating them. The player of the second phase is `finetune_network`, by which the recipe sets its rate.

Differs from that code:
- A mask has one channel, as all channels of the code's are equal there.
- The attention sums features, not scores, over 3x3 places; the value is the same.
- Training masks are the dataset's, in the bands of the tests; the code's strokes cover 54 % on average. The dataset's
  options `generator` and `bands` choose others.

Kept, though they look like mistakes: each round multiplies by the mask that has grown so far, which discards what was
painted beyond it, and the attention returns normalised features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import Method, Phase, Player
from methods.families.rfr import RFR, frozen_norms, region_losses, rename, vgg_losses
from methods.losses import perceptual
from methods.losses.pixel import composite, total_variation

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs


def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete a batch."""
    return {"pred": networks["network"](batch["x"], batch["mask"])}


def finetune_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete a batch with frozen batch norms."""
    with frozen_norms(networks["network"]):
        return forward(networks, batch)


def losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the network lowers (Section 3.4): L1 by region, total variation in the hole, and VGG's losses."""
    pred, target, mask = outputs["pred"], batch["target"], batch["mask"]
    terms = region_losses(pred, target, mask)
    terms["total_variation"] = total_variation(composite(pred, target, mask) * mask)
    if "vgg16" in networks:
        terms |= vgg_losses(networks["vgg16"], pred, target, mask)
    return terms


def networks(channels: int = 64, rounds: int = 6, kernel_size: int = 7) -> dict[str, nn.Module]:
    """Make the network.

    Args:
        channels: width at half the size, 64 in the code; up to eight times as many inside. Even.
        rounds: recurrences of the shared layers.
        kernel_size: side of the partial convolutions after the first; 5 is the code's network for smaller holes. Odd.

    Raises:
        ParamsError: an argument is out of its range.
    """
    return {"network": RFR(channels, rounds, kernel_size)}


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Complete a batch."""
    return networks["network"](batch["x"], batch["mask"])


method = Method(
    ("inpaint",),
    networks,
    {
        "train": Phase(forward, {"network": Player(("network",), losses)}),
        "finetune": Phase(finetune_forward, {"finetune_network": Player(("network",), losses)}),
    },
    restore,
    reference={"network": rename},
    tiny={"channels": 4, "rounds": 2, "kernel_size": 5},
    multiple=16,
    min_size=16,
    tiling="The attention looks at the whole image: in tiles, which overlap, it looks within the tile, and a hole "
    "should be within one tile with known pixels around it.",
    helpers={"vgg16": perceptual.vgg_helper("vgg16", ("perceptual", "style"))},
    limits=(
        "The attention holds a score for every two places of a map of an eighth of the sides: its memory grows with "
        "the square of the number of pixels (4 MB per matrix for 256x256, 1 GB for one megapixel).",
    ),
)
