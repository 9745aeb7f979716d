"""The perceptual and the style loss, and the frozen VGG-16 and VGG-19 whose features they compare.

Papers: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(columns D and E of Table 1); J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016, Section 3. Weights: a state dict in torchvision's format (`vgg16-397923af.pth`,
`vgg19-dcbb9e9d.pth`), whose classifier is not used. Layers have the first paper's names: conv1_1, relu1_1, ..., pool5.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.contracts import Helper, WeightsError
from methods.layers.initial import draw_weights_
from methods.layers.precision import full_precision
from methods.losses.pixel import l1

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions of each stage, Table 1."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each stage, Table 1."""


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
        """Compute the features of the named layers.

        Args:
            x: (N, 3, H, W) in the range in which the method's paper gives images to VGG.
            names: of layers, like "conv3_3", "relu2_2" or "pool1"; layers after the deepest of them are not computed.

        Returns:
            the features (N, C, h, w) of each layer, in the order of `names`.
        Raises:
            KeyError: when no layer has one of the names.
        """
        if unknown := [name for name in names if name not in self.layers]:
            raise KeyError(f"no layer {unknown[0]!r}; the layers are {', '.join(self.layers)}")
        features: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in names:
                features[name] = x
            if len(features) == len(set(names)):
                break
        return [features[name] for name in names]


def perceptual(
    vgg: nn.Module,
    pred: Tensor,
    target: Tensor,
    layers: Sequence[str],
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
) -> Tensor:
    """Return the sum over `layers` of the distance between the features of two images (Johnson et al., eq. 2).

    Args:
        vgg: the network, called with images and layer names.
        pred: the restored images, (N, 3, H, W) in the range in which the method's paper gives images to VGG.
        target: the true images, the same shape and range; no gradient is computed for them.
        layers: names of the layers that are compared.
        distance: two feature maps (N, C, h, w) to a scalar.

    >>> double = lambda x, names: [2 * x for name in names]  # in the place of VGG
    >>> perceptual(double, torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), ("relu1_1", "relu2_1")).item()
    4.0
    """
    with torch.no_grad():
        truth = vgg(target, layers)
    return torch.stack([distance(a.float(), b.float()) for a, b in zip(vgg(pred, layers), truth, strict=True)]).sum()


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrices (N, C, C) of features (N, C, H, W), divided by C H W (Johnson et al., eq. 3).

    They are always float32: a style loss is a small difference of large sums, which half precision would lose.

    >>> gram(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).tolist()
    [[[0.5, 1.5], [1.5, 4.5]]]
    """
    rows = features.float().flatten(2)
    with full_precision(features):
        return rows @ rows.mT / (rows.shape[1] * rows.shape[2])


def style(vgg: nn.Module, pred: Tensor, target: Tensor, layers: Sequence[str]) -> Tensor:
    """Return the sum over `layers` of the mean absolute difference of two images' Gram matrices.

    Johnson et al. square the difference (eq. 4); the inpainting papers take L1.

    Args:
        vgg: the network, called with images and layer names.
        pred: the restored images, (N, 3, H, W) in the range in which the method's paper gives images to VGG.
        target: the true images, the same shape and range; no gradient is computed for them.
        layers: names of the layers that are compared.

    >>> same = lambda x, names: [x for name in names]  # in the place of VGG
    >>> style(same, torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), ("relu1_1",)).item()
    0.5
    """
    with torch.no_grad():
        truth = vgg(target, layers)
    return torch.stack([l1(gram(a), gram(b)) for a, b in zip(vgg(pred, layers), truth, strict=True)]).sum()


def random_vgg(name: str) -> Vgg:
    """Build the frozen network `name` with weights drawn from torch's default generator.

    As in K. He et al., "Delving Deep into Rectifiers", ICCV 2015, Section 2.2, forward case: normal with variance
    2 / (9 in_channels), biases 0, so that features keep their size through all layers.
    """
    network = Vgg(name)
    for layer in network.layers.values():
        if isinstance(layer, nn.Conv2d):
            draw_weights_(layer, partial(nn.init.kaiming_normal_, nonlinearity="relu"))
    return network.eval().requires_grad_(False)


def load_vgg(name: str, path: Path | None) -> Vgg:
    """Build the frozen network `name` from a torchvision state dict, which is read without unpickling code.

    Args:
        name: "vgg16" or "vgg19".
        path: the file; None for random weights.

    Raises:
        WeightsError: when the file is not a plain state dict, or is not that of this network.
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
    with torch.device("meta"):  # draws nothing: all weights come from the file
        network = Vgg(name)
    names = {
        f"features.{i}.{kind}": f"layers.{layer}.{kind}"
        for i, layer in enumerate(network.layers)
        if layer.startswith("conv")
        for kind in ("weight", "bias")
    }
    shapes = {ours: tuple(tensor.shape) for ours, tensor in network.state_dict().items()}
    for theirs, ours in names.items():
        tensor = state.get(theirs) if isinstance(state, dict) else None
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else "missing"
        if shape != shapes[ours]:
            raise WeightsError(
                f"{where}: {theirs} is {shape}, expected {shapes[ours]}; give torchvision's whole file for {name}"
            )
    network.load_state_dict({ours: state[theirs] for theirs, ours in names.items()}, assign=True)
    return network.eval().requires_grad_(False)


def vgg_helper(name: str, losses: tuple[str, ...]) -> Helper:
    """Return the helper `name` ("vgg16", "vgg19") of a method, for the losses of these names."""
    return Helper(name, partial(load_vgg, name), losses)
