"""The keys of `params.yaml` and of the methods' recipes, typed: one pydantic model per section.

The fields of every model are documented one by one, in the order of the file. A key that is unknown, of the wrong type
or out of its range is refused with its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bench.tasks import find_task

Profile = Literal["paper", "sample", "tour"]
PROFILES: dict[str, tuple[Profile, ...]] = {
    "paper": ("paper",),
    "sample": ("paper", "sample"),
    "tour": ("paper", "sample", "tour"),
}
"""By profile, the profiles whose values it takes, in order; later values win."""
PATH = Path("params.yaml")
WINNER = "winner.yaml"
"""The file in a search's folder that holds what it found: a part of a recipe."""
OWN_METHODS = "methods"
"""The value of `methods` that means the project's own folder alone."""

# Strict: a text or a truth value in the place of a number is a mistake, not a number.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1, strict=True)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
TEXT_FOR_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
"""Numbers that PyYAML reads as text, such as 1e-4."""
RowIds = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Ids of rows of the published tables, one or several: papers list the same method under several names."""


def _named_like_its_file(method: str) -> str:
    """Raise ValueError for a method's name with hyphens: `params.yaml` names the file."""
    if "-" in method:
        raise ValueError(f"a method is named like its file here: write {method.replace('-', '_')}")
    return method


def _named_like_its_folder(dataset: str) -> str:
    """Raise ValueError for a dataset's name with underscores: the folder of its built images has hyphens."""
    if "_" in dataset:
        raise ValueError(f"a dataset is named with hyphens: write {dataset.replace('_', '-')}")
    return dataset


TaskName = Annotated[str, AfterValidator(lambda name: find_task(name).name)]
MethodName = Annotated[str, AfterValidator(_named_like_its_file)]
DatasetName = Annotated[str, AfterValidator(_named_like_its_folder)]


class Section(BaseModel):
    """A part of `params.yaml` or of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


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
    betas: tuple[Fraction, Fraction] | None = None
    """Adam's decay rates of this player."""
    updates: Positive | None = None
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
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
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
    batch_size: Positive = 8
    """Crops per step, over all processes together. Lower it if the device's memory does not hold a step."""
    crop_size: Positive = 256
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
    variants: dict[str, Variant] = {}
    """Ablations and sizes by name; a run asks for one by `variant`."""


# Runs -----------------------------------------------------------------------------------------------------------------


class Run(Part):
    """One training: a method on a dataset. Its values are laid on the method's recipe."""

    method: MethodName
    """The method's file in `methods/`, without `.py`."""
    dataset: DatasetName
    """The dataset's name, with hyphens."""
    task: TaskName | None = None
    """What the run does, where both the method and the dataset allow more than one task."""
    variant: str | None = None
    """A variant of the method's recipe."""
    rows: RowIds = Field((), alias="as")
    """Its rows in the published tables; default: those of its variant or method."""
    title: str | None = None
    """The name that tables print; default: derived from the method and the variant."""
    seed: Count | None = None
    """Seed of the weights and of all training draws; default: that of the file."""


class Transfer(Section):
    """A trained run scored on another dataset than its own."""

    run: str
    """The trained run."""
    dataset: DatasetName
    """The dataset whose test images are scored."""
    rows: RowIds = Field((), alias="as")
    """Rows in the published tables; default: those of the run."""


class Chain(Section):
    """Two trained runs in a row: the first deblurs, the second fills the hole."""

    first: str
    """The run that deblurs."""
    second: str
    """The run that fills the hole in the first one's result."""
    dataset: DatasetName
    """The dataset whose test images are scored."""
    rows: RowIds = Field((), alias="as")
    """Rows in the published tables; default: the runs' rows joined by a plus sign."""


# Searches -------------------------------------------------------------------------------------------------------------


