"""Read `params.yaml`, check every value, and work out what a run is in the chosen profile.

A profile extends another: `tour` extends `sample`, which extends `paper`. What a run uses is merged in this order,
later wins: for each profile of that chain the defaults, then the method's own; last the run's own values. The run of a
search's winner is its base run with what the search found laid on it.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bench.contracts import ParamsError
from bench.registry import names, nearest

Profile = Literal["paper", "sample", "tour"]
PROFILES: dict[str, tuple[Profile, ...]] = {
    "paper": ("paper",),
    "sample": ("paper", "sample"),
    "tour": ("paper", "sample", "tour"),
}
PATH = Path("params.yaml")
WINNER = "winner.yaml"
"""What a search found, in its folder: a part of a recipe."""

T = TypeVar("T", bound=BaseModel)

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


class _Loader(yaml.SafeLoader):
    """PyYAML's, which takes the last of two equal keys in silence; this one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} stands there twice", problem_mark=mark)
        return super().construct_mapping(node, deep)


def load(path: Path = PATH, profile: str | None = None) -> Params:
    """Read and check the file; the profile is the argument's, SHARPBENCH_PROFILE's or the file's, in this order.

    Raises:
        ParamsError: the file is missing or not YAML, or a key is unknown, of the wrong type or out of range.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file; run the command in the project's folder or name it by --params"
        ) from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that there is not
        raise ParamsError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: empty, or not a mapping of keys to values")
    chosen = profile or os.environ.get("SHARPBENCH_PROFILE") or values.get("profile", "sample")
    if not isinstance(chosen, str) or chosen not in PROFILES:
        raise ParamsError(f"{path}: profile: found {chosen!r}, the nearest are: {nearest(str(chosen), PROFILES)}")
    params = checked(Params, values | {"profile": chosen}, str(path))
    # A block under a misspelt name would be passed over in silence.
    files = [name.replace("-", "_") for name in names("methods")]
    for package, known, keys in (
        ("methods", files, params.methods),
        ("datasets", names("datasets"), params.datasets),
    ):
        for key in keys:
            if key not in known:
                raise ParamsError(f"{path}: {package}.{key}: no such entry; the nearest are: {nearest(key, known)}")
    for chosen, how in params.evaluate.items():
        for key in how.images:
            if key not in (known := names("datasets")):
                place = f"evaluate.{chosen}.images.{key}"
                raise ParamsError(f"{path}: {place}: no such dataset; the nearest are: {nearest(key, known)}")
    for name, stage in params.layers.items():
        if stage.dataset not in (known := names("datasets")):
            near = nearest(stage.dataset, known)
            raise ParamsError(f"{path}: layers.{name}: no dataset {stage.dataset!r}; the nearest are: {near}")
    groups: list[Mapping[str, Any]] = [
        *params.runs.values(),
        params.baselines,
        params.transfers,
        params.tour.runs,
        params.tour.baselines,
        *params.searches.values(),
    ]
    used = [name for group in [*groups, all_chains(params)] for name in group]
    for name in used:
        if used.count(name) > 1:
            raise ParamsError(f"{path}: two runs have the name {name!r}; each needs its own, it names their folder")
    for group, searches in params.searches.items():
        for name, search in searches.items():
            _check_search(params, search, f"{path}: searches.{group}.{name}")
    return params


def _check_search(params: Params, search: Search, where: str) -> None:
    """Raise ParamsError unless the base run is there, is what the search says, and every `of` leads to a number."""
    base, groups = search.of, params.runs
    if base.group not in groups:
        near = nearest(base.group, groups)
        raise ParamsError(f"{where}.of: no group {base.group!r} of runs; the nearest are: {near}")
    if base.run not in groups[base.group]:
        near = nearest(base.run, groups[base.group])
        raise ParamsError(f"{where}.of: no run {base.run!r} in group {base.group!r}; the nearest are: {near}")
    run = groups[base.group][base.run]
    for key in ("method", "dataset"):
        found, expected = getattr(search, key), getattr(run, key)
        if found != expected:
            raise ParamsError(f"{where}.{key}: found {found!r}, expected {expected!r} as in run {base.run}")
    if sum(other.of.run == base.run for other in all_searches(params).values()) > 1:
        raise ParamsError(f"{where}.of: a second search of run {base.run}; one run has one search")
    for section, choices in (("weights", search.weights), ("train", search.train)):
        for name in choices:
            seen = [name]
            while (of := choices[seen[-1]].of) is not None:
                if of not in choices:
                    near = nearest(of, choices)
                    raise ParamsError(f"{where}.{section}.{seen[-1]}.of: no {of!r} beside it; the nearest are: {near}")
                if of in seen:
                    raise ParamsError(f"{where}.{section}.{name}.of: goes in a circle: {' of '.join([*seen, of])}")
                seen.append(of)
    if not any(choice.low for choice in (*search.weights.values(), *search.train.values())):
        raise ParamsError(f"{where}: nothing is searched; give at least one weight a range, {{low: 0.1, high: 10.0}}")


def checked(model: type[T], values: Any, where: str) -> T:
    """Check `values` against a model. Raises ParamsError naming the place, what was found and what is expected."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(model, one, where) for one in error.errors())) from None


