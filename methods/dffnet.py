"""DFFNet: from a blurred image with a hole to a sharp, whole one, in three stages: deblur, inpaint, fuse.

Paper: "Double Feature Fusion network: A Progressive Learning Framework for Sharper Inpainting" (authors, venue and year
are not in its text). Code: zhangzhichao19020123/DFFNet (no licence file), commit 6a84a38, TensorFlow. It contains stage
two and EdgeConnect's edge model, but not stages one and three, alpha or the coherency algorithm.

Stage one is MRFNet (table 6 is MRFNet's table I). Stage two is the code's network (table 7) with the attention of eq. 7
to 9. Stage three is the network of figure 16. Training has five phases: "deblur", "edge", "inpaint", "fuse" with the
other networks frozen, and "together".

The lightweight switch acts on stage one alone, as stage two has no 1x1 layers; the residual switch removes the paths'
sums in stages one and two. Occluding objects and characters (Section 3.3.3) are removed by a mask that a person draws
over them: `python -m bench restore RUN PHOTO --mask MASK --out FOLDER`.

Left out: the features of stage one that are kept for stage two (Section 3.2). Crops, masks and augmentation differ at
every step, so nothing that is kept would be used again; in "inpaint" stage one runs frozen, without gradients.

Each stage can be used alone: `deblurred`, `inpainted`; `python -m bench import` makes one a run of `mrfnet` or
`dffnet-inpaint` (docs/add-a-method.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, Phase, Player, at_least, in_order, numbered, unchanged
from methods.families import fusion, multipath
from methods.families.edge_model import EDGE_PHASE, Generator, canny, luminance, predicted_edges
from methods.families.edge_model import rename_generator as rename_edge_generator
from methods.families.fusion import Fusion
from methods.families.gated_inpainting import InpaintingNet
from methods.families.gated_inpainting import rename_generator as rename_inpainting
from methods.families.multipath import MRFNet
from methods.layers import coherent_attention, sn_patch_critic
from methods.layers.patch_critic import PatchCritic
from methods.layers.patch_critic import rename_critic as rename_edge_critic
from methods.layers.sn_patch_critic import SNPatchCritic, critic_input, rename_critic
from methods.losses.adversarial import hinge_critic, hinge_generator
from methods.losses.pixel import SCALE_REFINEMENT_READINGS, composite, l1, mse, scale_refinement

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs

READINGS = (
    "Stage one learns from whole blurred images, as Section 3.2 says. Everywhere else it gets the blurred image with "
    'its hole, 0 inside, as in restoring; the phase "together" gives it both.',
    "Stage two fills the hole of stage one's result, and is trained on the results of the frozen stage one, because "
    'Section 3.1 gives it "sharper" patches as well as true ones. Section 3.3.2 trains both separately: that is the '
    "entry `dffnet-inpaint`.",
    "In stage three R is the deblurred image with stage two's pixels in the hole, and B the blurred image with the "
    "same pixels.",
    "Edges are drawn from the truth and never needed to restore, as alpha is then 1. So the edge model, which the "
    "paper trains first, does not take part in the image: its map is among `insides`.",
    "Eq. 12 is printed log(1 - G(G(B))); it is replaced by the hinge loss of the code. Its critic gets image and "
    "mask: as in the code, stage two's pixels in the true image, then the whole final prediction.",
    "Eq. 11 of one final image takes its area averages at 1, 1/2, 1/4 and 1/8, the scales of table 6.",
    "Masks are the dataset's, in the bands of the tests. The code trains with DeepFill v2's strokes or a box, of any "
    "share of the image; the dataset's options `generator` and `bands` choose others.",
    *fusion.READINGS,
    *multipath.READINGS,
    *coherent_attention.READINGS,
    *sn_patch_critic.READINGS,
    *SCALE_REFINEMENT_READINGS,
)
SCALES = 4
"""Scales of stage one: full size to 1/8, table 6."""


# The stages in a row --------------------------------------------------------------------------------------------------


def deblurred(networks: nn.ModuleDict, x: Tensor) -> Tensor:
    """Run stage one on `x` (N, 3, H, W) in [0, 1]; without stage one return `x` itself."""
    return networks["stage_one"](x)[0] if "stage_one" in networks else x


def inpainted(networks: nn.ModuleDict, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Run stage two.

    Args:
        networks: `stage_two` among them.
        x: (N, 3, H, W) in [0, 1]; its values in the hole are ignored.
        mask: (N, 1, H, W), 1 = hole.

    Returns:
        The refined and the coarse image, both whole, (N, 3, H, W) in [0, 1], not composited.
    """
    return networks["stage_two"](x * (1 - mask), mask)