class Choice(Section):
    """What a search does with one number: vary it, hold it, or tie it to another. A bare number is a value."""

    low: PositiveFloat | None = None
    """Lower end of the range, searched on a logarithmic scale."""
    high: PositiveFloat | None = None
    """Upper end of the range."""
    value: Weight | None = None
    """The value at which the number is held."""
    of: str | None = None
    """The number that this one follows."""
    times: PositiveFloat = 1.0
    """With `of`: the factor to the other number."""

    @model_validator(mode="before")
    @classmethod
    def _read_number(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_one_way(self) -> Choice:
        ranged = self.low is not None or self.high is not None
        if ranged + (self.value is not None) + (self.of is not None) != 1:
            raise ValueError("give low and high, or a number, or `of` another (and `times`)")
        if ranged and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("expected low below high, both above 0")
        if "times" in self.model_fields_set and self.of is None:
            raise ValueError("`times` goes with `of`: a factor of which other?")
        return self


class SearchSettings(Section):
    """How long a search takes and what it is judged by."""

    metric: str = "psnr-rgb8"
    """The metric of the held-out photographs; a trial's score is its mean over their images."""
    trials: Positive = 40
    """Finished trials."""
    share: Rate = 0.2
    """The share of the run's steps that a trial trains."""
    rungs: tuple[Share, ...] = (0.5,)
    """Shares of a trial's steps after which it is scored and, if it is behind, pruned. Every trial is scored at its
    end."""
    validation: Share = 0.2
    """The share of the training photographs that are held out."""
    images: Positive = 16
    """The most held-out images that are scored, taken from all held-out photographs in turn."""
    jobs: Positive = 1
    """Processes that work on the study at once."""

    @model_validator(mode="after")
    def _check_rungs(self) -> SearchSettings:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs: expected shares that rise, found {list(self.rungs)}")
        return self


class Base(Section):
    """The run that a search starts from."""

    group: str
    """Its group under `runs`."""
    run: str
    """Its name."""


class Search(Section):
    """A search. The run of its winner has this entry's name."""

    method: MethodName
    """The base run's method: DVC's templates need it here."""
    dataset: DatasetName
    """The base run's dataset, for the same reason."""
    of: Base
    """The base run."""
    rows: RowIds = Field((), alias="as")
    """The winner's rows in the published tables; default: those of the base run."""
    weights: dict[str, Choice] = {}
    """What happens to each loss weight, by its name in the recipe."""
    train: dict[str, Choice] = {}
    """What happens to other numbers of the recipe ("lr", "players.critic.lr")."""
    settings: dict[Profile, SearchSettings] = {}
    """Values laid on those of the section `search`, by profile."""


# Data, scores, files --------------------------------------------------------------------------------------------------


class DatasetParams(Section):
    """Options of a dataset's two builders."""

    originals: dict[str, Any] = {}
    """Options for the official files."""
    offline: dict[str, Any] = {}
    """Options for the stand-in from photographs inside installed packages."""
    tour: dict[str, Any] = {}
    """Values laid on `offline` in the profile tour."""


class AuxiliaryStage(Section):
    """An auxiliary map that the pipeline makes of a dataset's training images."""

    dataset: DatasetName
    """The dataset whose training images it is made of."""
    map: str
    """Its name in the methods' declarations."""
    options: dict[str, Any] = {}
    """Values laid on its own options."""


class Evaluate(Section):
    """How runs are scored."""

    metrics: list[str] = ["psnr-rgb8", "ssim-gauss11"]
    """Ids of the metrics; `python -m bench list metrics` shows all."""
    cost_size: tuple[Positive, Positive] = (256, 256)
    """Height and width, in pixels, of the image at which time and memory are measured."""
    macs_sizes: list[tuple[Positive, Positive]] = []
    """Further heights and widths, in pixels, at which multiply-adds are counted."""
    timing_repeats: Positive = 3
    """How often an image is restored for its time, the median of which counts. More give steadier times."""
    keep_images: Positive = 2
    """Restored images that are kept for the report: the median input, the worst, further ones."""
    images: dict[str, list[str]] = {}
    """By dataset, names of test images that are kept besides those."""


class Paths(Section):
    """Folders, relative to the folder in which a command runs."""

    originals: str = "originals"
    """`<originals>/<dataset>` holds the official files."""
    data: str = "data"
    """Built datasets, by profile."""
    out: str = "out"
    """Trained runs, scores and searches, by profile."""
    reports: str = "reports/out"
    """Rendered reports, by profile."""
    resume: str = ".resume"
    """Checkpoints of trainings and searches that have not ended."""
    weights: str = ""
    """Files such as VGG's that are looked for before torch's own folder; "" for that folder alone."""


class Tour(Section):
    """The datasets and runs of `make tour`; their keys are those of the file itself."""

    datasets: dict[str, bool] = {}
    """Names of the datasets that are built; every value is true (DVC's templates need a mapping)."""
    runs: dict[str, Run] = {}
    """What is trained."""
    baselines: dict[str, Run] = {}
    """What needs no training."""
    chains: dict[str, Chain] = {}
    """Two runs in a row."""


class Params(Section):
    """The whole file."""

    profile: Profile
    """Which settings hold: `sample`, `paper` or `tour`."""
    seed: Count = 0
    """The seed of every run without one, and of every drawn degradation."""
    threads: Count = 0
    """Threads of torch in each command; 0 for all cores. Part of a run's identity: results depend on it."""
    checkpoint_seconds: Annotated[float, Field(ge=0, strict=True)] = 30.0
    """Least time between two checkpoints of a training, in seconds; 0 writes one at every step."""
    tracking: str = ""
    """An MLflow server; "" for a file next to `params.yaml`. The variable MLFLOW_TRACKING_URI wins over it."""
    methods: str = OWN_METHODS
    """A folder of further methods, one file each; "methods" for none but the project's own."""
    paths: Paths = Paths()
    """Folders."""
    evaluate: dict[Profile, Evaluate] = {}
    """How runs are scored, by profile."""
    defaults: dict[Profile, MethodProfile] = {}
    """What every method shares, by profile."""
    recipes: dict[MethodName, MethodRecipe] = {}
    """Values laid on the methods' own recipes, in the same form."""
    datasets: dict[DatasetName, DatasetParams] = {}
    """The datasets that are built, and their options."""
    auxiliary: dict[str, AuxiliaryStage] = {}
    """The auxiliary maps that are made of datasets, by the name of their stage."""
    runs: dict[str, dict[str, Run]] = {}
    """What is trained, by group and name."""
    baselines: dict[str, Run] = {}
    """Methods without training, by name."""
    transfers: dict[str, Transfer] = {}
    """Runs scored on another dataset, by name."""
    chains: dict[str, Chain] = {}
    """Two runs in a row, by name."""
    search: dict[Profile, SearchSettings] = {}
    """How runs are searched, by profile."""
    searches: dict[str, dict[str, Search]] = {}
    """What is searched, by group and by the name of the winner's run."""
    tour: Tour = Tour()
    """What `make tour` runs."""


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