def _explain(model: type[BaseModel], error: Mapping[str, Any], where: str) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields(model, error["loc"])
        return f"{where}: {key}: unknown key; the nearest are: {nearest(str(error['loc'][-1]), known)}"
    found, message = error["input"], error["msg"].removeprefix("Value error, ")
    place = f"{where}: {key}" if key else where
    return f"{place}: found {found!r}; {message[0].lower()}{message[1:]}{_hint(found)}"


def _hint(found: Any) -> str:
    text = isinstance(found, str) and NUMBER.fullmatch(found)
    return " (YAML reads 1e-4 as text: write 1.0e-4)" if text else ""


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed beside the unknown one, by walking the models along its location."""
    models = [model]
    for part in location[:-1]:
        # A part that is no field is a key of a mapping: the models stay those of its values.
        fields = [f for outer in models for name, f in outer.model_fields.items() if part in (name, f.alias)]
        models = [m for f in fields for m in _models(f.annotation)] or models
    return sorted({f.alias or name for m in models for name, f in m.model_fields.items()})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, mapping by mapping; any other value is replaced whole."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def all_runs(params: Params) -> dict[str, Run]:
    """Return every run that is trained or that needs no training, by name."""
    groups = [*params.runs.values(), params.baselines, params.tour.runs, params.tour.baselines]
    plain = {name: run for group in groups for name, run in group.items()}
    return plain | {name: _winner(params, search) for name, search in all_searches(params).items()}


def all_searches(params: Params) -> dict[str, Search]:
    """Return every search by the name of its winner's run."""
    return {name: search for group in params.searches.values() for name, search in group.items()}


def _winner(params: Params, search: Search) -> Run:
    """Return the run of a search's winner as far as it is known before the search."""
    base = params.runs[search.of.group][search.of.run]
    title = search.title or f"{base.title or base.method.replace('_', '-')} (searched)"
    return base.model_copy(update={"rows": search.rows or base.rows, "title": title})


def search_folder(params: Params, run: str = "") -> Path:
    """Return the folder of the search of a run in the chosen profile, or of all searches."""
    return Path(params.paths.out, params.profile, "search", run)


def all_chains(params: Params) -> dict[str, Chain]:
    """Return every chain by name."""
    return params.chains | params.tour.chains


def find_run(params: Params, name: str) -> Run:
    """Return a run by name. Raises ParamsError with the nearest names."""
    runs = all_runs(params)
    if name not in runs:
        raise ParamsError(f"{PATH}: no run {name!r}; the nearest are: {nearest(name, runs)}")
    return runs[name]


def recipe(params: Params, name: str) -> Recipe:
    """Resolve a run: its network arguments and training recipe in the chosen profile.

    Raises:
        ParamsError: an unknown run, a misspelt or out-of-range parameter; the run of a winner not yet found.
    """
    run = find_run(params, name)
    own = params.methods.get(run.method) or {}
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}
    paper: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        for layer in (params.defaults.get(profile), own.get(profile), getattr(run, profile)):
            if layer is not None:
                network, train = merged(network, layer.network), merged(train, layer.train)
        paper = dict(network) if profile == "paper" else paper
    paper, network, train = merged(paper, run.network), merged(network, run.network), merged(train, run.train)
    where = f"{PATH}: the recipe of run {name} in profile {params.profile}"
    if "searched" in train:
        raise ParamsError(f"{where}: searched: a search writes it beside what it finds; take it out")
    if name in (searches := all_searches(params)):
        train, where = merged(train, _found(params, searches[name].of.run)), f"{where}, with what its search found"
    return Recipe(
        name=name,
        method=run.method,
        dataset=run.dataset,
        task=run.task or "",
        row=run.rows[0] if run.rows else run.method.replace("_", "-"),
        also=run.rows[1:],
        title=run.title or run.method.replace("_", "-"),
        profile=params.profile,
        seed=params.seed if run.seed is None else run.seed,
        network=network,
        paper_network=paper,
        train=checked(Train, train, where),
    )


def recipes(params: Params) -> dict[str, Recipe]:
    """Resolve what the profile's pipeline trains but for searches' winners, by name. Raises ParamsError as `recipe`."""
    groups = [params.tour.runs] if params.profile == "tour" else params.runs.values()
    return {name: recipe(params, name) for group in groups for name in group}


