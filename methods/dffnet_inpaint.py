"""DFFNet's second stage by itself: inpainting.

Paper: DFFNet ("double feature fusion: a progressive learning framework for sharper inpainting"), Section 3.3. Code:
zhangzhichao19020123/DFFNet (no licence: read, not copied), commit 6a84a38, TensorFlow; a checkpoint's variables load
through `reference`. The network stands in `methods/families/gated_inpainting.py`.

The losses are the code's; the paper names an adversarial and a multi-scale loss without weights. Differs from it:
- It computes its L1 in [-1, 1]: twice ours. The weights in `params.yaml` make up for it.
- Our reading of the hinge loss of the critic: half the sum, as the framework of the code has it.
- Masks are the dataset's, in the bands of the tests; it trains with DeepFill v2's strokes or a box, of any share (the
  dataset's options `generator` and `bands` choose others).
- A critic steps before its generator, whose loss then calls it afresh; the code computes both from one pass.
- The critic's padding is symmetric (`layers/sn_patch_critic.py`); its weights load, its scores shift by a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Phase, Player
from methods.families.gated_inpainting import InpaintingNet, rename_generator
from methods.layers.sn_patch_critic import SNPatchCritic, critic_input, rename_critic
from methods.losses.adversarial import hinge_critic, hinge_generator
from methods.losses.pixel import composite, l1

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs


def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the batch."""
    refined, coarse = networks["generator"](batch["x"], batch["mask"])
    return {"pred": refined, "coarse": coarse}


def judged(batch: Batch, outputs: Outputs) -> Tensor:
    """The refined image in the hole, the truth elsewhere: what the critic judges."""
    pred = outputs["pred"]
    assert isinstance(pred, Tensor)
    return composite(pred, batch["target"], batch["mask"])


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the critic lowers."""
    critic, mask = networks["critic"], batch["mask"]
    real = critic(critic_input(batch["target"], mask))
    fake = critic(critic_input(judged(batch, outputs).detach(), mask))
    return {"adversarial": hinge_critic(real, fake) / 2}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the generator lowers: L1 of both images, over the whole of them, and the adversarial loss."""
    refined, coarse = outputs["pred"], outputs["coarse"]
    assert isinstance(refined, Tensor)
    assert isinstance(coarse, Tensor)
    fake = networks["critic"](critic_input(judged(batch, outputs), batch["mask"]))
    return {
        "l1": l1(refined, batch["target"]),
        "coarse_l1": l1(coarse, batch["target"]),
        "adversarial": hinge_generator(fake),
    }


def networks(
    channels: int = 48,
    modules: int = 3,
    attention: str = "coherent",
    residual: bool = True,
    critic_channels: int = 64,
) -> Mapping[str, nn.Module]:
    """Make the generator (`channels`, `modules`, `attention`, `residual`) and its critic (`critic_channels`).

    Raises:
        ParamsError: when an argument is out of its range.
    """
    if critic_channels < 1:
        raise ParamsError(f"dffnet-inpaint: critic_channels is {critic_channels}, expected at least 1")
    return {
        "generator": InpaintingNet(channels, modules, attention, residual),
        "critic": SNPatchCritic(4, critic_channels),
    }


def restore(networks: nn.ModuleDict | None, batch: Batch) -> Tensor:
    """The refined images."""
    assert networks is not None
    return networks["generator"](batch["x"], batch["mask"])[0]


def insides(networks: nn.ModuleDict, batch: Batch) -> Mapping[str, Tensor]:
    """The coarse and the refined image, and what each attention module looks at."""
    generator = networks["generator"]
    assert isinstance(generator, InpaintingNet)
    return generator.details(batch["x"], batch["mask"])


method = Method(
    ("inpaint",),
    networks,
    {
        "train": Phase(
            forward,
            {
                "critic": Player(("critic",), critic_losses),
                "generator": Player(("generator",), generator_losses),
            },
        )
    },
    restore,
    reference={"generator": rename_generator, "critic": rename_critic},
    tiny={"channels": 4, "critic_channels": 4},
    multiple=16,
    min_size=16,
    tiling="Attention looks everywhere in the image: tiles, which overlap, look within themselves, and a hole should "
    "lie within one tile with known pixels around it.",
    insides=insides,
)
