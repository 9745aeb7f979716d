"""EdgeConnect (EC): inpainting in two steps, edges first, then colours.

Paper: K. Nazeri, E. Ng, T. Joseph, F. Qureshi, M. Ebrahimi, "EdgeConnect: Generative Image Inpainting with Adversarial
Edge Learning", arXiv 1901.00212; ICCV Workshops 2019. Code: knazeri/edge-connect (CC BY-NC 4.0: not for commercial
use), commit 3142579; released weights load through `reference`.

Three phases. "edge" trains the edge generator and its critic; "inpaint" trains the colour generator and its critic on
the true edges; "joint" goes on with these two on predicted edges, pasted into the hole of the true ones. Our reading of
"joint": stage 3 of the code's instructions, where the predicted edges are detached and the edge generator rests. The
code has a fourth model that trains both generators in one step; its three stages do not use it.

Differs from that code:
- Restoring pastes the predicted edges into the hole of the Canny map, as the paper's text and the training do; the
  code's test script gives the colour generator the whole predicted map, known region included.
- A critic steps before its generator, whose losses then call it afresh. The code keeps what the critic said before its
  step, which today's torch refuses (its weights have changed in place); the two differ by one small step of the critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Phase, Player
from methods import _vgg
from methods._adversarial import log_critic, log_generator
from methods._losses import l1, l1_over_hole
from methods._patch_critic import PatchCritic, rename_critic, rename_spectral, spectral_norm, unwrap

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State

CANNY_SIGMA = 2.0  # pixels, the default of the code
PERCEPTUAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
STYLE_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")


def luminance(image: Tensor) -> Tensor:
    """Grey (N, 1, H, W) of RGB (N, 3, H, W), both in [0, 1], with the weights of scikit-image."""
    return (image * image.new_tensor([0.2125, 0.7154, 0.0721]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def canny(grey: Tensor, known: Tensor | None = None) -> Tensor:
    """Edges of `grey` (N, 1, H, W) in [0, 1] by scikit-image's Canny, sigma 2: 1 on an edge, else 0.

    Args:
        grey: the images.
        known: (N, 1, H, W), 1 = known: then no edge comes from the rest, the hole's border included.
    """
    from skimage.feature import canny as detect

    images = grey.detach().float().cpu().numpy()[:, 0]
    masks = [None] * len(images) if known is None else known.bool().cpu().numpy()[:, 0]
    edges = [detect(image, CANNY_SIGMA, mask=mask) for image, mask in zip(images, masks, strict=True)]
    return torch.stack([torch.from_numpy(edge) for edge in edges]).unsqueeze(1).to(grey)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise each channel of each image (no affine weights, eps 1e-5), in float32 under autocast too.

    As a group norm, which is faster on the CPU; in bfloat16, channels last, it would take several times as long.
    """
    return F.group_norm(x.float(), x.shape[1])


