"""DFFNet: from a blurred image with a hole to a sharp, whole one, in three stages: deblur, inpaint, fuse.

Paper: "Double Feature Fusion network: A Progressive Learning Framework for Sharper Inpainting" (authors, venue and year
are not in its text). Code: zhangzhichao19020123/DFFNet (no licence file), commit 6a84a38, in TensorFlow, holds stage
two and EdgeConnect's edge model; there is none for stages one and three, alpha and the coherency algorithm.

Stage one is MRFNet (table 6 is its table I), stage two the code's network (table 7) with the attention of eq. 7 to 9,
stage three figure 16. Five phases: "deblur", "edge", "inpaint", "fuse" with the others frozen, "together".

Our reading, where the paper is silent or contradicts itself:
- Stage one learns from whole blurred images, as Section 3.2 says. Everywhere else it gets the blurred image with its
  hole, 0 inside, for that is all there is to restore from; "together" shows it both.
- Stage two fills the hole of stage one's result, and is trained on the results of the frozen stage one: Section 3.1
  gives it "sharper" patches beside the true ones. Section 3.3.2 trains both apart: that is the entry `dffnet-inpaint`.
- Stage three's R is the deblurred image with stage two's pixels in the hole, B the blurred image with the same pixels.
  The circles of figure 16 are labelled as sums and carry 1 - x and x: products. Attention runs at a quarter of the
  size, where a place is a hole if any of its pixels is; "once again" in Section 3.4.1 is the same layer after alpha
  has become 1.
- alpha rises evenly from 0 at the start of "fuse" to 1 in its middle and stays; "together" and restoring have 1. So
  the edges, drawn from the truth, are never needed to restore, and the edge model, which the paper trains first, takes
  no part in the image: its map is among `insides`.
- Eq. 12 is printed log(1 - G(G(B))); we take the hinge loss of the code. Its critic is given image and mask: stage
  two's pixels in the true image as in the code, then the whole final prediction.
- Eq. 11 for one final image: its area averages at 1, 1/2, 1/4 and 1/8, the scales of table 6.
- Stage three starts as B, the blurred image with stage two's pixels in its hole: no path of figure 16 hands an image
  on, and a short training would spend itself on learning to.
- Masks are the dataset's, in the bands of the tests; the code trains with DeepFill v2's strokes or a box, of any share
  (the dataset's options `generator` and `bands` choose others).
- Occluding objects and characters (Section 3.3.3) are removed by a mask that a person draws over them: `python -m bench
  restore RUN PHOTO --mask MASK --out FOLDER`.
- The lightweight switch acts on stage one alone, for stage two has no 1x1 layer to begin with; the residual switch
  takes the paths' sums out of stages one and two.
Left out: stage one's features kept for stage two (Section 3.2). Crops, masks and augmentation are others at every step,
so nothing kept would be used again; in "inpaint" stage one runs frozen, without gradients.
Each stage is of use alone: `deblurred`, `inpainted`; `python -m bench import` makes one a run of `mrfnet` or
`dffnet-inpaint` (docs/add-a-method.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Phase, Player, in_order, numbered
from methods.families.edge_model import EDGE_PHASE, Generator, canny, luminance, predicted_edges
from methods.families.edge_model import rename_generator as rename_edge_generator
from methods.families.gated_inpainting import InpaintingNet
from methods.families.gated_inpainting import rename_generator as rename_inpainting
from methods.families.multipath import MRFNet
from methods.layers.coherent_attention import CoherentAttention
from methods.layers.initial import Tap, bias_of, select_pixels_
from methods.layers.patch_critic import PatchCritic
from methods.layers.patch_critic import rename_critic as rename_edge_critic
from methods.layers.sn_patch_critic import SNPatchCritic, critic_input, rename_critic
from methods.losses.adversarial import hinge_critic, hinge_generator
from methods.losses.pixel import composite, l1, mse, scale_refinement

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs

QUARTER = 4  # stage three attends on averages of 4x4 pixels
SCALES = 4  # full size to 1/8, table 6


# Stage three ----------------------------------------------------------------------------------------------------------


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 3x3 convolution and a ReLU, the size kept."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU())


class Fusion(nn.Module):
    """The blurred and the refined image to the result (Section 3.4.1, figure 16); 170,980 parameters.

    M = block([alpha R, (1 - alpha) E]), F = [B, M], x from F by attention, the result from [(1 - x) B, x F].

    Args:
        channels: width of every block, at least 3. Our reading: 48, the base of stage two.
        progressive: let alpha rise while training; False holds it at 1, DFFNet 3 of the ablation (4.3.3, table 4).
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
        self.begin()

    def begin(self) -> None:
        """Let three channels carry B's colours along both branches: the result starts near (1 - x) B + x B."""
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
        """The share of the refined image in M, from 0 at the start to 1 in the middle of the phase (Section 3.4.1).

        Args:
            progress: the share of the phase's steps that are done, in [0, 1].
        """
        return min(1.0, 2 * progress) if self.progressive else 1.0

    def mixed(self, refined: Tensor, edges: Tensor | None, alpha: float) -> Tensor:
        """M (N, channels, H, W), of R, E and alpha as in `forward`."""
        features = self.refined(refined)
        drawn = torch.zeros_like(features) if edges is None else self.edges(edges)
        return self.mix(torch.cat([alpha * features, (1 - alpha) * drawn], dim=1))

    def forward(
        self, blurred: Tensor, refined: Tensor, mask: Tensor, edges: Tensor | None = None, alpha: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Fuse both images, sides multiples of 4.

        Args:
            blurred: B (N, 3, H, W) in [0, 1], its hole filled.
            refined: R, likewise.
            mask: (N, 1, H, W), 1 = hole.
            edges: E (N, 1, H, W) in [0, 1], of the truth; None where alpha is 1.
            alpha: share of R in M, in [0, 1].

        Returns:
            the result (N, 3, H, W), not clipped, and x (N, 1, H, W), the share of F in it, in (0, 1).
        """
        low = self.blurred(blurred)
        features = torch.cat([low, self.mixed(refined, edges, alpha)], dim=1)
        matched = self.attention(F.avg_pool2d(features, QUARTER), F.max_pool2d(mask, QUARTER))
        share = F.interpolate(self.share(matched), scale_factor=QUARTER, mode="bilinear", align_corners=False).sigmoid()
        return self.image(torch.cat([(1 - share) * low, share * self.narrow(features)], dim=1)), share


# The stages in a row --------------------------------------------------------------------------------------------------


def deblurred(networks: nn.ModuleDict, x: Tensor) -> Tensor:
    """Stage one alone: `x` (N, 3, H, W) in [0, 1] without blur; a network without stage one gives `x` itself."""
    return networks["stage_one"](x)[0] if "stage_one" in networks else x


def inpainted(networks: nn.ModuleDict, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Stage two alone: the refined and the coarse filling of `x` (N, 3, H, W), whose hole is not looked at.

    Both cover the whole image, in [0, 1], and are not composited.
    """
    return networks["stage_two"](x * (1 - mask), mask)


def fused(
    networks: nn.ModuleDict, x: Tensor, refined: Tensor, mask: Tensor, edges: Tensor | None = None, alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Stage three: B from the blurred image with its hole and R's pixels, then `Fusion`."""
    return networks["stage_three"](composite(refined, x, mask), refined, mask, edges, alpha)


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Deblur, inpaint and fuse; alpha is 1, so no edges are drawn. All pixels are new ones, the known ones sharper."""
    x, mask = batch["x"], batch["mask"]
    sharp = deblurred(networks, x)
    refined, _ = inpainted(networks, sharp, mask)
    return fused(networks, x, composite(refined, sharp, mask), mask)[0]


def insides(networks: nn.ModuleDict, batch: Batch) -> Mapping[str, Tensor]:
    """What each stage gives for one image (figures 4, 16 and 17); with stage one also what stage two does without it.

    The edge map is the edge model's in the hole and Canny's of the deblurred image elsewhere.
    """
    x, mask = batch["x"], batch["mask"]
    stage_two = networks["stage_two"]
    assert isinstance(stage_two, InpaintingNet)
    sharp = deblurred(networks, x)
    grey = luminance(sharp)
    images = {"deblurred": sharp} if "stage_one" in networks else {}
    images["edges, predicted in the hole"] = predicted_edges(networks, grey, canny(grey, known=1 - mask), mask)
    found = stage_two.details(sharp * (1 - mask), mask)
    images |= {f"stage two, {name}": image for name, image in found.items()}
    if "stage_one" in networks:
        blurred = stage_two.details(x, mask)
        images |= {f"stage two without deblurring, {name}": image for name, image in blurred.items()}
    pred, share = fused(networks, x, composite(found["refined"], sharp, mask), mask)
    images |= {"stage three, share x of the mixed features": share, "result": pred}
    return {name: image.float().clamp(0, 1) for name, image in images.items()}


# Phases ---------------------------------------------------------------------------------------------------------------


def deblur_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Run stage one on whole blurred images: `scale_1` is the finest, then the others."""
    return numbered("scale", networks["stage_one"](batch["blurred"]))


def inpaint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Stage two on the frozen stage one's result. `judged` is what the critic sees: its pixels in the true image."""
    with torch.no_grad():
        sharp = deblurred(networks, batch["x"])
    refined, coarse = inpainted(networks, sharp, batch["mask"])
    return {"refined": refined, "coarse": coarse, "judged": composite(refined, batch["target"], batch["mask"])}


def fuse_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Stage three on what the frozen stages one and two give, with the edges of the truth as long as alpha is not 1."""
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
    """All stages as they restore, none of them frozen, and stage one on whole blurred images too."""
    x, mask = batch["x"], batch["mask"]
    sharp = deblurred(networks, x)
    refined, coarse = inpainted(networks, sharp, mask)
    pred = fused(networks, x, composite(refined, sharp, mask), mask)[0]
    outputs = {"pred": pred, "judged": pred, "refined": refined, "coarse": coarse}
    return outputs | dict(deblur_forward(networks, batch)) if "stage_one" in networks else outputs


def scales_of(image: Tensor) -> list[Tensor]:
    """`image` (N, C, H, W) and its area averages at 1/2, 1/4 and 1/8, finest first."""
    return [image, *(F.avg_pool2d(image, 2**k) for k in range(1, SCALES))]


def deblur_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What stage one lowers: eq. 10, without its 1/2, and eq. 11 over its paths; scale_k is watched, the k-th's MSE."""
    scales, target = in_order("scale", outputs), batch["target"]
    truths = scales_of(target)
    watched = {f"scale_{k}": mse(a.detach(), b) for k, (a, b) in enumerate(zip(scales, truths, strict=True), 1)}
    return {"scale_refinement": scale_refinement(scales, target), "mse": mse(scales[0], target)} | watched


def adversarial(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Tensor:
    """The generator's side of eq. 12, hinge."""
    judged = outputs["judged"]
    return hinge_generator(networks["critic"](critic_input(judged, batch["mask"])))


def mse_over_hole(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean squared difference of the hole's elements alone, 0 without a hole; `mask` (N, 1, H, W), 1 = hole."""
    return mse(pred * mask, target * mask) / mask.mean().clamp(min=1 / mask.numel())


def filling_losses(batch: Batch, outputs: Outputs) -> Losses:
    """L1 of both fillings over the whole image, as in the code, which takes it in [-1, 1]: twice ours.

    `hole` is not of the paper, and of weight 0 unless a recipe says otherwise: the squared error of both in the hole.
    """
    refined, coarse, target, mask = outputs["refined"], outputs["coarse"], batch["target"], batch["mask"]
    hole = mse_over_hole(refined, target, mask) + mse_over_hole(coarse, target, mask)
    return {"l1": l1(refined, target), "coarse_l1": l1(coarse, target), "hole": hole}


def inpaint_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What stage two lowers, as in the code: both L1 and the adversarial loss; and `hole`, see `filling_losses`."""
    return filling_losses(batch, outputs) | {"adversarial": adversarial(networks, batch, outputs)}


def fuse_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What stage three lowers: the adversarial loss and the scale loss (eq. 11 to 13)."""
    pred = outputs["pred"]
    return {
        "scale": scale_refinement(scales_of(pred), batch["target"]),
        "adversarial": adversarial(networks, batch, outputs),
    }


def together_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What all stages lower together: the losses of each; the adversarial one is of the final prediction."""
    losses = filling_losses(batch, outputs) | fuse_losses(networks, batch, outputs)
    return losses | deblur_losses(networks, batch, outputs) if in_order("scale", outputs) else losses


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the critic lowers: half the hinge loss, as in the code."""
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
            image: its recipe has no steps in "deblur".
        modules: attention modules of stage two, 3 or 1; 1 is DFFNet 2.
        progressive: alpha as above; False is DFFNet 3.
        light: 1x1 layers in stage one; False, with `residual` False, is DFFNet 4; alone DFFNet 2 of Section 4.4.
        residual: the sums in the paths of stages one and two; False is DFFNet 1 of Section 4.4.
        attention: of stage two: "coherent" (eq. 7 to 9) or "contextual" (the code); neither has weights.
        deblur_channels: width of stage one, table 6.
        inpaint_channels: width of stage two, table 7.
        inpaint_gain: factor of stage two's gated kernels before training; afterwards it changes nothing.
        fusion_channels: width of stage three.
        edge_channels: width of the edge generator and of its critic.
        edge_blocks: residual blocks of the edge generator.
        critic_channels: width of the critic of images.
    Raises:
        ParamsError: when an argument is out of its range.
    """
    if min(fusion_channels, edge_channels, edge_blocks, critic_channels) < 1:
        found = f"fusion_channels {fusion_channels}, edge_channels {edge_channels}, edge_blocks {edge_blocks}"
        raise ParamsError(f"dffnet: {found}, critic_channels {critic_channels}: each must be at least 1")
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
        # Players of their own names, by which `params.yaml` gives them a tenth of the rate.
        "together": Phase(
            together_forward,
            {"joint_critic": CRITIC, "joint": Player(("stage_one", "stage_two", "stage_three"), together_losses)},
        ),
    },
    restore,
    reference={
        "stage_one": lambda state: state,
        "edge_generator": rename_edge_generator,
        "edge_critic": rename_edge_critic,
        "stage_two": rename_inpainting,
        "stage_three": lambda state: state,
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
    tiling="Stages two and three match the hole with the whole image: tiles, which overlap, look within themselves, "
    "and a hole should lie within one tile with known pixels around it.",
    watched=tuple(f"scale_{k}" for k in range(1, SCALES + 1)),
    insides=insides,
)
