"""The keys of recipes, typed: how a run is trained, and the parts that this is merged of.

The fields of every model are documented one by one. A key that is unknown, of the wrong type or out of its range is
refused with its place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.params.values import (
    Beta,
    Count,
    DatasetName,
    Few,
    Fraction,
    Name,
    Positive,
    Rate,
    RowIds,
    Section,
    Side,
    Weight,
)

# Recipes --------------------------------------------------------------------------------------------------------------


class Schedule(Section):
    """How the learning rate changes within each phase. Lengths are in epochs, as papers print them, or in steps."""

    kind: Literal["constant", "step", "cosine", "linear"] = "constant"
    """constant; step: times `factor` after every `every_epochs` or `every_steps`; cosine: to zero at the phase's end;
    linear: constant until `start`, then to zero at the phase's end."""
    every_epochs: Positive | None = None
    """Of kind step: epochs between two reductions. Give this or `every_steps`."""
    every_steps: Positive | None = None
    """Of kind step: steps between two reductions. It wins over `every_epochs`."""
    factor: Rate = 0.5
    """Of kind step: what the rate is multiplied by at each reduction."""
    start: Fraction = 0.5
    """Of kind linear: the share of the phase's steps after which the rate starts to fall."""
    warmup_steps: Count = 0
    """Steps in which the rate rises linearly from zero, in every kind. Raise it if the first steps diverge."""

    @model_validator(mode="after")
    def _check_length(self) -> Schedule:
        if self.kind == "step" and self.every_epochs is None and self.every_steps is None:
            raise ValueError("kind step needs every_epochs or every_steps")
        return self


class PlayerTrain(Section):
    """What one player's optimiser does differently; a value that is not given is that of the recipe."""

    lr: Rate | None = None
    """Learning rate of this player. Critics often need a lower one."""
    betas: tuple[Beta, Beta] | None = None
    """Adam's decay rates of this player."""
    updates: Few | None = None
    """Optimiser steps per batch; None: what the method declares (5 for the critic of WGAN-GP)."""


class Searched(Section):
    """The study that numbers of a recipe come from. A search writes it; nobody else does."""

    run: str
    """The run that was searched."""
    study: str
    """The study's identity, a hash."""
    trial: Count
    """The number of the winning trial."""
    mlflow_run: str
    """The id of that trial's MLflow run."""


class Train(Section):
    """How a run is trained. Its length is `steps` if given, else `epochs`; with several phases `phases`."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The optimiser of every player."""
    lr: Rate = 1e-4
    """Learning rate at the start of each phase, before the schedule."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Adam's decay rates of the first and second moment; SGD takes the first as its momentum."""
    weight_decay: Fraction = 0.0
    """Weight decay of the optimiser. It acts against the scale of the loss: see the weights."""
    clip_grad_norm: Annotated[float, Field(gt=0, strict=True)] | None = None
    """Largest norm of a player's gradient; None: no limit. Set it if the losses of a high rate diverge."""
    schedule: Schedule = Schedule()
    """How the learning rate changes."""
    epochs: Positive | None = None
    """Length in passes over the training images, for methods of one phase."""
    steps: Positive | None = None
    """Length in steps, for methods of one phase. It wins over `epochs`."""
    phases: dict[str, Count] = {}
    """Steps of each phase by name, for methods of several phases; 0 leaves a phase out."""
    batch_size: Few = 8
    """Crops per step, over all processes together. Lower it if the device's memory does not hold a step."""
    crop_size: Side = 256
    """Side of the square training crops, in pixels; the method says of which it must be a multiple."""
    augment: list[str | dict[str, dict[str, Any]]] = []
    """Augmentations of the crops, in order: names, or a name with its options (bench/data/augment.py)."""
    weights: dict[str, Weight] = {}
    """Weights of named losses: `loss`, or `player.loss` where two players have a loss of one name. A loss that is not
    named has weight 1, 0 switches it off; null takes back a weight that a value below gives."""
    players: dict[str, PlayerTrain] = {}
    """What the optimisers of single players do differently, by the player's name."""
    random_helpers: Annotated[bool, Field(strict=True)] = False
    """Draw the frozen networks of losses (VGG) from the run's seed instead of reading their files. For tests."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the autocast regions. bfloat16 takes about half the time on a CPU that has it."""
    input: Literal["blurred", "sharp"] | None = None
    """The image that an inpainting network gets with holes in; None: what its task says."""
    searched: Searched | None = None
    """Only in the recipe of a search's winner, so that its record and its MLflow run name the study."""

    def lr_of(self, player: str) -> float:
        """Return the learning rate of a player: its own one if the recipe sets it, else that of the recipe."""
        return self.players.get(player, PlayerTrain()).lr or self.lr

    def betas_of(self, player: str) -> tuple[float, float]:
        """Return Adam's betas of a player: its own ones if the recipe sets them, else those of the recipe."""
        return self.players.get(player, PlayerTrain()).betas or self.betas

    def updates_of(self, player: str, default: int) -> int:
        """Return how often a player is updated per batch: as the recipe says, else `default`, the method's number."""
        return self.players.get(player, PlayerTrain()).updates or default


class MethodProfile(Section):
    """The network arguments and the training of a method, a dataset, a variant or a run in one profile."""

    network: dict[str, Any] = {}
    """Arguments of the network, by name; others keep their defaults."""
    train: dict[str, Any] = {}
    """Fields of `Train`; they are checked when the run is resolved, together with what they are laid upon."""


class Profiles(Section):
    """Values that hold in one profile and in those that extend it."""

    paper: MethodProfile = MethodProfile()
    """The paper's own settings, with the official data."""
    sample: MethodProfile = MethodProfile()
    """Minutes on two cores, on stand-ins."""
    tour: MethodProfile = MethodProfile()
    """Seconds, to show the machinery."""


class Part(Profiles):
    """A part of a recipe: values by profile, and values of every profile, which win."""

    network: dict[str, Any] = {}
    """Arguments of the network in every profile."""
    train: dict[str, Any] = {}
    """Fields of `Train` in every profile."""


class Variant(Part):
    """A named variant of a method: an ablation or a size. Its title is derived from its name."""

    rows: RowIds = Field((), alias="as")
    """Its rows in the published tables; default: `<method>-<variant>`."""


class MethodRecipe(Profiles):
    """The recipe of a method: `methods/<name>.yaml`, next to its code."""

    rows: RowIds = Field((), alias="as")
    """The method's rows in the published tables; default: its name."""
    datasets: dict[DatasetName, Part] = {}
    """What differs on one dataset, by its name."""
    variants: dict[Name, Variant] = {}
    """Ablations and sizes by name; a run asks for one by `variant`."""


class Recipe(Section):
    """All that one run is, resolved: this is hashed, logged and printed."""

    name: str
    """The run's name."""
    method: str
    """The method's name, as in `params.yaml`."""
    dataset: str
    """The dataset's name."""
    task: str
    """The task; "" until `bench.runs.resolve` has settled it."""
    row: str
    """The id of its row in the published tables."""
    also: tuple[str, ...] = ()
    """Ids of further rows."""
    title: str
    """The name that tables print."""
    profile: str
    """The profile in which it was resolved."""
    seed: int
    """Seed of the weights and of all training draws."""
    network: dict[str, Any]
    """Arguments of the network that differ from its defaults."""
    paper_network: dict[str, Any]
    """Arguments of the network in the profile `paper`: a smaller network says so."""
    train: Train
    """How it is trained."""
