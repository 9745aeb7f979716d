"""What a training starts from, and what changes while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from bench.contracts import Method, Player
from bench.data.batches import Crops
from bench.networks import new_networks
from bench.params.checks import named
from bench.params.recipe_schema import Recipe
from bench.training.divergence import LossWatch
from bench.training.loss_log import LossLog
from bench.training.optimizers import make_optimizer
from bench.training.phases import absent_phases, check_absent_phases, phase_steps
from bench.training.placement import channels_last

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer


@dataclass(frozen=True)
class Setup:
    """What a training starts from; nothing of it changes."""

    recipe: Recipe
    """The resolved run."""
    method: Method
    """The run's method, one with networks."""
    crops: Crops
    """The training data."""
    helpers: Mapping[str, nn.Module]
    """The frozen networks of losses, by name."""
    accelerator: Accelerator
    """Device, precision and processes."""
    folder: Path
    """Folder of the checkpoint. It is not among the pipeline's outputs, which DVC deletes before a stage."""
    checkpoint_seconds: float
    """Time between two checkpoints, in seconds."""
    identity: str
    """All that the training depends on, as one text: a checkpoint of another identity is refused."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every training image was shown once."""
        return math.ceil(len(self.crops) / self.recipe.train.batch_size)

    @cached_property
    def phase_steps(self) -> dict[str, int]:
        """Steps of each phase, by name."""
        return phase_steps(self.recipe, self.method, self.steps_per_epoch)

    @cached_property
    def total_steps(self) -> int:
        """Steps of all phases together."""
        return sum(self.phase_steps.values())


@dataclass
class Progress:
    """How far a training has come."""

    phase: int = 0
    """The current phase, counted from 0 in the method's order."""
    step: int = 0
    """Steps done in the current phase."""
    total: int = 0
    """Steps done in all phases."""
    seconds: float = 0.0
    """Training time, over all attempts."""


@dataclass
class TrainingState:
    """What changes while a run trains: this is what a checkpoint holds."""

    networks: nn.ModuleDict
    """The networks that are trained and the frozen helpers, by name."""
    trained: tuple[str, ...]
    """Names of the networks that are trained."""
    optimizers: dict[str, AcceleratedOptimizer] = field(default_factory=dict)
    """The optimisers of the current phase, by player."""
    progress: Progress = field(default_factory=Progress)
    """How far the training has come."""
    watch: LossWatch = field(default_factory=LossWatch)
    """Tells when the losses of the current phase diverge."""
    losses: LossLog = field(default_factory=LossLog)
    """The losses that the run keeps."""

    def parameters_of(self, player: Player) -> list[nn.Parameter]:
        """Return the parameters that a player trains."""
        return self._parameters([name for name in player.networks if name in self.trained])

    def parameters_of_others(self, player: Player) -> list[nn.Parameter]:
        """Return the parameters that only other players train."""
        return self._parameters([name for name in self.trained if name not in player.networks])

    def _parameters(self, names: list[str]) -> list[nn.Parameter]:
        return [p for name in names for p in self.networks[name].parameters() if p.requires_grad]


def initial_state(setup: Setup) -> TrainingState:
    """Return the state before the first step, with weights drawn from the run's seed.

    Raises:
        ParamsError: the networks cannot be built (`bench.networks`); a phase has steps and the run does not have its
            network.
    """
    recipe, method = setup.recipe, setup.method
    torch.manual_seed(recipe.seed)
    # Drawn on the CPU, so that a seed gives the same weights on every device.
    with named(f"params.yaml: run {recipe.name}: network: "):
        trained = {name: network.train() for name, network in new_networks(method, recipe.network).items()}
    helpers = {name: helper.eval().requires_grad_(False) for name, helper in setup.helpers.items()}
    networks = channels_last(nn.ModuleDict(trained | helpers).to(setup.accelerator.device))
    state = TrainingState(networks, tuple(trained))
    check_absent_phases(recipe, absent_phases(method, state.trained), setup.phase_steps)
    begin_phase(setup, state, 0)
    return state


def begin_phase(setup: Setup, state: TrainingState, phase: int) -> None:
    """Change a state to the first step of a phase, with new optimisers."""
    state.progress.phase, state.progress.step = phase, 0
    state.watch = LossWatch()
    state.optimizers = make_optimizers(setup, state)


def make_optimizers(setup: Setup, state: TrainingState) -> dict[str, AcceleratedOptimizer]:
    """Make the optimisers of the current phase, by player; none for a phase that the run does not have."""
    name = list(setup.method.phases)[state.progress.phase]
    if name in absent_phases(setup.method, state.trained):
        return {}
    return {
        player_name: setup.accelerator.prepare(
            make_optimizer(setup.recipe.train, player_name, state.parameters_of(player))
        )
        for player_name, player in setup.method.phases[name].players.items()
    }
