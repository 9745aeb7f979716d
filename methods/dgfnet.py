"""DGFNet: detail generation and fusion for inpainting; an image and its texture are completed apart, then fused.

Paper: W. Yang, W. Shi, "Detail Generation and Fusion Networks for Image Inpainting" (Shenzhen University; it names no
venue). No code is known, so there are no reference weights. The texture T is the image minus its smooth part by
relative total variation (L. Xu et al., SIGGRAPH Asia 2012); the coarse branch is RFR (J. Li et al., CVPR 2020); the
critic is SN-PatchGAN (J. Yu et al., ICCV 2019).

Ablations (Table 2): `texture` and `dpfm` both false are the baseline, RFR plus a fusion network on its result alone;
with `dpfm` false, features are concatenated and convolved (3x3, stride 2) in place of each module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Phase, Player, at_least, unchanged
from methods.auxiliary import rtv
from methods.auxiliary.rtv import EPS, ITERATIONS, LAM, SIGMA, TEXTURE, check_options, texture_of_masked
from methods.families.edge_model import Generator
from methods.families.rfr import RFR, frozen_norms, region_losses, vgg_losses
from methods.layers import sn_patch_critic
from methods.layers.sn_patch_critic import SNPatchCritic
from methods.losses import perceptual
from methods.losses.adversarial import hinge_critic
from methods.losses.pixel import composite

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs

READINGS = (
    'The texture branch, "a simple encoder-decoder", is EdgeConnect\'s colour generator with tanh; its input is T and '
    "the mask.",
    "Both results enter the fusion as composites, with the known pixels outside the hole.",
    'The "several convolution layers" before the fusion are one 7x7 to 32 channels with LeakyReLU for each input.',
    "DPFMs are 3x3 and double the channels up to 512. Each level of the decoder is nearest x2, the F_out of that size "
    "(at full size the stem's F_c), 3x3, batch norm and LeakyReLU; the last 3x3 has no activation.",
    "All layers have biases, and all slopes of LeakyReLU are 0.2.",
    "Eq. 4 prints F_c' twice: the second is F_t'.",
    "Losses follow RFR's code in what they average and in that VGG sees both output and composite; their weights are "
    "the paper's. Style is divided by c h w, as there: without it a weight of 180 would exceed all else.",
    "The critic gets RGB composites (eq. 8) without a mask.",
    "One optimiser moves the three networks, and gradients flow from the fusion into both branches.",
    "In training T is that of the truth with its hole cut out; in restoring it is made from the image with its hole. "
    "The paper always takes it from the masked image: `masked_texture` does so in training too, for each crop at each "
    "step, because it depends on the mask. The target of T is the truth's in both cases.",
    "RTV has the values of StructureFlow and MEDFE: the paper gives none and compares with the latter. `params.yaml` "
    "sets all four (`auxiliary`), and a run keeps those that it was trained with.",
    "Masks are the dataset's, in the bands of the tests; the strokes of RFR's code cover 54 % on average. The "
    "dataset's options `generator` and `bands` choose others.",
    "Fine-tuning freezes batch norms, as RFR's does. Its players have other names, by which the recipe sets their "
    "rate.",
    *rtv.READINGS,
    *sn_patch_critic.READINGS,
)
SLOPE = 0.2
"""Of LeakyReLU below 0."""
PARTS = ("coarse", "texture", "fusion")
"""What has losses, by the beginning of their names."""


class DPFM(nn.Module):
    """The difference perception fusion module: each feature map passes a gate that depends on both (eq. 1 to 3).

    Args:
        in_channels: width of F_c and of F_t.
        out_channels: width of either result, at half the size.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.gate = nn.Conv2d(2 * in_channels, 2 * out_channels, 3, stride=2, padding=1)
        self.gate_norm = nn.BatchNorm2d(2 * out_channels)
        self.coarse = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.coarse_norm = nn.BatchNorm2d(out_channels)
        self.texture = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.texture_norm = nn.BatchNorm2d(out_channels)

    def gates(self, coarse: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
        """Return W_c and W_t (eq. 1) in (0, 1).

        Args:
            coarse: F_c (N, in_channels, H, W).
            texture: F_t, the same shape.

        Returns:
            Two gates (N, out_channels, H / 2, W / 2).
        """
        both = torch.sigmoid(self.gate_norm(self.gate(torch.cat([coarse, texture], dim=1))))
        first, second = both.chunk(2, dim=1)
        return first, second

    def forward(self, coarse: Tensor, texture: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return F_c' and F_t' (eq. 2, 3), (N, out_channels, H / 2, W / 2), and the gates. Arguments as in `gates`."""
        gates = self.gates(coarse, texture)
        coarse = self.coarse_norm(gates[0] * F.leaky_relu(self.coarse(coarse), SLOPE))
        texture = self.texture_norm(gates[1] * F.leaky_relu(self.texture(texture), SLOPE))
        return coarse, texture, gates


def normed(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Make a 3x3 convolution, batch norm and LeakyReLU: `stride` divides height and width."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(SLOPE))


class Fusion(nn.Module):
    """The fusion network: an encoder to a sixteenth of the size, a decoder with skips. 13,727,491 parameters.

    Args:
        channels: width of each stem; each of the four levels doubles it.
        texture: fuse a texture; False leaves it out.
        dpfm: False replaces each DPFM by a convolution of all features.
    """

    def __init__(self, channels: int = 32, texture: bool = True, dpfm: bool = True):
        super().__init__()
        self.with_dpfm = dpfm
        streams = 2 if texture else 1
        self.stems = nn.ModuleList(nn.Conv2d(3, channels, 7, padding=3) for _ in range(streams))
        widths = [channels * 2**level for level in range(5)]
        self.levels = nn.ModuleList(
            DPFM(before, after) if dpfm else normed(streams * before, streams * after, stride=2)
            for before, after in pairwise(widths)
        )
        skips = [channels, *(streams * width for width in widths[1:])]
        below = [*widths[1:4], skips[4]]  # channels that come up from the level below
        self.decoder = nn.ModuleList(normed(below[i] + skips[i], widths[i]) for i in (3, 2, 1, 0))
        self.exit = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, images: list[Tensor]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Fuse image and texture.

        Args:
            images: the composite image (N, 3, H, W) in [0, 1] and, with `texture`, the composite texture in [-1, 1].

        Returns:
            The image (N, 3, H, W), not clipped, and (W_c, W_t) of each DPFM, the finest first.
        """
        features = [F.leaky_relu(stem(image), SLOPE) for stem, image in zip(self.stems, images, strict=True)]
        maps, gates = [features[0]], []
        for level in self.levels:
            if self.with_dpfm:
                *features, gate = level(*features)
                gates.append(gate)
            else:
                features = [level(torch.cat(features, dim=1))]
            maps.append(torch.cat(features, dim=1))
        x = maps.pop()
        for layer in self.decoder:
            x = layer(torch.cat([F.interpolate(x, scale_factor=2), maps.pop()], dim=1))
        return self.exit(x), gates


@dataclass
class Completed:
    """What the generator gives for a batch.

    Args:
        coarse: I_c (N, 3, H, W), the result of RFR, not composited.
        texture: the completed T (N, 3, H, W) in [-1, 1], not composited; None without the texture branch.
        fusion: the final image (N, 3, H, W), neither clipped nor composited.
        gates: W_c and W_t of each DPFM, the finest first; empty without DPFMs.
    """

    coarse: Tensor
    texture: Tensor | None
    fusion: Tensor
    gates: list[tuple[Tensor, Tensor]]


class DGFNet(nn.Module):
    """The generator: coarse branch, texture branch and fusion network. 55,726,151 parameters.

    Arguments as in `networks`; `smoothing` are the options of RTV with `masked_texture`, otherwise None.
    """

    def __init__(
        self,
        channels: int = 64,
        rounds: int = 6,
        kernel_size: int = 7,
        num_blocks: int = 8,
        texture: bool = True,
        dpfm: bool = True,
        smoothing: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.smoothing = smoothing
        if dpfm and not texture:
            raise ParamsError("dgfnet: dpfm true with texture false: a DPFM fuses image and texture; set dpfm to false")
        at_least(1, "dgfnet", num_blocks=num_blocks)
        self.coarse = RFR(channels, rounds, kernel_size)
        self.texture = Generator(False, channels, num_blocks, signed=True) if texture else None
        self.fusion = Fusion(channels // 2, texture, dpfm)

    def forward(self, batch: Batch) -> Completed:
        """Complete a batch.

        Args:
            batch: `x` (N, 3, H, W) in [0, 1] and `mask` (N, 1, H, W), 1 = hole, sides multiples of 16; with the texture
                branch also `texture` (N, 3, H, W) in [-1, 1], whose values in the hole are ignored.
        """
        x, mask = batch["x"], batch["mask"]
        coarse = self.coarse(x, mask)
        images, texture = [composite(coarse, x, mask)], None
        if self.texture is not None:
            known = batch["texture"] * (1 - mask)
            texture = self.texture(torch.cat([known, mask], dim=1))
            images.append(composite(texture, known, mask))
        fusion, gates = self.fusion(images)
        return Completed(coarse, texture, fusion, gates)


def clipped_hinge_generator(fake: Tensor) -> Tensor:
    """Return max(0, 1 - fake), eq. 9 as printed; the usual hinge loss, as in DeepFill v2, is -fake, not clipped.

    >>> clipped_hinge_generator(torch.tensor([0.5, 3.0])).item()
    0.25
    """
    return F.relu(1 - fake.float()).mean()


def texture_with_hole(batch: Batch, smoothing: Mapping[str, Any]) -> Tensor:
    """Make the texture of each image with its hole, (N, 3, H, W), as in restoring.

    Args:
        batch: `x` (N, 3, H, W) and `mask` (N, 1, H, W) among others.
        smoothing: options of RTV.
    """
    pairs = zip(*(batch[name].float().permute(0, 2, 3, 1).cpu().numpy() for name in ("x", "mask")), strict=True)
    with torch.autocast("cpu", enabled=False):
        made = np.stack([texture_of_masked(x, mask, **smoothing) for x, mask in pairs])
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(batch["x"])


def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete a batch: `pred` is the fused image, `coarse` and `texture` are the results of the branches."""
    generator = networks["generator"]
    assert isinstance(generator, DGFNet)
    inputs = {**batch, "texture": texture_with_hole(batch, generator.smoothing)} if generator.smoothing else batch
    completed = generator(inputs)
    outputs = {"pred": completed.fusion, "coarse": completed.coarse}
    return outputs if completed.texture is None else outputs | {"texture": completed.texture}


def finetune_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete a batch with frozen batch norms."""
    with frozen_norms(networks["generator"]):
        return forward(networks, batch)


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the critic lowers (eq. 8): the hinge loss of truth and composite."""
    critic, pred = networks["critic"], outputs["pred"]
    completed = composite(pred.detach(), batch["target"], batch["mask"])
    return {"adversarial": hinge_critic(critic(batch["target"]), critic(completed))}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return what the generator lowers: the losses of each part (eq. 10), named "coarse_hole" and so on, and eq. 9."""
    mask = batch["mask"]
    losses: Losses = {}
    for part, output in zip(PARTS, ("coarse", "texture", "pred"), strict=True):
        if output not in outputs:
            continue
        pred, target = outputs[output], batch["texture" if part == "texture" else "target"]
        terms = region_losses(pred, target, mask)
        if "vgg16" in networks:
            terms |= vgg_losses(networks["vgg16"], pred, target, mask)
        losses |= {f"{part}_{name}": value for name, value in terms.items()}
        if part == "fusion":
            losses["adversarial"] = clipped_hinge_generator(networks["critic"](composite(pred, target, mask)))
    return losses


def networks(
    channels: int = 64,
    rounds: int = 6,
    kernel_size: int = 7,
    num_blocks: int = 8,
    texture: bool = True,
    dpfm: bool = True,
    critic_channels: int = 64,
    masked_texture: bool = False,
    lam: float = LAM,
    sigma: float = SIGMA,
    eps: float = EPS,
    iterations: int = ITERATIONS,
) -> Mapping[str, nn.Module]:
    """Make generator and critic.

    Args:
        channels: width of the first layers of both branches, twice that of the fusion's; even.
        rounds: recurrences of RFR.
        kernel_size: side of RFR's partial convolutions after the first; odd.
        num_blocks: residual blocks of the texture branch.
        texture: have a texture branch; without it and without `dpfm` this is the baseline of Table 2.
        dpfm: fuse by DPFMs; False is the second row of Table 2.
        critic_channels: width of the critic's first layer.
        masked_texture: train on the texture of the image with its hole, as in the paper. Making it at every step takes
            0.05 s of one core per image of 128x128. False: train on the truth's texture with the hole cut out.
        lam: of the texture's RTV: weight of the relative total variation.
        sigma: of the texture's RTV: its window, in pixels.
        eps: of the texture's RTV: the smallest gradient that counts.
        iterations: of the texture's RTV: number of systems that are solved.

    Raises:
        ParamsError: an argument is out of its range, or there are DPFMs without a texture branch.
    """
    at_least(1, "dgfnet", critic_channels=critic_channels)
    if masked_texture and not texture:
        raise ParamsError(
            "dgfnet: masked_texture true with texture false: there is no texture; set masked_texture to false"
        )
    check_options(lam, sigma, eps, iterations)
    smoothing = {"lam": lam, "sigma": sigma, "eps": eps, "iterations": iterations} if masked_texture else None
    generator = DGFNet(channels, rounds, kernel_size, num_blocks, texture, dpfm, smoothing)
    return {"generator": generator, "critic": SNPatchCritic(3, critic_channels)}


def restore(networks: nn.ModuleDict, batch: Batch) -> Tensor:
    """Return the fused image (N, 3, H, W), not composited; `texture` was made from the image with its hole."""
    return networks["generator"](batch).fusion


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """Return composites of every part, textures with grey for 0, and the mean of each gate over its channels."""
    completed, x, mask = networks["generator"](batch), batch["x"], batch["mask"]
    images = {"coarse result": composite(completed.coarse, x, mask).clamp(0, 1)}
    if completed.texture is not None:
        known = batch["texture"] * (1 - mask)
        images["texture given"] = (known.clamp(-1, 1) + 1) / 2
        images["texture result"] = (composite(completed.texture, known, mask).clamp(-1, 1) + 1) / 2
    images["fused result"] = composite(completed.fusion, x, mask).clamp(0, 1)
    for level, pair in enumerate(completed.gates, start=1):
        for stream, gate in zip(("coarse", "texture"), pair, strict=True):
            images[f"gate of the {stream} features, DPFM {level}"] = gate.float().mean(dim=1, keepdim=True)
    return images


VGG_LOSSES = tuple(f"{part}_{name}" for part in PARTS for name in ("perceptual", "style"))

method = Method(
    ("inpaint",),
    networks,
    {
        "train": Phase(
            forward,
            {"critic": Player(("critic",), critic_losses), "generator": Player(("generator",), generator_losses)},
        ),
        "finetune": Phase(
            finetune_forward,
            {
                "finetune_critic": Player(("critic",), critic_losses),
                "finetune_generator": Player(("generator",), generator_losses),
            },
        ),
    },
    restore,
    reference={"generator": unchanged, "critic": unchanged},
    tiny={"channels": 4, "rounds": 2, "kernel_size": 5, "num_blocks": 1, "critic_channels": 4},
    multiple=16,
    min_size=16,
    tiling="RFR's attention and the texture branch's instance norm look at the whole image: in tiles, which overlap, "
    "they look within the tile, and a hole should be within one tile with known pixels around it.",
    helpers={"vgg16": perceptual.vgg_helper("vgg16", VGG_LOSSES)},
    auxiliary={"texture": TEXTURE},
    insides=insides,
    readings=READINGS,
    limits=(
        "The attention of RFR holds a score for every two places of a map of an eighth of the sides: its memory grows "
        "with the square of the number of pixels (4 MB per matrix for 256x256, 1 GB for one megapixel).",
    ),
)
