"""VGG-16 and VGG-19 as frozen eyes of a loss, and the perceptual and style losses that look through them.

Paper: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(columns D and E of Table 1). Weights: a state dict in torchvision's format (`vgg16-397923af.pth`,
`vgg19-dcbb9e9d.pth`); its classifier is not used. Layers have the paper's names: conv1_1, relu1_1, ..., pool5. The
losses are those of J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016, Section 3.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.contracts import Helper, WeightsError
from methods.layers.precision import full_precision
from methods.losses.pixel import l1

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # of each stage, Table 1
WIDTHS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """The convolutional part of VGG.

    Args:
        name: "vgg16" or "vgg19".
    """

    def __init__(self, name: str):
        super().__init__()
        self.layers = nn.ModuleDict()
        in_channels = 3
        for stage, (convolutions, width) in enumerate(zip(CONVOLUTIONS[name], WIDTHS, strict=True), start=1):
            for i in range(1, convolutions + 1):
                self.layers[f"conv{stage}_{i}"] = nn.Conv2d(in_channels, width, 3, padding=1)
                self.layers[f"relu{stage}_{i}"] = nn.ReLU()
                in_channels = width
            self.layers[f"pool{stage}"] = nn.MaxPool2d(2)

    def forward(self, x: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Return the outputs of the layers `names`, in that order; layers above the deepest of them are not run.

        Args:
            x: (N, 3, H, W) in the range that the method's paper gives to VGG.
            names: such as "conv3_3", "relu2_2", "pool1".

        Raises:
            KeyError: when a layer has another name.
        """
        if unknown := [name for name in names if name not in self.layers]:
            raise KeyError(f"no layer {unknown[0]!r}; the layers are {', '.join(self.layers)}")
        found: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in names:
                found[name] = x
            if len(found) == len(set(names)):
                break
        return [found[name] for name in names]


def imagenet_normalised(x: Tensor) -> Tensor:
    """Shift and scale `x` (N, 3, H, W), RGB in [0, 1], to what the weights were trained on; some papers do not."""
    mean = x.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = x.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return (x - mean) / std


def perceptual(
    vgg: nn.Module,
    pred: Tensor,
    target: Tensor,
    layers: Sequence[str],
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
) -> Tensor:
    """The sum over `layers` of the distance between the features of two images (Johnson et al., eq. 2)."""
    with torch.no_grad():
        truth = vgg(target, layers)
    return torch.stack([distance(a.float(), b.float()) for a, b in zip(vgg(pred, layers), truth, strict=True)]).sum()


def gram(features: Tensor) -> Tensor:
    """The Gram matrices (N, C, C) of features (N, C, H, W), divided by C H W (Johnson et al., eq. 3).

    Always float32: a style loss is a small difference of large sums, which half precision would lose.
    """
    rows = features.float().flatten(2)
    with full_precision(features):
        return rows @ rows.mT / (rows.shape[1] * rows.shape[2])


def style(vgg: nn.Module, pred: Tensor, target: Tensor, layers: Sequence[str]) -> Tensor:
    """The sum over `layers` of the mean absolute difference of two images' Gram matrices.

    Johnson et al. square the difference (eq. 4); the inpainting papers take L1.
    """
    with torch.no_grad():
        truth = vgg(target, layers)
    return torch.stack([l1(gram(a), gram(b)) for a, b in zip(vgg(pred, layers), truth, strict=True)]).sum()


def random_vgg(name: str) -> Vgg:
    """Build the frozen network `name` with weights drawn from torch's present seed.

    As in K. He et al., "Delving Deep into Rectifiers", ICCV 2015, Section 2.2, forward: normal, of variance
    2 / (9 in_channels), biases zero, so that features keep their size through all layers.
    """
    network = Vgg(name)
    for layer in network.layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network.eval().requires_grad_(False)


def load_vgg(name: str, path: Path | None) -> Vgg:
    """Build the frozen network `name` ("vgg16", "vgg19") from a torchvision state dict, read without unpickling code.

    Args:
        path: None for random weights.

    Raises:
        WeightsError: when the file cannot be read so, or does not hold this network.
    """
    if path is None:
        return random_vgg(name)
    where = f"{path}: weights of {name}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{where}: cannot be read as a plain state dict ({type(error).__name__}), "
            f"expected torchvision's file for {name}; fetch it again"
        ) from error
    with torch.device("meta"):  # draws nothing: all of it comes from the file
        network = Vgg(name)
    names = {
        f"features.{i}.{kind}": f"layers.{layer}.{kind}"
        for i, layer in enumerate(network.layers)
        if layer.startswith("conv")
        for kind in ("weight", "bias")
    }
    wanted = network.state_dict()
    for theirs, ours in names.items():
        found = state.get(theirs) if isinstance(state, dict) else None
        shape = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
        if shape != (expected := tuple(wanted[ours].shape)):
            raise WeightsError(
                f"{where}: {theirs} is {shape}, expected {expected}; give torchvision's whole file for {name}"
            )
    network.load_state_dict({ours: state[theirs] for theirs, ours in names.items()}, assign=True)
    return network.eval().requires_grad_(False)


def helper(name: str, losses: tuple[str, ...]) -> Helper:
    """The helper `name` ("vgg16", "vgg19") of a method whose `losses` need it."""
    return Helper(name, partial(load_vgg, name), losses)
