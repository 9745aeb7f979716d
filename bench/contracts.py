"""What a method, a dataset and the engine agree on. Nothing here imports torch, and nothing here does any work.

Methods and datasets import this from the engine, and `bench.data.imagefiles`; nothing else.

Images are RGB. In memory of a network they are float32 in [0, 1], (N, C, H, W). On disk and in `Made` they are uint8 or
uint16, (H, W, 3). A mask is (N, 1, H, W) with 1 = hole, on disk (H, W) uint8 with 255 = hole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]
    """A batch: `x`, or `left` and `right`; `mask` where the task has one; the method's `layers` by name.

    While training also `target`, `progress` (a scalar: the share of the phase's steps that are done, in [0, 1)), and
    for sharp-inpaint `blurred`, the blurred image without its hole.
    """
    Outputs = Mapping[str, Tensor | Sequence[Tensor]]
    """What a phase's forward pass gives its players; `pred` is the restored image where there is one."""
    Losses = dict[str, Tensor]
    """Scalars by name; the weights of the same names stand in `params.yaml`."""
    State = Mapping[str, Tensor]
    """A state dict: tensors by name."""

TASKS = ("deblur", "inpaint", "sharp-inpaint", "dual-pixel")


class UserError(Exception):
    """Bad input from a person: the command prints the message alone and exits with status 2."""


class DataError(UserError):
    """Files that are missing, damaged, of the wrong kind or not what the dataset's authors published."""


class ParamsError(UserError):
    """A parameter that is misspelt, of the wrong type or out of its range."""


class WeightsError(UserError):
    """Weights that cannot be read safely or do not fit the network."""


# Methods --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Player:
    """One side of a training: the networks it owns and the losses that it lowers.

    Args:
        networks: names of the networks (keys of `Method.networks`) that this player's optimiser moves.
        losses: (networks, batch, outputs) to named scalars; `params.yaml` weights them by these names.
        updates: optimiser steps on each batch (5 for the critic of WGAN-GP).
    """

    networks: tuple[str, ...]
    losses: Callable[[nn.ModuleDict, Batch, Outputs], Losses]
    updates: int = 1


@dataclass(frozen=True)
class Phase:
    """One phase of a training.

    Args:
        forward: (networks, batch) to outputs, run once a step with gradients; a player that must not reach the
            generator detaches what it takes from them.
        players: by name, in the order of their updates within a step.
    """

    forward: Callable[[nn.ModuleDict, Batch], Outputs]
    players: Mapping[str, Player]


@dataclass(frozen=True)
class Helper:
    """A frozen network of somebody else's weights that some losses look through (VGG).

    Where its file is not on this machine the losses that need it are left out, the run and every table say so; with
    `train.random_helpers` the same network of random weights takes its place, which they say too.

    Args:
        weights: the key of its file among the known weights ("vgg19", "vgg16").
        build: the file, or None for random weights, to the network; it reads with `weights_only=True`.
        losses: names of the losses that need it; they are returned only if `networks` holds the helper.
    """

    weights: str
    build: Callable[[Path | None], nn.Module]
    losses: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """A further image of every sample, too slow to be made at each training step (the texture of an image).

    Made once for every training image by the stage that makes a dataset's layers, then cut and flipped like the
    images; for an image to restore it is made on the spot, from what a method is given there.

    Args:
        of_target: the truth (H, W, 3), float32 in [0, 1], to the layer (H, W, C), float32 in [-1, 1].
        of_input: x (H, W, 3) and mask (H, W, 1), 1 = hole, both float32 in [0, 1], to the layer of the same shape.
        module: the file that makes it, relative to the project ("methods/auxiliary/rtv.py").
        options: what both are also called with, by name. `params.yaml` sets them by dataset (section `layers`), for
            the network's arguments of the same names, which the method has too: so a run keeps those it learned with.
    """

    of_target: Callable[..., np.ndarray]
    of_input: Callable[..., np.ndarray]
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """All that the engine knows of a method.

    Args:
        tasks: what it can do, of TASKS; a trained method has one, a method without training may have several.
        networks: plain arguments to the networks by name; None for a method without training.
        phases: by name, in order; the steps of each stand in `params.yaml`. Empty for a method without training.
        restore: (networks, batch) to the restored image (N, 3, H, W), not clipped and, for inpainting, not composited:
            the engine does both. Runs in eval mode without gradients. `networks` is None without training.
        reference: for each network, how a state dict of the authors' code (their names, their axis order) becomes ours.
        tiny: arguments that make the smallest useful network, for tests.
        multiple: sides must be multiples of this; the engine pads by reflection and crops after.
        min_size: the smallest side that the network takes, in pixels.
        margin: pixels around an output pixel that can influence it, where that is bounded; tiles overlap by this much
            and agree with the whole image. None where it is not bounded: then `tiling` says why. A function where it
            depends on the network: it is called with those of the network's arguments that it takes, by name.
        tiling: one sentence on how an image too large for memory is cut, shown to the user when it is. Without networks
            none is cut.
        helpers: frozen networks by name; while training they stand in `networks` under these names where available.
        layers: further images of every sample, which stand in the batch under these names.
        watched: names of losses that are logged for their curves alone: never weighted, never lowered.
        insides: (networks, batch) to what happens inside while one image is restored, by the name that a figure prints:
            images (1, 1 or 3, h, w) in [0, 1], or weights (K,). Runs in eval mode without gradients; None without such.
        readings: how the paper was read where it is silent or contradicts itself, one full sentence each: the method's
            page lists them. A shared part exports its own as a tuple, which the entry adds.
        limits: what the method cannot do, each with its reason; the report prints them.
    """

    tasks: tuple[str, ...]
    networks: Callable[..., Mapping[str, nn.Module]] | None
    phases: Mapping[str, Phase]
    restore: Callable[[nn.ModuleDict | None, Batch], Tensor]
    reference: Mapping[str, Callable[[State], State]] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    multiple: int = 1
    min_size: int = 1
    margin: int | Callable[..., int | None] | None = None
    tiling: str = ""
    helpers: Mapping[str, Helper] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    insides: Callable[[nn.ModuleDict, Batch], Mapping[str, Tensor]] | None = None
    readings: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


INPUTS = {
    "deblur": ("x",),
    "inpaint": ("x", "mask"),
    "sharp-inpaint": ("x", "mask"),
    "dual-pixel": ("left", "right"),
}
"""What a network of each task is called with, in this order."""


def supervised(
    task: str,
    network: Callable[..., nn.Module],
    loss: Callable[[Any, Tensor], Tensor | Losses],
    *,
    reference: Callable[[State], State] | None = None,
    **about: Any,
) -> Method:
    """Make the method of one network and one loss, trained in one phase.

    Args:
        network: its constructor; the module is called with the tensors of INPUTS[task]. It may give a sequence, the
            full-size image first: the loss gets it whole, restoring takes the first.
        loss: (prediction, target) to a scalar, named by the function, or to several named ones.
        reference: the authors' state dict to ours.
        about: further fields of `Method`.
    """

    def call(networks: nn.ModuleDict, batch: Batch) -> Any:
        return networks["network"](*(batch[name] for name in INPUTS[task]))

    def losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
        value = loss(outputs["pred"], batch["target"])
        return value if isinstance(value, dict) else {getattr(loss, "__name__", "loss"): value}

    def restore(networks: nn.ModuleDict | None, batch: Batch) -> Tensor:
        assert networks is not None
        pred = call(networks, batch)
        return pred[0] if isinstance(pred, (tuple, list)) else pred

    def networks(**arguments: Any) -> Mapping[str, nn.Module]:
        return {"network": network(**arguments)}

    # `inspect` then sees the network's own signature and docstring: a misspelt argument in params.yaml is found before
    # anything is built, and its page says what each argument means.
    networks.__wrapped__ = network  # type: ignore[attr-defined]
    phase = Phase(lambda networks, batch: {"pred": call(networks, batch)}, {"network": Player(("network",), losses)})
    return Method(
        (task,),
        networks,
        {"train": phase},
        restore,
        reference={"network": reference or (lambda state: state)},
        **about,
    )


# Datasets -------------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """The pixels of one built image and what was drawn to make them.

    Args:
        images: by field: `target` always; `blurred`, `mask`, or `left`, `right` and `centre` by dataset. uint8 or
            uint16 (H, W, 3); `mask` (H, W) uint8 in {0, 255}.
        degradation: what was drawn, plain JSON values: kind, length and sigma in pixels, angle in degrees, ...
        condition: what a table tells apart: scene, mask_kind, mask_ratio (hole share in [0, 1]), mask_band, severity.
        references: further truths to score against, the best one counts (Koehler); in order.
        others: source and licence of each further picture that was mixed in.
    """

    images: dict[str, np.ndarray]
    degradation: dict[str, Any] = field(default_factory=dict)
    condition: dict[str, Any] = field(default_factory=dict)
    references: Iterable[np.ndarray] = ()
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Item:
    """One image that a build will make.

    Args:
        name: unique within its split, usable as a file name.
        split: train, val or test.
        make: the generator of this image's own seed to its pixels. A module-level function or a `functools.partial` of
            one, so that it travels to other processes; it reads its files when it is called, not before.
        source: where the pixels come from: a file relative to the originals' folder, or the package's picture.
        licence: the terms of the source.
        files: the original files read, for their hashes; empty for pictures inside packages.
    """

    name: str
    split: str
    make: Callable[[np.random.Generator], Made]
    source: str
    licence: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """All that the engine knows of a dataset.

    Args:
        title: the name that tables print.
        tasks: which of TASKS its built images serve.
        fields: what every built image has, of target, blurred, mask, left, right, centre.
        originals: (root, partial=..., **options) to the items of the official layout, checked. Raises DataError. With
            `partial` fewer files than the official count pass; nothing else does.
        offline: (**options) to the items of the stand-in from photographs inside installed packages.
        counts: official images by split.
        source: where the originals come from: address, citation, and terms, as a person needs them.
        scoring: "plain", or "best-reference" where the best of several truths counts.
    """

    title: str
    tasks: tuple[str, ...]
    fields: tuple[str, ...]
    originals: Callable[..., list[Item]]
    offline: Callable[..., list[Item]]
    counts: Mapping[str, int]
    source: str
    scoring: str = "plain"