class Block(nn.Module):
    """A 3x3 convolution dilated by 2, a plain one, and a skip: (N, C, H, W) to the same, no ReLU after the sum."""

    def __init__(self, channels: int, bias: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect", bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + instance_norm(self.conv2(F.relu(instance_norm(self.conv1(x)))))


class Generator(nn.Module):
    """Either generator: 10,761,089 parameters for edges, 10,774,595 for colours.

    Convolutions start from N(0, 0.02), biases from 0.

    Args:
        edges: True for the edge generator: grey, edges and mask in, one map out, spectral norm on all convolutions but
            the last, no biases in the blocks. False for the colours: RGB and edges in, RGB out.
        channels: width of the first convolution.
        num_blocks: residual blocks, at a quarter of the size and four times the width.
    """

    def __init__(self, edges: bool, channels: int = 64, num_blocks: int = 8):
        super().__init__()
        self.edges = edges
        self.entry = nn.Conv2d(3 if edges else 4, channels, 7, padding=3, padding_mode="reflect")
        self.down1 = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(2 * channels, 4 * channels, 4, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(4 * channels, bias=not edges) for _ in range(num_blocks)))
        self.up1 = nn.ConvTranspose2d(4 * channels, 2 * channels, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
        self.exit = nn.Conv2d(channels, 1 if edges else 3, 7, padding=3, padding_mode="reflect")
        for module in list(self.modules()):
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if edges and module is not self.exit:
                    spectral_norm(module)

    def forward(self, x: Tensor) -> Tensor:
        """Complete `x`, made by `edge_input` or `colour_input`, sides multiples of 4.

        Returns:
            (N, 1, H, W) probabilities of an edge, or (N, 3, H, W) RGB in [0, 1], not composited.
        """
        for down in (self.entry, self.down1, self.down2):
            x = F.relu(instance_norm(down(x)))
        x = self.blocks(x)
        for up in (self.up1, self.up2):
            x = F.relu(instance_norm(up(x)))
        x = self.exit(x)
        return torch.sigmoid(x) if self.edges else (torch.tanh(x) + 1) / 2


def edge_input(grey: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """Stack grey with the hole at 1, edges with the hole at 0, and the mask: three (N, 1, H, W) to (N, 3, H, W)."""
    return torch.cat([grey * (1 - mask) + mask, edges * (1 - mask), mask], dim=1)


def colour_input(image: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """Stack RGB with the hole at 1 and the whole edge map: (N, 3, H, W) and (N, 1, H, W) to (N, 4, H, W)."""
    return torch.cat([image * (1 - mask) + mask, edges], dim=1)


def predicted_edges(networks: nn.ModuleDict, grey: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """The composite edge map: predicted in the hole, `edges` (N, 1, H, W) elsewhere; no gradient passes through it."""
    with torch.no_grad():
        predicted = networks["edge_generator"](edge_input(grey, edges, mask))
    return predicted * mask + edges * (1 - mask)


def edge_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Predict edges. `real` and `fake` are what the edge critic sees: grey and edges (N, 2, H, W), without a hole."""
    grey = luminance(batch["target"])
    edges = canny(grey)
    predicted = networks["edge_generator"](edge_input(grey, edges, batch["mask"]))
    return {"real": torch.cat([grey, edges], dim=1), "fake": torch.cat([grey, predicted], dim=1)}


def edge_critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the edge critic lowers."""
    critic, fake = networks["edge_critic"], outputs["fake"]
    assert isinstance(fake, Tensor)
    return {"adversarial": log_critic(critic(outputs["real"])[-1], critic(fake.detach())[-1])}


def edge_generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the edge generator lowers; feature matching is L1, summed over all five outputs of the critic."""
    fake = networks["edge_critic"](outputs["fake"])
    with torch.no_grad():
        real = networks["edge_critic"](outputs["real"])
    matching = torch.stack([l1(a.float(), b.float()) for a, b in zip(fake, real, strict=True)]).sum()
    return {"adversarial": log_generator(fake[-1]), "feature_matching": matching}


def inpaint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the colours from the true edges of the whole image."""
    edges = canny(luminance(batch["target"]))
    return {"pred": networks["generator"](colour_input(batch["x"], edges, batch["mask"]))}


def joint_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Complete the colours from the predicted edges, the true ones outside the hole."""
    grey = luminance(batch["target"])
    edges = predicted_edges(networks, grey, canny(grey), batch["mask"])
    return {"pred": networks["generator"](colour_input(batch["x"], edges, batch["mask"]))}


def critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the critic of the colours lowers; it sees the output as it is, not composited."""
    critic, pred = networks["critic"], outputs["pred"]
    assert isinstance(pred, Tensor)
    return {"adversarial": log_critic(critic(batch["target"])[-1], critic(pred.detach())[-1])}


def generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """What the generator of the colours lowers.

    L1 is over the whole output, divided by the hole's share; the style loss looks at the hole alone. VGG-19 is given
    images in [0, 1], not normalised as it was trained.
    """
    pred, target, mask = outputs["pred"], batch["target"], batch["mask"]
    assert isinstance(pred, Tensor)
    losses = {"l1": l1_over_hole(pred, target, mask), "adversarial": log_generator(networks["critic"](pred)[-1])}
    if "vgg19" in networks:
        vgg = networks["vgg19"]
        losses["perceptual"] = _vgg.perceptual(vgg, pred, target, PERCEPTUAL_LAYERS)
        losses["style"] = _vgg.style(vgg, pred * mask, target * mask, STYLE_LAYERS)
    return losses


def networks(channels: int = 64, num_blocks: int = 8, critic_channels: int = 64) -> Mapping[str, nn.Module]:
    """Make both generators (`channels`, `num_blocks`) and their critics (`critic_channels`).

    Raises:
        ParamsError: when an argument is below 1.
    """
    if min(channels, num_blocks, critic_channels) < 1:
        found = f"channels {channels}, num_blocks {num_blocks}, critic_channels {critic_channels}"
        raise ParamsError(f"edgeconnect: {found}: each must be at least 1")
    return {
        "edge_generator": Generator(True, channels, num_blocks),
        "edge_critic": PatchCritic(2, critic_channels),
        "generator": Generator(False, channels, num_blocks),
        "critic": PatchCritic(3, critic_channels),
    }


def restore(networks: nn.ModuleDict | None, batch: Batch) -> Tensor:
    """Complete edges, then colours; Canny is told the known region, so that the hole's border makes no edges."""
    assert networks is not None
    x, mask = batch["x"], batch["mask"]
    grey = luminance(x)
    edges = predicted_edges(networks, grey, canny(grey, known=1 - mask), mask)
    return networks["generator"](colour_input(x, edges, mask))


def rename_generator(state: State) -> State:
    """Turn the authors' state dict of either generator into ours; old files' running statistics are left out."""
    layers = {
        "encoder.1": "entry",
        "encoder.4": "down1",
        "encoder.7": "down2",
        "decoder.0": "up1",
        "decoder.3": "up2",
        "decoder.7": "exit",
    }

    def rename(name: str) -> str:
        layer, _, kind = name.rpartition(".")
        block = layer.replace("middle.", "blocks.").replace("conv_block.1", "conv1").replace("conv_block.5", "conv2")
        return rename_spectral(f"{layers.get(layer, block)}.{kind}")

    stale = ("running_mean", "running_var", "num_batches_tracked")
    return {rename(name): value for name, value in unwrap(state, "generator").items() if not name.endswith(stale)}


COLOURS = {"critic": Player(("critic",), critic_losses), "generator": Player(("generator",), generator_losses)}

method = Method(
    ("inpaint",),
    networks,
    {
        "edge": Phase(
            edge_forward,
            {
                "edge_critic": Player(("edge_critic",), edge_critic_losses),
                "edge_generator": Player(("edge_generator",), edge_generator_losses),
            },
        ),
        "inpaint": Phase(inpaint_forward, COLOURS),
        "joint": Phase(joint_forward, COLOURS),
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
    tiling="Instance norm takes its statistics from the whole image: tiles, which overlap, normalise by themselves, "
    "and a hole should lie within one tile with known pixels around it.",
    helpers={"vgg19": _vgg.helper("vgg19", ("perceptual", "style"))},
)
