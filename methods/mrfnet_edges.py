"""MRFNet with the edge branch and the blur-class branch of its text, which the network of its tables does not have.

Paper: "Multipath Refinement Fusion Network for Efficient Image Deblurring" (Caffe), Section 3.3.3; no code of this part
is known. The multipath network is that of `methods/mrfnet.py`; the edge generator, its critic and their losses are
EdgeConnect's (K. Nazeri et al., arXiv 1901.00212), whose objective the section prints.

Three phases. "edge" trains the generator and the critic of edge maps; "classify" trains the classifier on images that
are blurred by one of two kernels; "deblur" trains the multipath network and the last stage, with the other networks
frozen. An image is restored in the order of the text: broad view (edges), location and classification, deblurring.

Left out: contextual attention with its heat maps, which the section names without layers (DFFNet, of the same authors,
defines it), and the scheduling of loss weights (Section IV.D), as in `methods/mrfnet.py`. Of the study of receptive
fields (figure 18) nothing is printed: the report shows what each path changes, from the largest field to the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, Phase, Player, at_least, in_order, numbered, unchanged
from methods.families import blur_class, multipath
from methods.families.blur_class import (
    CLASSES,
    BlurClassifier,
    class_logits,
    class_shares,
    draw_blurred,
    location_scores,
)
from methods.families.edge_model import EDGE_PHASE, Generator, canny, edge_input, luminance
from methods.families.multipath import COARSEST_SCALE, SCALE_LOSSES, MRFNet, path_insides, path_losses
from methods.layers.insides import to_unit_range
from methods.layers.patch_critic import PatchCritic
from methods.layers.refinenet import conv
from methods.losses.pixel import SCALE_REFINEMENT_READINGS

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs

READINGS = (
    "Broad view: the edge generator gets the grey blurred image, its Canny edges and no hole (a mask of zeros), and "
    "is trained to give the Canny edges of the grey truth.",
    'The "edge features" of the classifier are the edge map and its grey image. Without the edge branch the Canny '
    "edges of the blurred image take the place of the map.",
    "The classes are the two kinds of blur. The N object categories with one kernel each are not separated from them, "
    "as no data name objects.",
    'The "different blur kernels" are 3x3 convolutions, one per class, whose results are mixed at each place by class '
    "and location (`class_shares` in `methods/families/blur_class.py`).",
    "The last stage joins the finest map of the encoder (b_1), the finest result of the paths (l_1) and the edge map. "
    "Its result is added to the finest image and starts at 0, so that training begins with MRFNet's image.",
    "Alpha is the share of the predicted edges in the edge map of the last stage; the rest is the truth's. It rises "
    'evenly from 0 at the start of "deblur" to 1 in its middle; the text gives both ends and no course. Without the '
    "edge branch there is nothing that alpha weights.",
    "Restoring has no truth: alpha is 1. The text takes the predicted edges from the refined image; here they are "
    "those of the broad view, which is first in the order of the text and needs the generator once.",
    'The "synthesis loss" is printed without weights: each phase lowers its own losses, "deblur" those of MRFNet with '
    "the last stage's image as the finest.",
    *multipath.READINGS,
    *blur_class.READINGS,
    *SCALE_REFINEMENT_READINGS,
)


class LastStage(nn.Module):
    """Fuses deblurring and edge features into a correction of the finest image, 0 before training.

    Args:
        channels: width of MRFNet's conv1.
        edges: use an edge map.
        classes: refine by the kernels of each class.
    """

    def __init__(self, channels: int, edges: bool, classes: bool):
        super().__init__()
        self.entry = conv(3 * channels + edges, channels, 3)
        self.kernels = nn.ModuleList(conv(channels, channels, 3) for _ in CLASSES if classes)
        self.exit = conv(channels, 3, 3)
        for parameter in self.exit.parameters():
            nn.init.zeros_(parameter)

    def forward(self, blurred: Tensor, refined: Tensor, edges: Tensor | None, shares: Tensor | None) -> Tensor:
        """Return the correction (N, 3, H, W).

        Args:
            blurred: b_1 of the encoder, (N, 2 * channels, H, W).
            refined: l_1 of the paths, (N, channels, H, W).
            edges: the edge map (N, 1, H, W) in [0, 1]; None without.
            shares: of each class's kernels at each place, (N, 2, H, W) in [0, 1]; None without.
        """
        x = torch.cat([blurred, refined] if edges is None else [blurred, refined, edges], dim=1)
        x = F.relu(self.entry(x))
        if shares is not None:
            refined_by = [share * kernel(x) for share, kernel in zip(shares.split(1, dim=1), self.kernels, strict=True)]
            x = x + F.relu(torch.stack(refined_by).sum(0))
        return self.exit(x)


class Deblurrer(nn.Module):
    """MRFNet and the last stage; without edges and classes MRFNet alone.

    Args:
        channels: as in MRFNet.
        num_paths: as in MRFNet.
        edges: fuse an edge map.
        classes: refine by class and place.
    """

    def __init__(self, channels: int, num_paths: int, edges: bool, classes: bool):
        super().__init__()
        self.trunk = MRFNet(channels, num_paths)
        self.last = LastStage(channels, edges, classes) if edges or classes else None

    def forward(self, x: Tensor, edges: Tensor | None, shares: Tensor | None) -> list[Tensor]:
        """Restore a batch.

        Args:
            x: (N, 3, H, W), RGB in [0, 1].
            edges: as in `LastStage`.
            shares: as in `LastStage`.

        Returns:
            One image per path, finest first, not clipped.

        Raises:
            DataError: as in `MRFNet`.
        """
        maps, results = self.trunk.features(x)
        images = self.trunk.images(x, results)
        if self.last is not None:
            images[0] = images[0] + self.last(maps[0], results[0], edges, shares)
        return images


# Before deblurring ----------------------------------------------------------------------------------------------------


def predict_edges(networks: nn.ModuleDict, grey: Tensor) -> Tensor:
    """Predict the edge map of a blurred grey image, both (N, 1, H, W) in [0, 1], without a hole."""
    return networks["edge_generator"](edge_input(grey, canny(grey), torch.zeros_like(grey)))


@torch.no_grad()
def broad_view(networks: nn.ModuleDict, grey: Tensor) -> Tensor:
    """Return the edge map for classifier and last stage, (N, 1, H, W); without the edge branch that of Canny."""
    return predict_edges(networks, grey).float() if "edge_generator" in networks else canny(grey)


@torch.no_grad()
def edges_and_scores(networks: nn.ModuleDict, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the edge map (N, 1, H, W) and the classes' scores (N, 2, H/8, W/8) of `x` (N, 3, H, W).

    Either is None without its branch.
    """
    with_edges, with_classes = "edge_generator" in networks, "classifier" in networks
    if not (with_edges or with_classes):
        return None, None
    grey = luminance(x)
    edges = broad_view(networks, grey)
    scores = networks["classifier"](grey, edges) if with_classes else None
    return edges if with_edges else None, scores


