"""The keys of `params.yaml` and of the methods' recipes, typed: one pydantic model per section.

The fields of every model are documented one by one, in the order of the file. A key that is unknown, of the wrong type
or out of its range is refused with its place.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from bench.params.recipe_schema import MethodProfile, MethodRecipe, Part
from bench.params.values import (
    OWN_METHODS,
    DatasetName,
    Few,
    Folder,
    MethodName,
    Name,
    PositiveFloat,
    Profile,
    Rate,
    RowIds,
    Section,
    Seed,
    Share,
    Side,
    TaskName,
    Text,
    Threads,
    Weight,
)

# Runs -----------------------------------------------------------------------------------------------------------------


class Run(Part):
    """One training: a method on a dataset. Its values are laid on the method's recipe."""

    method: MethodName
    """The method's file in `methods/`, without `.py`."""
    dataset: DatasetName
    """The dataset's name, with hyphens."""
    task: TaskName | None = None
    """What the run does, where both the method and the dataset allow more than one task."""
    variant: Name | None = None
    """A variant of the method's recipe."""
    rows: RowIds = Field((), alias="as")
    """Its rows in the published tables; default: those of its variant or method."""
    title: Text | None = None
    """The name that tables print; default: derived from the method and the variant."""
    seed: Seed | None = None
    """Seed of the weights and of all training draws; default: that of the file."""


class Transfer(Section):
    """A trained run scored on another dataset than its own."""

    run: Name
    """The trained run."""
    dataset: DatasetName
    """The dataset whose test images are scored."""
    rows: RowIds = Field((), alias="as")
    """Rows in the published tables; default: those of the run."""


class Chain(Section):
    """Two trained runs in a row: the first deblurs, the second fills the hole."""

    first: Name
    """The run that deblurs."""
    second: Name
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
    trials: Few = 40
    """Finished trials."""
    share: Rate = 0.2
    """The share of the run's steps that a trial trains."""
    rungs: tuple[Share, ...] = (0.5,)
    """Shares of a trial's steps after which it is scored and, if it is behind, pruned. Every trial is scored at its
    end."""
    validation: Share = 0.2
    """The share of the training photographs that are held out."""
    images: Few = 16
    """The most held-out images that are scored, taken from all held-out photographs in turn."""
    jobs: Few = 1
    """Processes that work on the study at once."""

    @model_validator(mode="after")
    def _check_rungs(self) -> SearchSettings:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs: expected shares that rise, found {list(self.rungs)}")
        return self


class Base(Section):
    """The run that a search starts from."""

    group: Name
    """Its group under `runs`."""
    run: Name
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
    map: Name
    """Its name in the methods' declarations."""
    options: dict[str, Any] = {}
    """Values laid on its own options."""


class Evaluate(Section):
    """How runs are scored."""

    metrics: list[str] = ["psnr-rgb8", "ssim-gauss11"]
    """Ids of the metrics; `python -m bench list metrics` shows all."""
    cost_size: tuple[Side, Side] = (256, 256)
    """Height and width, in pixels, of the image at which time and memory are measured."""
    macs_sizes: list[tuple[Side, Side]] = []
    """Further heights and widths, in pixels, at which multiply-adds are counted."""
    timing_repeats: Few = 3
    """How often an image is restored for its time, the median of which counts. More give steadier times."""
    keep_images: Few = 2
    """Restored images that are kept for the report: the median input, the worst, further ones."""
    images: dict[DatasetName, list[Name]] = {}
    """By dataset, names of test images that are kept besides those."""


class Paths(Section):
    """Folders, relative to the folder in which a command runs."""

    originals: Folder = "originals"
    """`<originals>/<dataset>` holds the official files."""
    data: Folder = "data"
    """Built datasets, by profile."""
    out: Folder = "out"
    """Trained runs, scores and searches, by profile."""
    reports: Folder = "reports/out"
    """Rendered reports, by profile."""
    resume: Folder = ".resume"
    """Checkpoints of trainings and searches that have not ended."""
    weights: str = ""
    """Folder of weight files like VGG's, searched before torch's own folder; "" for torch's folder alone."""


class Tour(Section):
    """The datasets and runs of `make tour`; their keys are those of the file itself."""

    datasets: dict[DatasetName, Annotated[bool, Field(strict=True)]] = {}
    """Names of the datasets that are built; every value is true (DVC's templates need a mapping)."""
    runs: dict[Name, Run] = {}
    """What is trained."""
    baselines: dict[Name, Run] = {}
    """What needs no training."""
    chains: dict[Name, Chain] = {}
    """Two runs in a row."""


class Params(Section):
    """The whole file."""

    profile: Profile
    """Which settings hold: `sample`, `paper` or `tour`."""
    seed: Seed = 0
    """The seed of every run without one, and of every drawn degradation."""
    threads: Threads = 0
    """Threads of torch in each command; 0 for all cores. Part of a run's identity: results depend on it."""
    checkpoint_seconds: Annotated[float, Field(ge=0, strict=True)] = 30.0
    """Least time between two checkpoints of a training, in seconds; 0 writes one at every step."""
    tracking: str = ""
    """An MLflow server; "" for a file next to `params.yaml`. The variable MLFLOW_TRACKING_URI wins over it."""
    methods: Folder = OWN_METHODS
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
    auxiliary: dict[Name, AuxiliaryStage] = {}
    """The auxiliary maps that are made of datasets, by the name of their stage."""
    runs: dict[Name, dict[Name, Run]] = {}
    """What is trained, by group and name."""
    baselines: dict[Name, Run] = {}
    """Methods without training, by name."""
    transfers: dict[Name, Transfer] = {}
    """Runs scored on another dataset, by name."""
    chains: dict[Name, Chain] = {}
    """Two runs in a row, by name."""
    search: dict[Profile, SearchSettings] = {}
    """How runs are searched, by profile."""
    searches: dict[Name, dict[Name, Search]] = {}
    """What is searched, by group and by the name of the winner's run."""
    tour: Tour = Tour()
    """What `make tour` runs."""
