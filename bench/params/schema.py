"""The keys of `params.yaml` and of recipes, typed: one pydantic model per section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Profile = Literal["paper", "sample", "tour"]
PROFILES: dict[str, tuple[Profile, ...]] = {
    "paper": ("paper",),
    "sample": ("paper", "sample"),
    "tour": ("paper", "sample", "tour"),
}
PATH = Path("params.yaml")
WINNER = "winner.yaml"
"""What a search found, in its folder: a part of a recipe."""

# Strict: a text or a truth value where a number belongs is a mistake, not a number.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1, strict=True)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
Above = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
"""What a person means as a number and PyYAML reads as text."""
Rows = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One row of the published tables, or several: the same method may stand in them under several names."""


def _as_its_file(method: str) -> str:
    """Raise ValueError for a method named as in tables: the pipeline makes its file's name of it."""
    if "-" in method:
        raise ValueError(f"a method is named like its file here: write {method.replace('-', '_')}")
    return method


def _as_its_folder(dataset: str) -> str:
    """Raise ValueError for a dataset named like its file: its folder of built images and its block have hyphens."""
    if "_" in dataset:
        raise ValueError(f"a dataset is named with hyphens: write {dataset.replace('_', '-')}")
    return dataset


MethodName = Annotated[str, AfterValidator(_as_its_file)]
DatasetName = Annotated[str, AfterValidator(_as_its_folder)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Schedule(_Model):
    """How the learning rate moves. Lengths are in epochs, as papers print them, or in steps.

    constant; step (times `factor` after every `every`); cosine (to zero at the end); linear (constant until `start`, a
    share of the phase, then to zero at the end).
    """

    kind: Literal["constant", "step", "cosine", "linear"] = "constant"
    every_epochs: Positive | None = None
    every_steps: Positive | None = None
    factor: Rate = 0.5
    start: Fraction = 0.5
    warmup_steps: Count = 0

    @model_validator(mode="after")
    def _length(self) -> Schedule:
        if self.kind == "step" and self.every_epochs is None and self.every_steps is None:
            raise ValueError("kind step needs every_epochs or every_steps")
        return self


class PlayerTrain(_Model):
    """What one player's optimiser does otherwise than the rest."""

    lr: Rate | None = None
    betas: tuple[Fraction, Fraction] | None = None
    updates: Positive | None = None


class Searched(_Model):
    """The study that numbers of a recipe come from: it writes this, nobody else does."""

    run: str
    study: str
    trial: Count
    mlflow_run: str


class Train(_Model):
    """A recipe. The length is `steps` if given, else `epochs`; with several phases `phases` gives each its steps.

    `random_helpers` draws the frozen networks of losses (VGG) from the run's seed instead of reading their files.
    `searched` stands in the recipe of a search's winner alone, so that its record and its MLflow run say whose it is.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Rate = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Fraction = 0.0
    clip_grad_norm: Annotated[float, Field(gt=0, strict=True)] | None = None
    schedule: Schedule = Schedule()
    epochs: Positive | None = None
    steps: Positive | None = None
    phases: dict[str, Count] = {}
    batch_size: Positive = 8
    crop_size: Positive = 256
    augment: list[str | dict[str, dict[str, Any]]] = []
    weights: dict[str, Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]] = {}
    players: dict[str, PlayerTrain] = {}
    random_helpers: Annotated[bool, Field(strict=True)] = False
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    input: Literal["blurred", "sharp"] | None = None
    searched: Searched | None = None


class MethodProfile(_Model):
    """A method's network arguments and recipe in one profile."""

    network: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Run(_Model):
    """One training: a method with its arguments on a dataset. `as` is its row, or its rows, in the published tables.

    `network` and `train` hold in every profile and have the last word. What stands below `paper`, `sample` or `tour` is
    laid on what the method says there: a length for two cores must not reach the paper's recipe, nor the reverse.
    """

    method: MethodName
    dataset: DatasetName
    task: Literal["deblur", "inpaint", "sharp-inpaint", "dual-pixel"] | None = None
    rows: Rows = Field((), alias="as")
    title: str | None = None
    seed: Count | None = None
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}
    paper: MethodProfile = MethodProfile()
    sample: MethodProfile = MethodProfile()
    tour: MethodProfile = MethodProfile()


class Transfer(_Model):
    """A trained run scored on another dataset than its own."""

    run: str
    dataset: DatasetName
    rows: Rows = Field((), alias="as")


class Chain(_Model):
    """Two trained runs in a row: the first deblurs, the second fills the hole."""

    first: str
    second: str
    dataset: DatasetName
    rows: Rows = Field((), alias="as")


