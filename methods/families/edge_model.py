"""The edge model of EdgeConnect: its edge generator, how edges are drawn, and the first phase of its training.

DFFNet trains the same edge model. What it is, where it comes from and what differs from the authors' code stands in
`methods/edgeconnect.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Phase, Player
from methods.layers.patch_critic import network_state
from methods.layers.spectral_norm import rename_spectral, spectral_norm
from methods.losses.adversarial import log_critic, log_generator
from methods.losses.pixel import l1

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State

CANNY_SIGMA = 2.0  # pixels, the default of the code


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
        signed: the colours' output in [-1, 1] instead of [0, 1], for a map that is no image (DGFNet's texture).
    """

    def __init__(self, edges: bool, channels: int = 64, num_blocks: int = 8, signed: bool = False):
        super().__init__()
        self.edges, self.signed = edges, signed
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
            (N, 1, H, W) probabilities of an edge, or (N, 3, H, W) RGB in [0, 1] (`signed`: in [-1, 1]), not composited.
        """
        for down in (self.entry, self.down1, self.down2):
            x = F.relu(instance_norm(down(x)))
        x = self.blocks(x)
        for up in (self.up1, self.up2):
            x = F.relu(instance_norm(up(x)))
        x = self.exit(x)
        if self.edges:
            return torch.sigmoid(x)
        return torch.tanh(x) if self.signed else (torch.tanh(x) + 1) / 2


def edge_input(grey: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """Stack grey with the hole at 1, edges with the hole at 0, and the mask: three (N, 1, H, W) to (N, 3, H, W)."""
    return torch.cat([grey * (1 - mask) + mask, edges * (1 - mask), mask], dim=1)


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
    return {
        rename(name): value for name, value in network_state(state, "generator").items() if not name.endswith(stale)
    }


EDGE_PHASE = Phase(
    edge_forward,
    {
        "edge_critic": Player(("edge_critic",), edge_critic_losses),
        "edge_generator": Player(("edge_generator",), edge_generator_losses),
    },
)
"""The phase "edge": networks `edge_generator` and `edge_critic`."""
