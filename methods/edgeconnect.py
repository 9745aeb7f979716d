"""EdgeConnect (EC): inpainting in two steps, edges first, then colours.

Paper: K. Nazeri, E. Ng, T. Joseph, F. Qureshi, M. Ebrahimi, "EdgeConnect: Generative Image Inpainting with Adversarial
Edge Learning", arXiv 1901.00212; ICCV Workshops 2019. Code: knazeri/edge-connect (CC BY-NC 4.0: not for commercial
use), commit 3142579; released weights load through `reference`.

Three phases. "edge" trains the edge generator and its critic; "inpaint" trains the colour generator and its critic on
the true edges; "joint" trains these two further on predicted edges, pasted into the hole of the true ones.

Differs from that code:
- Restoring pastes the predicted edges into the hole of the Canny map, as the paper's text and the training do; the
  code's test script gives the colour generator the whole predicted map, known region included.
- The critic takes its step before the generator, whose losses call it again. The code keeps the critic's output from
  before its step, which current versions of torch refuse (its weights have changed in place); the two differ by one
  small step of the critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.contracts import Method, adversarial_phase, at_least
from methods.families.edge_model import EDGE_PHASE, Generator, canny, luminance, predicted_edges, rename_generator
from methods.layers.patch_critic import PatchCritic, rename_critic
from methods.losses import perceptual
from methods.losses.adversarial import log_critic, log_generator
from methods.losses.pixel import l1_over_hole

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs

READINGS = (
    'The phase "joint" is stage 3 of the code\'s instructions, where the predicted edges are detached and the edge '
    "generator is not trained. The code has a fourth model that trains both generators in one step; its three stages "
    "do not use it.",
)

PERCEPTUAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
STYLE_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")


def colour_input(image: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """Stack RGB with the hole at 1 and the whole edge map.

    Args:
        image: (N, 3, H, W), RGB in [0, 1].
        edges: (N, 1, H, W) in [0, 1].
        mask: (N, 1, H, W), 1 = hole.

    Returns:
        (N, 4, H, W).
    """
    return torch.cat([image * (1 - mask) + mask, edges], dim=1)


def inpaint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the colours from the true edges of the whole image."""
    edges = canny(luminance(batch["target"]))
    return {"pred": networks["generator"](colour_input(batch["x"], edges, batch["mask"]))}


def joint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the colours from the predicted edges in the hole and the true ones outside it."""
    grey = luminance(batch["target"])
    edges = predicted_edges(networks, grey, canny(grey), batch["mask"])
    return {"pred": networks["generator"](colour_input(batch["x"], edges, batch["mask"]))}


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> Losses:
    """Return what the critic of the colours lowers; it sees the output as it is, not composited."""
    return {"adversarial": log_critic(critic(real)[-1], critic(fake)[-1])}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs, fake: Tensor) -> Losses:
    """Return what the generator of the colours lowers.

    L1 is over the whole output, divided by the hole's share; the style loss is of the hole alone. VGG-19 gets images
    in [0, 1], not normalised as for its training.
    """
    pred, target, mask = outputs["pred"], batch["target"], batch["mask"]
    losses = {"l1": l1_over_hole(pred, target, mask), "adversarial": log_generator(networks["critic"](fake)[-1])}
    if "vgg19" in networks:
        vgg = networks["vgg19"]
        losses["perceptual"] = perceptual.perceptual(vgg, pred, target, PERCEPTUAL_LAYERS)
        losses["style"] = perceptual.style(vgg, pred * mask, target * mask, STYLE_LAYERS)
    return losses


def networks(channels: int = 64, num_blocks: int = 8, critic_channels: int = 64) -> Mapping[str, nn.Module]:
    """Make both generators and their critics.

    Args:
        channels: width of the first convolution of each generator.
        num_blocks: residual blocks of each generator, at a quarter of the size.
        critic_channels: width of the first convolution of each critic.

    Raises:
        ParamsError: an argument is below 1.
    """
    at_least(1, "edgeconnect", channels=channels, num_blocks=num_blocks, critic_channels=critic_channels)
    return {
        "edge_generator": Generator(True, channels, num_blocks),
        "edge_critic": PatchCritic(2, critic_channels),
        "generator": Generator(False, channels, num_blocks),
        "critic": PatchCritic(3, critic_channels),
    }


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Complete the edges, then the colours. Canny ignores the hole, so that the hole's border makes no edges."""
    x, mask = batch["x"], batch["mask"]
    grey = luminance(x)
    edges = predicted_edges(networks, grey, canny(grey, known=1 - mask), mask)
    return networks["generator"](colour_input(x, edges, mask))


method = Method(
    ("inpaint",),
    networks,
    {
        "edge": EDGE_PHASE,
        "inpaint": adversarial_phase(inpaint_forward, generator_losses, critic_losses),
        "joint": adversarial_phase(joint_forward, generator_losses, critic_losses),
    },
    restore,
    reference={
        "edge_generator": rename_generator,
        "edge_critic": rename_critic,
        "generator": rename_generator,
        "critic": rename_critic,
    },
    tiny={"channels": 8, "num_blocks": 2, "critic_channels": 8},
    multiple=4,
    min_size=12,
    tiling="Instance norm takes its statistics from the whole image: tiles, which overlap, are normalised separately, "
    "and a hole should be within one tile with known pixels around it.",
    helpers={"vgg19": perceptual.vgg_helper("vgg19", ("perceptual", "style"))},
    readings=READINGS,
)