def fused(
    networks: nn.ModuleDict, x: Tensor, refined: Tensor, mask: Tensor, edges: Tensor | None = None, alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Run stage three on R = `refined` and on B, the blurred image `x` with R's pixels in its hole.

    Arguments and result as in `Fusion.forward`.
    """
    return networks["stage_three"](composite(refined, x, mask), refined, mask, edges, alpha)


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Deblur, inpaint and fuse; alpha is 1, so no edges are needed. Known pixels are restored too, not copied."""
    x, mask = batch["x"], batch["mask"]
    sharp = deblurred(networks, x)
    refined, _ = inpainted(networks, sharp, mask)
    return fused(networks, x, composite(refined, sharp, mask), mask)[0]


def insides(networks: nn.ModuleDict, batch: Batch) -> Mapping[str, Tensor]:
    """Return the images of each stage for one image (figures 4, 16 and 17), and those of stage two without stage one.

    The edge map is the edge model's in the hole and Canny's of the deblurred image elsewhere.
    """
    x, mask = batch["x"], batch["mask"]
    stage_two = networks["stage_two"]
    assert isinstance(stage_two, InpaintingNet)
    sharp = deblurred(networks, x)
    grey = luminance(sharp)
    images = {"deblurred": sharp} if "stage_one" in networks else {}
    images["edges, predicted in the hole"] = predicted_edges(networks, grey, canny(grey, known=1 - mask), mask)
    filled = stage_two.details(sharp * (1 - mask), mask)
    images |= {f"stage two, {name}": image for name, image in filled.items()}
    if "stage_one" in networks:
        blurred = stage_two.details(x, mask)
        images |= {f"stage two without deblurring, {name}": image for name, image in blurred.items()}
    pred, share = fused(networks, x, composite(filled["refined"], sharp, mask), mask)
    images |= {"stage three, share x of the mixed features": share, "result": pred}
    return {name: image.float().clamp(0, 1) for name, image in images.items()}


# Phases ---------------------------------------------------------------------------------------------------------------


def deblur_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Run stage one on whole blurred images; `scale_1` is the finest of its images."""
    return numbered("scale", networks["stage_one"](batch["blurred"]))


def inpaint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Run stage two on the result of the frozen stage one.

    `judged`, which the critic gets, is the true image with stage two's pixels in the hole.
    """
    with torch.no_grad():
        sharp = deblurred(networks, batch["x"])
    refined, coarse = inpainted(networks, sharp, batch["mask"])
    return {"refined": refined, "coarse": coarse, "judged": composite(refined, batch["target"], batch["mask"])}


def fuse_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Run stage three on the results of the frozen stages one and two, with the true edges while alpha is below 1."""
    x, mask = batch["x"], batch["mask"]
    with torch.no_grad():
        sharp = deblurred(networks, x)
        refined = composite(inpainted(networks, sharp, mask)[0], sharp, mask)
    stage_three = networks["stage_three"]
    assert isinstance(stage_three, Fusion)
    alpha = stage_three.alpha(float(batch["progress"]))
    edges = canny(luminance(batch["target"])) if alpha < 1 else None
    pred = fused(networks, x, refined, mask, edges, alpha)[0]
    return {"pred": pred, "judged": pred}


def together_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Run all stages as in restoring, none of them frozen, and stage one on whole blurred images as well."""
    x, mask = batch["x"], batch["mask"]
    sharp = deblurred(networks, x)
    refined, coarse = inpainted(networks, sharp, mask)
    pred = fused(networks, x, composite(refined, sharp, mask), mask)[0]
    outputs = {"pred": pred, "judged": pred, "refined": refined, "coarse": coarse}
    return outputs | dict(deblur_forward(networks, batch)) if "stage_one" in networks else outputs


def scales_of(image: Tensor) -> list[Tensor]:
    """Return `image` (N, C, H, W) and its area averages at 1/2, 1/4 and 1/8, finest first."""
    return [image, *(F.avg_pool2d(image, 2**k) for k in range(1, SCALES))]


def deblur_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what stage one lowers: eq. 10, without its 1/2, and eq. 11 over its paths; the MSE of each is watched."""
    scales, target = in_order("scale", outputs), batch["target"]
    truths = scales_of(target)
    watched = {f"scale_{k}": mse(a.detach(), b) for k, (a, b) in enumerate(zip(scales, truths, strict=True), 1)}
    return {"scale_refinement": scale_refinement(scales, target), "mse": mse(scales[0], target)} | watched


def adversarial(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Tensor:
    """Return the generator's side of eq. 12, as a hinge loss."""
    judged = outputs["judged"]
    return hinge_generator(networks["critic"](critic_input(judged, batch["mask"])))


def mse_over_hole(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference over the elements of the hole, 0 without a hole.

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        mask: (N, 1, H, W), 1 = hole.

    >>> mask = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    >>> mse_over_hole(0.5 * torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), mask).item()
    0.25
    """
    return mse(pred * mask, target * mask) / mask.mean().clamp(min=1 / mask.numel())


def filling_losses(batch: Batch, outputs: Outputs) -> Losses:
    """Return L1 of both images of stage two, over the whole images, as in the code, where the range [-1, 1] doubles it.

    `hole`, the squared error of both in the hole, is not in the paper: its weight is 0 unless a recipe sets it.
    """
    refined, coarse, target, mask = outputs["refined"], outputs["coarse"], batch["target"], batch["mask"]
    hole = mse_over_hole(refined, target, mask) + mse_over_hole(coarse, target, mask)
    return {"l1": l1(refined, target), "coarse_l1": l1(coarse, target), "hole": hole}


def inpaint_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what stage two lowers: the losses of `filling_losses` and the adversarial loss, as in the code."""
    return filling_losses(batch, outputs) | {"adversarial": adversarial(networks, batch, outputs)}


def fuse_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what stage three lowers: the adversarial loss and the scale loss (eq. 11 to 13)."""
    pred = outputs["pred"]
    return {
        "scale": scale_refinement(scales_of(pred), batch["target"]),
        "adversarial": adversarial(networks, batch, outputs),
    }


def together_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what all stages lower together: the losses of each, with the final prediction's adversarial loss."""
    losses = filling_losses(batch, outputs) | fuse_losses(networks, batch, outputs)
    return losses | deblur_losses(networks, batch, outputs) if in_order("scale", outputs) else losses


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the critic lowers: half the hinge loss, as in the code."""
    critic, mask, judged = networks["critic"], batch["mask"], outputs["judged"]
    real, fake = (critic(critic_input(image, mask)) for image in (batch["target"], judged.detach()))
    return {"adversarial": hinge_critic(real, fake) / 2}


# The entry ------------------------------------------------------------------------------------------------------------


def networks(
    deblur: bool = True,
    modules: int = 3,
    progressive: bool = True,
    light: bool = True,
    residual: bool = True,
    attention: str = "coherent",
    deblur_channels: int = 32,
    inpaint_channels: int = 48,
    inpaint_gain: float = 1.0,
    fusion_channels: int = 48,
    edge_channels: int = 64,
    edge_blocks: int = 8,
    critic_channels: int = 64,
) -> Mapping[str, nn.Module]:
    """Make the three stages, the edge model and both critics.

    Args:
        deblur: have stage one; False is DFFNet 1 of the ablation (4.3.3, table 4), where stage two fills the blurred
            image. Its recipe must have no steps in "deblur".
        modules: attention modules of stage two, 3 or 1; 1 is DFFNet 2.
        progressive: let alpha rise in training; False is DFFNet 3.
        light: 1x1 layers in stage one; False alone is DFFNet 2 of Section 4.4, together with `residual` False DFFNet 4.
        residual: the sums in the paths of stages one and two; False is DFFNet 1 of Section 4.4.
        attention: of stage two: "coherent" (eq. 7 to 9) or "contextual" (the code); neither has weights.
        deblur_channels: width of stage one, table 6.
        inpaint_channels: width of stage two, table 7.
        inpaint_gain: factor of stage two's gated kernels before training; without effect on trained weights.
        fusion_channels: width of stage three.
        edge_channels: width of the edge generator and of its critic.
        edge_blocks: residual blocks of the edge generator.
        critic_channels: width of the critic of images.

    Raises:
        ParamsError: an argument is out of its range.
    """
    at_least(1, "dffnet", edge_channels=edge_channels, edge_blocks=edge_blocks, critic_channels=critic_channels)
    at_least(1, "dffnet", fusion_channels=fusion_channels)
    stage_one: dict[str, nn.Module] = (
        {"stage_one": MRFNet(deblur_channels, light=light, residual=residual)} if deblur else {}
    )
    return stage_one | {
        "edge_generator": Generator(True, edge_channels, edge_blocks),
        "edge_critic": PatchCritic(2, edge_channels),
        "stage_two": InpaintingNet(inpaint_channels, modules, attention, residual, inpaint_gain),
        "stage_three": Fusion(fusion_channels, progressive),
        "critic": SNPatchCritic(4, critic_channels),
    }


CRITIC = Player(("critic",), critic_losses)


method = Method(
    ("sharp-inpaint",),
    networks,
    {
        "deblur": Phase(deblur_forward, {"stage_one": Player(("stage_one",), deblur_losses)}),
        "edge": EDGE_PHASE,
        "inpaint": Phase(inpaint_forward, {"critic": CRITIC, "stage_two": Player(("stage_two",), inpaint_losses)}),
        "fuse": Phase(fuse_forward, {"critic": CRITIC, "stage_three": Player(("stage_three",), fuse_losses)}),
        # Its players have other names, by which the recipe gives them a tenth of the rate.
        "together": Phase(
            together_forward,
            {"joint_critic": CRITIC, "joint": Player(("stage_one", "stage_two", "stage_three"), together_losses)},
        ),
    },
    restore,
    reference={
        "stage_one": unchanged,
        "edge_generator": rename_edge_generator,
        "edge_critic": rename_edge_critic,
        "stage_two": rename_inpainting,
        "stage_three": unchanged,
        "critic": rename_critic,
    },
    tiny={
        "deblur_channels": 4,
        "inpaint_channels": 4,
        "fusion_channels": 8,
        "edge_channels": 4,
        "edge_blocks": 1,
        "critic_channels": 4,
    },
    multiple=16,
    min_size=16,
    tiling="Stages two and three match the hole with the whole image: in tiles, which overlap, they look within the "
    "tile, and a hole should be within one tile with known pixels around it.",
    watched=tuple(f"scale_{k}" for k in range(1, SCALES + 1)),
    insides=insides,
    readings=READINGS,
)
