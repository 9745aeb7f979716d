"""The edge model of EdgeConnect: its generators, the edge maps that it learns from, and the first phase of its
training.

DFFNet and MRFNet with its edge branch train the same edge model, and DGFNet has the colour generator. Sources and
differences from the authors' code are in `methods/edgeconnect.py`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Phase, Player
from methods.layers.initial import draw_weights_
from methods.layers.instance_norm import instance_norm
from methods.layers.patch_critic import network_state
from methods.layers.spectral_norm import rename_spectral, spectral_norm
from methods.losses.adversarial import log_critic, log_generator
from methods.losses.pixel import composite, l1

if TYPE_CHECKING:
    from bench.contracts import Batch, Losses, Outputs, State

CANNY_SIGMA = 2.0
"""Standard deviation in pixels of the Gaussian before Canny's gradients, the default of the code."""


def luminance(image: Tensor) -> Tensor:
    """Turn RGB (N, 3, H, W) into grey (N, 1, H, W), both in [0, 1], with the weights of scikit-image.

    >>> round(luminance(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).item(), 4)
    0.2125
    """
    return (image * image.new_tensor([0.2125, 0.7154, 0.0721]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def canny(grey: Tensor, known: Tensor | None = None) -> Tensor:
    """Detect edges by scikit-image's Canny with `CANNY_SIGMA`.

    Args:
        grey: (N, 1, H, W) in [0, 1].
        known: (N, 1, H, W), 1 = known; no edge is detected in the rest and at its border. None: all pixels are known.

    Returns:
        (N, 1, H, W) of the type and device of `grey`: 1 on an edge, otherwise 0.
    """
    from skimage.feature import canny as detect

    images = grey.detach().float().cpu().numpy()[:, 0]
    masks = [None] * len(images) if known is None else known.bool().cpu().numpy()[:, 0]
    edges = [detect(image, CANNY_SIGMA, mask=mask) for image, mask in zip(images, masks, strict=True)]
    return torch.stack([torch.from_numpy(edge) for edge in edges]).unsqueeze(1).to(grey)


class Block(nn.Module):
    """Two 3x3 convolutions, the first dilated by 2, and a skip, no ReLU after the sum: (N, C, H, W) to the same.

    Args:
        channels: C.
        bias: whether the convolutions have biases.
    """

    def __init__(self, channels: int, bias: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect", bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + instance_norm(self.conv2(F.relu(instance_norm(self.conv1(x)))))


class Generator(nn.Module):
    """The edge generator, 10,761,089 parameters, or the colour generator, 10,774,595 parameters.

    Kernels start from N(0, 0.02), biases from 0.

    Args:
        edges: True for the edge generator: grey, edges and mask in, one map out, spectral norm on all convolutions but
            the last, no biases in the blocks. False for the colour generator: RGB and edges in, RGB out.
        channels: output channels of the first convolution; 64 in the paper.
        num_blocks: residual blocks, at a quarter of the size with four times as many channels; 8 in the paper.
        signed: the colour generator's output is in [-1, 1] instead of [0, 1], for a map that is not an image (DGFNet's
            texture).
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
                draw_weights_(module, partial(nn.init.normal_, std=0.02))
                if edges and module is not self.exit:
                    spectral_norm(module)

    def forward(self, x: Tensor) -> Tensor:
        """Complete `x` (N, 3 or 4, H, W), sides multiples of 4.

        Args:
            x: for edges what `edge_input` returns; for colours RGB (N, 3, H, W) with the hole at 1, and an edge map.

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
    """Stack grey with the hole at 1, edges with the hole at 0, and the mask: three (N, 1, H, W) to (N, 3, H, W).

    >>> one = torch.ones(1, 1, 1, 1)
    >>> edge_input(0.5 * one, one, one).flatten().tolist()  # in the hole
    [1.0, 0.0, 1.0]
    """
    return torch.cat([grey * (1 - mask) + mask, edges * (1 - mask), mask], dim=1)


def predicted_edges(networks: nn.ModuleDict, grey: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """Return the composite edge map (N, 1, H, W): predicted in the hole, `edges` outside it, without a gradient.

    Args:
        networks: `edge_generator` among them.
        grey: (N, 1, H, W) in [0, 1].
        edges: (N, 1, H, W), 1 on an edge.
        mask: (N, 1, H, W), 1 = hole.
    """
    with torch.no_grad():
        predicted = networks["edge_generator"](edge_input(grey, edges, mask))
    return composite(predicted, edges, mask)


def edge_forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
    """Predict edges. The edge critic gets `real` and `fake`, grey and edges (N, 2, H, W) without a hole."""
    grey = luminance(batch["target"])
    edges = canny(grey)
    predicted = networks["edge_generator"](edge_input(grey, edges, batch["mask"]))
    return {"real": torch.cat([grey, edges], dim=1), "fake": torch.cat([grey, predicted], dim=1)}


def edge_critic_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return the loss of the edge critic."""
    critic = networks["edge_critic"]
    return {"adversarial": log_critic(critic(outputs["real"])[-1], critic(outputs["fake"].detach())[-1])}


def edge_generator_losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
    """Return the losses of the edge generator; feature matching is L1, summed over all five outputs of the critic."""
    fake = networks["edge_critic"](outputs["fake"])
    with torch.no_grad():
        real = networks["edge_critic"](outputs["real"])
    matching = torch.stack([l1(a.float(), b.float()) for a, b in zip(fake, real, strict=True)]).sum()
    return {"adversarial": log_generator(fake[-1]), "feature_matching": matching}


def rename_generator(state: State) -> State:
    """Turn the authors' state dict of either generator into ours; running statistics of old files are dropped."""
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

    unused = ("running_mean", "running_var", "num_batches_tracked")
    return {
        rename(name): value for name, value in network_state(state, "generator").items() if not name.endswith(unused)
    }


EDGE_PHASE = Phase(
    edge_forward,
    {
        "edge_critic": Player(("edge_critic",), edge_critic_losses),
        "edge_generator": Player(("edge_generator",), edge_generator_losses),
    },
)
"""The phase "edge": networks `edge_generator` and `edge_critic`."""