class Choice(_Model):
    """What a search does with one number: vary it from `low` to `high`, hold it at `value`, or take `times` another.

    A range is searched on a logarithmic scale. A bare number is a value; `of` without `times` ties two numbers.
    """

    low: Above | None = None
    high: Above | None = None
    value: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] | None = None
    of: str | None = None
    times: Above = 1.0

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_way(self) -> Choice:
        ranged = self.low is not None or self.high is not None
        if ranged + (self.value is not None) + (self.of is not None) != 1:
            raise ValueError("give low and high, or a number, or `of` another (and `times`)")
        if ranged and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("expected low below high, both above 0")
        if "times" in self.model_fields_set and self.of is None:
            raise ValueError("`times` goes with `of`: a factor of which other?")
        return self


class SearchSettings(_Model):
    """How long and by what a search judges.

    metric: of the validation photographs, the mean over their images. trials: finished ones. share: of the run's steps
    that a trial trains. rungs: shares of a trial's steps at which it is scored and, when it is behind, pruned; it is
    scored at its end anyhow. validation: share of the training photographs that are held out. images: the most that are
    scored, of all held-out photographs in turn. jobs: processes on the study.
    """

    metric: str = "psnr-rgb8"
    trials: Positive = 40
    share: Rate = 0.2
    rungs: tuple[Share, ...] = (0.5,)
    validation: Share = 0.2
    images: Positive = 16
    jobs: Positive = 1

    @model_validator(mode="after")
    def _rising(self) -> SearchSettings:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs: expected shares that rise, found {list(self.rungs)}")
        return self


class Base(_Model):
    """A run and the group of `runs` that it stands in."""

    group: str
    run: str


class Search(_Model):
    """A search, and the run of its winner, which has this entry's name.

    Method and dataset are those of the base run; the pipeline needs them here. `weights` says what happens to each loss
    weight, by its name in the recipe, `train` to other numbers of it ("lr", "players.critic.lr"); `settings` is laid on
    those of the section `search`, profile by profile.
    """

    method: MethodName
    dataset: DatasetName
    of: Base
    rows: Rows = Field((), alias="as")
    title: str | None = None
    weights: dict[str, Choice] = {}
    train: dict[str, Choice] = {}
    settings: dict[Profile, SearchSettings] = {}


class DatasetParams(_Model):
    """Options of a dataset's two builders; `tour` replaces options of the stand-in in the profile of that name."""

    originals: dict[str, Any] = {}
    offline: dict[str, Any] = {}
    tour: dict[str, Any] = {}


class LayerStage(_Model):
    """A layer that the pipeline makes for a dataset's training images: its name with the methods, and their file.

    `options` are laid on those of the layer (`Layer.options`).
    """

    dataset: DatasetName
    layer: str
    module: str
    options: dict[str, Any] = {}


class Evaluate(_Model):
    """How runs are scored. `images` names, by dataset, test images that the report shows besides those by rule."""

    metrics: list[str] = ["psnr-rgb8", "ssim-gauss11"]
    cost_size: tuple[Positive, Positive] = (256, 256)
    macs_sizes: list[tuple[Positive, Positive]] = []
    timing_repeats: Positive = 3
    keep_images: Positive = 2
    images: dict[str, list[str]] = {}


class Paths(_Model):
    """Folders, relative to `params.yaml`; `weights` holds files such as VGG's that cannot be shipped."""

    originals: str = "originals"
    data: str = "data"
    out: str = "out"
    reports: str = "reports/out"
    resume: str = ".resume"
    weights: str = ""


class Tour(_Model):
    """The runs of `make tour`."""

    datasets: dict[str, bool] = {}
    runs: dict[str, Run] = {}
    baselines: dict[str, Run] = {}
    chains: dict[str, Chain] = {}


class Params(_Model):
    """The whole file."""

    profile: Profile
    seed: Count = 0
    threads: Count = 0
    paths: Paths = Paths()
    tracking: str = ""
    checkpoint_seconds: Annotated[float, Field(ge=0, strict=True)] = 30.0
    evaluate: dict[Profile, Evaluate] = {}
    defaults: dict[Profile, MethodProfile] = {}
    methods: dict[str, dict[Profile, MethodProfile] | None] = {}
    datasets: dict[str, DatasetParams] = {}
    layers: dict[str, LayerStage] = {}
    runs: dict[str, dict[str, Run]] = {}
    baselines: dict[str, Run] = {}
    transfers: dict[str, Transfer] = {}
    chains: dict[str, Chain] = {}
    search: dict[Profile, SearchSettings] = {}
    searches: dict[str, dict[str, Search]] = {}
    tour: Tour = Tour()


class Recipe(_Model):
    """All that one run is, resolved: this is what is hashed, logged and printed. It stands in `row`, and in `also`."""

    name: str
    method: str
    dataset: str
    task: str
    row: str
    also: tuple[str, ...] = ()
    title: str
    profile: str
    seed: int
    network: dict[str, Any]
    paper_network: dict[str, Any]
    train: Train