def _found(params: Params, run: str) -> dict[str, Any]:
    """Read what the search of a run found, a part of a recipe. Raises ParamsError for none, or a damaged one."""
    path = search_folder(params, run) / WINNER
    again = f"run: python -m bench search {run}"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError:
        raise ParamsError(f"{path}: run {run} has not been searched yet in profile {params.profile}; {again}") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that there is not
        raise ParamsError(f"{path}: not YAML: {error}; {again}") from None
    train = values.get("train") if isinstance(values, dict) else None
    if not isinstance(train, dict) or "searched" not in train:
        raise ParamsError(f"{path}: not written by a search: `train` with `searched` is missing; {again}")
    return train


@contextmanager
def named(place: str) -> Iterator[None]:
    """Put `place` before what a ParamsError says: where the value stands that a method, a dataset or a step refuses."""
    try:
        yield
    except ParamsError as error:
        raise ParamsError(f"{place}{error}") from error


EXAMPLES = {"int": 0, "float": 0.0, "str": "", "bool": False}
"""A value of each type that the annotation of an argument without a default value of its own may name."""


def check_arguments(
    network: Any, arguments: Mapping[str, Any], where: str, given: Collection[str] = frozenset()
) -> None:
    """Raise ParamsError unless the callable `network` takes every argument, each of the kind of its default.

    Args:
        given: parameters that the caller fills itself: no arguments of a person.
    """
    parameters = inspect.signature(network).parameters.values()
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    open_ended = len(known) < len(parameters)
    known = {name: parameter for name, parameter in known.items() if name not in given}
    for name, value in arguments.items():
        if name not in known and not open_ended:
            raise ParamsError(f"{where}.{name}: unknown argument; the nearest are: {nearest(name, known)}")
        if name in known and not _like_default(value, known[name]):
            default = known[name].default
            kind = f"{type(default).__name__} like {default!r}"
            if default is None:
                kind = str(known[name].annotation).replace(" | ", " or ").replace("None", "null")
            hint = _hint(value)
            if kind.startswith("str ") and isinstance(value, (int, float)) and not isinstance(value, bool):
                hint = f""" (a number to YAML; as text it is "{value}", and in a shell '{name}="{value}"')"""
            raise ParamsError(f"{where}.{name}: found {value!r}, expected {kind}{hint}")


def _like_default(value: Any, parameter: inspect.Parameter) -> bool:
    default, kinds = parameter.default, {kind.strip() for kind in str(parameter.annotation).split("|")}
    if default is parameter.empty or (value is None and (default is None or "None" in kinds)):
        return True
    if default is None:
        kinds -= {"None"}
        examples = [parameter.replace(default=EXAMPLES[kind]) for kind in kinds if kind in EXAMPLES]
        return len(examples) < len(kinds) or any(_like_default(value, example) for example in examples)
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        whole = isinstance(default, int) and "float" not in str(parameter.annotation)
        return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    return isinstance(value, (list, tuple) if isinstance(default, (list, tuple)) else type(default))


def dataset_options(params: Params, name: str, originals: bool) -> dict[str, Any]:
    """Return the options of a dataset's builder: of its originals, or of its stand-in in the chosen profile."""
    own = params.datasets.get(name, DatasetParams())
    if originals:
        return own.originals
    return merged(own.offline, own.tour) if params.profile == "tour" else own.offline


def find_search(params: Params, run: str) -> tuple[str, Search]:
    """Return the search of a run, and the name of its winner's run. Raises ParamsError with the nearest names."""
    by_run = {search.of.run: (name, search) for name, search in all_searches(params).items()}
    if run not in by_run:
        find_run(params, run)
        known = nearest(run, by_run) if by_run else "none"
        raise ParamsError(f"{PATH}: searches: no search of run {run!r}; the nearest are: {known}")
    return by_run[run]


def search_settings(params: Params, search: Search) -> SearchSettings:
    """Return how a run is searched in the chosen profile."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        for layer in (params.search.get(profile), search.settings.get(profile)):
            if layer is not None:
                values = merged(values, layer.model_dump(exclude_unset=True))
    return checked(SearchSettings, values, f"{PATH}: the search of run {search.of.run} in profile {params.profile}")


def evaluation(params: Params) -> Evaluate:
    """Return how runs are scored in the chosen profile; its `images` are its own: another has other photographs."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        own = params.evaluate.get(profile, Evaluate()).model_dump(exclude_unset=True)
        values = merged(values, own) | {"images": own.get("images", {})}
    return Evaluate.model_validate(values)


def weights_folder(params: Params) -> Path | None:
    """Return the folder that the user names for other people's network weights, or None."""
    return Path(params.paths.weights) if params.paths.weights else None
