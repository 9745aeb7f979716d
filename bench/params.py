"""Read `params.yaml`, check every value, and work out what a run is in the chosen profile.

A profile extends another: `tour` extends `sample`, which extends `paper`. What a run uses is merged in this order,
later wins: for each profile of that chain the defaults, then the method's own; last the run's own values.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bench.contracts import ParamsError
from bench.registry import names, nearest

Profile = Literal["paper", "sample", "tour"]
PROFILES: dict[str, tuple[Profile, ...]] = {
    "paper": ("paper",),
    "sample": ("paper", "sample"),
    "tour": ("paper", "sample", "tour"),
}
PATH = Path("params.yaml")

T = TypeVar("T", bound=BaseModel)

# Strict: a text or a truth value where a number belongs is a mistake, not a number.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1, strict=True)]
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
"""What a person means as a number and PyYAML reads as text."""
Rows = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One row of the published tables, or several: the same method may stand in them under several names."""


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


class Train(_Model):
    """A recipe. The length is `steps` if given, else `epochs`; with several phases `phases` gives each its steps.

    `random_helpers` draws the frozen networks of losses (VGG) from the run's seed instead of reading their files.
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


class MethodProfile(_Model):
    """A method's network arguments and recipe in one profile."""

    network: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Run(_Model):
    """One training: a method with its arguments on a dataset. `as` is its row, or its rows, in the published tables."""

    method: str
    dataset: str
    task: Literal["deblur", "inpaint", "sharp-inpaint", "dual-pixel"] | None = None
    rows: Rows = Field((), alias="as")
    title: str | None = None
    seed: Count | None = None
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Transfer(_Model):
    """A trained run scored on another dataset than its own."""

    run: str
    dataset: str
    rows: Rows = Field((), alias="as")


class Chain(_Model):
    """Two trained runs in a row: the first deblurs, the second fills the hole."""

    first: str
    second: str
    dataset: str
    rows: Rows = Field((), alias="as")


class DatasetParams(_Model):
    """Options of a dataset's two builders; `tour` replaces options of the stand-in in the profile of that name."""

    originals: dict[str, Any] = {}
    offline: dict[str, Any] = {}
    tour: dict[str, Any] = {}


class LayerStage(_Model):
    """A layer that the pipeline makes for a dataset's training images: its name with the methods, and their file."""

    dataset: str
    layer: str
    module: str


class Evaluate(_Model):
    """How runs are scored."""

    metrics: list[str] = ["psnr-rgb8", "ssim-gauss11"]
    cost_size: tuple[Positive, Positive] = (256, 256)
    macs_sizes: list[tuple[Positive, Positive]] = []
    timing_repeats: Positive = 3
    keep_images: Positive = 2


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: empty, or not a mapping of keys to values")
    chosen = profile or os.environ.get("SHARPBENCH_PROFILE") or values.get("profile", "sample")
    if not isinstance(chosen, str) or chosen not in PROFILES:
        raise ParamsError(f"{path}: profile: found {chosen!r}, the nearest are: {nearest(str(chosen), PROFILES)}")
    params = checked(Params, values | {"profile": chosen}, str(path))
    # A block under a misspelt name would be passed over in silence.
    methods = [key.replace("_", "-") for key in params.methods]
    for package, keys in (("methods", methods), ("datasets", params.datasets)):
        known = names(package)
        for key in keys:
            if key not in known:
                raise ParamsError(f"{path}: {package}.{key}: no such entry; the nearest are: {nearest(key, known)}")
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
    ]
    used = [name for group in [*groups, all_chains(params)] for name in group]
    for name in used:
        if used.count(name) > 1:
            raise ParamsError(f"{path}: two runs have the name {name!r}; each needs its own, it names their folder")
    return params


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
    return {name: run for group in groups for name, run in group.items()}


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
        ParamsError: an unknown run, a misspelt or out-of-range parameter.
    """
    run = find_run(params, name)
    own = params.methods.get(run.method.replace("-", "_")) or params.methods.get(run.method) or {}
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}
    paper: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        for layer in (params.defaults.get(profile), own.get(profile)):
            if layer is not None:
                network, train = merged(network, layer.network), merged(train, layer.train)
        paper = dict(network) if profile == "paper" else paper
    paper, network, train = merged(paper, run.network), merged(network, run.network), merged(train, run.train)
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
        train=checked(Train, train, f"{PATH}: the recipe of run {name} in profile {params.profile}"),
    )


def check_arguments(network: Any, arguments: Mapping[str, Any], where: str) -> None:
    """Raise ParamsError unless the callable `network` takes every argument, each of the kind of its default."""
    parameters = inspect.signature(network).parameters.values()
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    open_ended = len(known) < len(parameters)
    for name, value in arguments.items():
        if name not in known and not open_ended:
            raise ParamsError(f"{where}.{name}: unknown argument; the nearest are: {nearest(name, known)}")
        if name in known and not _like_default(value, known[name]):
            default = known[name].default
            raise ParamsError(
                f"{where}.{name}: found {value!r}, expected {type(default).__name__} like {default!r}{_hint(value)}"
            )


def _like_default(value: Any, parameter: inspect.Parameter) -> bool:
    default = parameter.default
    if default is parameter.empty or default is None or (value is None and "None" in str(parameter.annotation)):
        return True
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


def evaluation(params: Params) -> Evaluate:
    """Return how runs are scored in the chosen profile."""
    values: dict[str, Any] = {}
    for profile in PROFILES[params.profile]:
        if profile in params.evaluate:
            values = merged(values, params.evaluate[profile].model_dump(exclude_unset=True))
    return Evaluate.model_validate(values)


def weights_folder(params: Params) -> Path | None:
    """Return the folder that the user names for other people's network weights, or None."""
    return Path(params.paths.weights) if params.paths.weights else None