def mix_edges(predicted: Tensor, batch: Batch) -> Tensor:
    """Return alpha times the predicted edge map plus 1 - alpha times that of the truth; in restoring alpha is 1."""
    if "progress" not in batch:
        return predicted
    alpha = (2 * batch["progress"]).clamp(max=1)
    return predicted if alpha >= 1 else alpha * predicted + (1 - alpha) * canny(luminance(batch["target"]))


# Phases ---------------------------------------------------------------------------------------------------------------


def edge_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Predict the truth's edges from the blurred image; the critic gets them with the truth's grey image."""
    grey = luminance(batch["target"])
    predicted = predict_edges(networks, luminance(batch["x"]))
    return {"real": torch.cat([grey, canny(grey)], dim=1), "fake": torch.cat([grey, predicted], dim=1)}


def classify_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Classify sharp images that were blurred for this, one half by each kind of blur."""
    blurred, labels = draw_blurred(luminance(batch["target"]))
    return {"scores": networks["classifier"](blurred, broad_view(networks, blurred)), "labels": labels}


def classifier_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the classifier lowers."""
    return {"cross_entropy": F.cross_entropy(class_logits(outputs["scores"]), outputs["labels"])}


def deblur(networks: nn.ModuleDict, batch: Batch) -> list[Tensor]:
    """Restore a batch by its edges and classes: one image per path, finest first."""
    x = batch["x"]
    edges, scores = edges_and_scores(networks, x)
    edges = None if edges is None else mix_edges(edges, batch)
    shares = None if scores is None else class_shares(scores, *x.shape[-2:])
    return networks["network"](x, edges, shares)


def deblur_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Restore the batch."""
    preds = deblur(networks, batch)
    return {"pred": preds[0], **numbered("scale", preds)}


