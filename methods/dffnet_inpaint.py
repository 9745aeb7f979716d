"""The inpainting stage of DFFNet as a method.

Paper: "Double Feature Fusion network: A Progressive Learning Framework for Sharper Inpainting" (DFFNet), Section 3.3.
Code: zhangzhichao19020123/DFFNet (no licence file: read, not copied), commit 6a84a38, TensorFlow; a checkpoint's
variables load through `reference`. The network is in `methods/families/gated_inpainting.py`.

The losses are the code's; the paper names an adversarial and a multi-scale loss without weights. Differs from the code:
- The code computes its L1 in [-1, 1], which is twice ours; the weights of the recipe correct that.
- Masks are the dataset's, in the bands of the tests. The code trains with the strokes of DeepFill v2 or a box, of any
  share of the image; the dataset's options `generator` and `bands` choose others.
- The critic takes its step before the generator, whose loss calls it again. The code computes both from one pass.
- The critic's padding is symmetric (`methods/layers/sn_patch_critic.py`): the code's weights load, but the scores are
  shifted by a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import adversarial, at_least
from methods.families.gated_inpainting import InpaintingNet, rename_generator
from methods.layers import coherent_attention, sn_patch_critic
from methods.layers.sn_patch_critic import SNPatchCritic, critic_input, rename_critic
from methods.losses.adversarial import hinge_critic, hinge_generator
from methods.losses.pixel import composite, l1

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs


def generator(
    channels: int = 48, modules: int = 3, attention: str = "coherent", residual: bool = True
) -> InpaintingNet:
    """Make the network.

    Args:
        channels: filters of the first convolution, a multiple of 4; 48 in Table 7.
        modules: attention modules: 3 (after the first path, between the third and the fourth, and in the refinement) or
            1 (the refinement's alone), which is the ablation "attention modules decreased to one".
        attention: "coherent" (equations 7 to 9) or "contextual" (as the code); neither has weights.
        residual: the additions within paths and branches; False is the ablation without them.

    Raises:
        ParamsError: an argument is out of its range.
    """
    return InpaintingNet(channels, modules, attention, residual)


def critic(channels: int = 64) -> SNPatchCritic:
    """Make the critic of image and mask.

    Args:
        channels: width of the critic's first convolution.

    Raises:
        ParamsError: `channels` is below 1.
    """
    at_least(1, "dffnet-inpaint", critic_channels=channels)
    return SNPatchCritic(4, channels)


def critic_sees(image: Tensor, batch: Batch) -> Tensor:
    """Return what the critic is given: `image` in the hole, the truth elsewhere, and the mask, (N, 4, H, W)."""
    return critic_input(composite(image, batch["target"], batch["mask"]), batch["mask"])


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> Losses:
    """Return what the critic lowers: half the hinge loss, as in the code."""
    return {"adversarial": hinge_critic(critic(real), critic(fake)) / 2}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs, fake: Tensor) -> Losses:
    """Return what the generator lowers: L1 of both images, over the whole of them, and the adversarial loss."""
    return {
        "l1": l1(outputs["pred"], batch["target"]),
        "coarse_l1": l1(outputs["coarse"], batch["target"]),
        "adversarial": hinge_generator(networks["critic"](fake)),
    }


def insides(networks: nn.ModuleDict, batch: Batch) -> Mapping[str, Tensor]:
    """Return the coarse and the refined image, and what each attention module looks at."""
    network = networks["generator"]
    assert isinstance(network, InpaintingNet)
    return network.details(batch["x"], batch["mask"])


method = adversarial(
    "inpaint",
    generator,
    critic,
    generator_losses,
    critic_losses,
    critic_sees=critic_sees,
    outputs=("pred", "coarse"),
    reference={"generator": rename_generator, "critic": rename_critic},
    tiny={"channels": 4, "critic_channels": 4},
    multiple=16,
    min_size=16,
    tiling="Attention looks everywhere in the image: in tiles, which overlap, it looks within the tile, and a hole "
    "should be within one tile with known pixels around it.",
    insides=insides,
    readings=(
        "The hinge loss of the critic is half the sum of its two terms, as in the framework of the code.",
        *coherent_attention.READINGS,
        *sn_patch_critic.READINGS,
    ),
)
