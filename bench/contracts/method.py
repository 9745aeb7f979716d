"""What a method is to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Batch: TypeAlias = "Mapping[str, Tensor]"
"""A batch: `x`, or `left` and `right`; `mask` where the task has one; the method's auxiliary maps by name.

In training also `target`, `progress` (a scalar: the share of the phase's steps that are done, in [0, 1)), and for
sharp-inpaint `blurred`, the blurred image without its hole.
"""
Outputs: TypeAlias = "Mapping[str, Tensor]"
"""What a phase's forward pass gives its players; `pred` is the restored image. Lists are kept by `numbered`."""
Losses: TypeAlias = "dict[str, Tensor]"
"""Scalars by name; a recipe weights them by these names."""
State: TypeAlias = "Mapping[str, Tensor]"
"""A state dict: tensors by name."""
Forward: TypeAlias = "Callable[[nn.ModuleDict, Batch], Outputs]"
"""The forward pass of a phase."""


@dataclass(frozen=True)
class Player:
    """One side of a training: the networks that one optimiser moves and the losses that it lowers.

    Args:
        networks: names of the networks (keys of `Method.networks`) that this player's optimiser moves.
        losses: (networks, batch, outputs) to named scalars; a recipe weights them by these names.
        updates: optimiser steps on each batch: 1, or 5 for the critic of WGAN-GP. A recipe may change it.
    """

    networks: tuple[str, ...]
    losses: Callable[[nn.ModuleDict, Batch, Outputs], Losses]
    updates: int = 1


@dataclass(frozen=True)
class Phase:
    """One phase of a training.

    Args:
        forward: (networks, batch) to outputs, run once per step with gradients; a player whose losses must not reach
            the generator detaches what it takes from the outputs.
        players: by name, in the order of their updates within a step.
    """

    forward: Forward
    players: Mapping[str, Player]


@dataclass(frozen=True)
class Helper:
    """A frozen network with published weights that some losses look through (VGG).

    Where its file is not on this machine the losses that need it are left out, and the run and every table tell so.
    With `train.random_helpers` the same network with random weights takes its place, which they tell too.

    Args:
        weights: the key of its file among the known weights ("vgg19", "vgg16").
        build: the file, or None for random weights, to the network; it reads with `weights_only=True`.
        losses: names of the losses that need it; they are returned only if `networks` holds the helper.
    """

    weights: str
    build: Callable[[Path | None], nn.Module]
    losses: tuple[str, ...]


@dataclass(frozen=True)
class AuxiliaryMap:
    """A further image per sample, for example its texture, that is too slow to compute at each training step.

    The command `auxiliary` computes it once for every training image; training crops and flips it with the images. For
    an image to restore it is computed at once, from the method's input.

    Args:
        of_target: the truth (H, W, 3), float32 in [0, 1], to the map (H, W, C), float32 in [-1, 1].
        of_input: x (H, W, 3) and mask (H, W, 1), 1 = hole, both float32 in [0, 1], to a map of the same shape.
        module: the file that makes it, relative to the project ("methods/auxiliary/rtv.py").
        options: keyword arguments of both, by name. `params.yaml` sets them by dataset (section `auxiliary`), for the
            network's arguments of the same names, which the method has too: a run keeps those it was trained with.
    """

    of_target: Callable[..., np.ndarray]
    of_input: Callable[..., np.ndarray]
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """All that the engine knows of a method. `supervised`, `adversarial` and `untrained` make the usual ones.

    Args:
        tasks: what it can do, names in `bench.tasks.TASKS`; a trained method has one, a method without training may
            have several.
        networks: plain arguments to the networks by name; None for a method without training.
        phases: by name, in order; a recipe sets the steps of each. Empty for a method without training.
        restore: (networks, batch) to the restored image (N, 3, H, W), not clipped and, for inpainting, not composited:
            the engine does both. Runs in eval mode without gradients. `networks` is empty without training.
        reference: for each network, how a state dict of the authors' code (their names, their axis order) becomes ours.
        tiny: arguments that make the smallest useful network, for tests.
        multiple: sides must be multiples of this, in pixels; the engine pads by reflection and crops after.
        min_size: the smallest side that the network takes, in pixels.
        margin: pixels around an output pixel that can influence it, where that is bounded; tiles overlap by this much
            and agree with the whole image. None where it is not bounded: then `tiling` explains the tiles. A function
            where it depends on the network: it gets those of the network's arguments that it takes, by name.
        tiling: one sentence on how an image too large for memory is cut, shown to the user when it is. A method without
            networks never cuts one.
        helpers: frozen networks by name; in training they are in `networks` under these names where available.
        auxiliary: further images per sample; the batch holds them under these names.
        watched: names of losses that are logged for their curves alone: never weighted, never lowered.
        insides: (networks, batch) to what happens inside while one image is restored, by the name that a figure prints:
            images (1, 1 or 3, h, w) in [0, 1], or weights (K,). Runs in eval mode without gradients; None without any.
        readings: how the paper was read where it is silent or contradicts itself, one full sentence each: the method's
            page lists them. A shared part exports its own as a tuple, which the entry adds.
        limits: what the method cannot do, each with its reason; the report prints them.
    """

    tasks: tuple[str, ...]
    networks: Callable[..., Mapping[str, nn.Module]] | None
    phases: Mapping[str, Phase]
    restore: Callable[[nn.ModuleDict, Batch], Tensor]
    reference: Mapping[str, Callable[[State], State]] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    multiple: int = 1
    min_size: int = 1
    margin: int | Callable[..., int | None] | None = None
    tiling: str = ""
    helpers: Mapping[str, Helper] = field(default_factory=dict)
    auxiliary: Mapping[str, AuxiliaryMap] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    insides: Callable[[nn.ModuleDict, Batch], Mapping[str, Tensor]] | None = None
    readings: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