def deblur_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the multipath network and the last stage lower: the losses of MRFNet."""
    return path_losses(in_order("scale", outputs), batch["target"])


# The entry ------------------------------------------------------------------------------------------------------------


def networks(
    channels: int = 32,
    num_paths: int = 4,
    edges: bool = True,
    classes: bool = True,
    edge_channels: int = 64,
    num_blocks: int = 8,
    critic_channels: int = 64,
    class_channels: int = 32,
) -> Mapping[str, nn.Module]:
    """Make the multipath network with its last stage, and the networks of the branches.

    Args:
        channels: width of MRFNet's conv1, 32 in table I; all other widths are its multiples. At least 4.
        num_paths: scales and paths of MRFNet, 1 to 6.
        edges: have the edge branch. Without it there is no edge generator and no phase "edge": its steps must be 0.
        classes: have the blur-class branch. Without it there is no classifier and no phase "classify".
        edge_channels: width of the edge generator.
        num_blocks: residual blocks of the edge generator.
        critic_channels: width of the critic of edge maps.
        class_channels: width of the classifier.

    Raises:
        ParamsError: an argument is out of its range.
    """
    at_least(1, "mrfnet-edges", edge_channels=edge_channels, num_blocks=num_blocks)
    at_least(1, "mrfnet-edges", critic_channels=critic_channels, class_channels=class_channels)
    made: dict[str, nn.Module] = {"network": Deblurrer(channels, num_paths, edges, classes)}
    if edges:
        made["edge_generator"] = Generator(True, edge_channels, num_blocks)
        made["edge_critic"] = PatchCritic(2, critic_channels)
    if classes:
        made["classifier"] = BlurClassifier(class_channels)
    return made


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Restore a batch: broad view, location and classification, deblurring."""
    return deblur(networks, {"x": batch["x"]})[0]


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """Return the edge map, location and probability of each class, and the images of the paths, for one image."""
    edges, scores = edges_and_scores(networks, batch["x"])
    images = {} if edges is None else {"edge map": edges}
    if scores is not None:
        for name, where in zip(CLASSES, location_scores(scores).split(1, dim=1), strict=True):
            images[f"location of {name}, own range"] = to_unit_range(where)
        images[f"probability: {', '.join(CLASSES)}"] = class_logits(scores).softmax(1)[0]
    return images | path_insides(batch["x"], deblur(networks, {"x": batch["x"]}))


method = Method(
    ("deblur",),
    networks,
    {
        "edge": Phase(edge_forward, EDGE_PHASE.players),
        "classify": Phase(classify_forward, {"classifier": Player(("classifier",), classifier_losses)}),
        "deblur": Phase(deblur_forward, {"network": Player(("network",), deblur_losses)}),
    },
    restore,
    reference={name: unchanged for name in ("network", "edge_generator", "edge_critic", "classifier")},
    tiny={
        "channels": 4,
        "edge_channels": 8,
        "num_blocks": 2,
        "critic_channels": 8,
        "class_channels": 4,
    },
    multiple=COARSEST_SCALE,
    min_size=COARSEST_SCALE,
    tiling="The edge generator's instance norm and the classifier's averages are over the whole image: tiles, which "
    "overlap, have different edges and classes.",
    watched=SCALE_LOSSES,
    insides=insides,
    readings=READINGS,
    limits=(
        f"Sides must be multiples of {COARSEST_SCALE} pixels, as MRFNet's.",
        "Contextual attention, which the paper's text names with the edges but without its layers, is left to DFFNet.",
    ),
)
