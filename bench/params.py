"""Read `params.yaml`, check every value, and work out what a run is in the chosen profile.

A profile extends another: `tour` extends `sample`, which extends `paper`. What a run uses is merged in this order,
later wins: for each profile of that chain the defaults, then the method's own; last the run's own values.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.contracts import ParamsError
from bench.registry import nearest

PROFILES = {"paper": ("paper",), "sample": ("paper", "sample"), "tour": ("paper", "sample", "tour")}
PATH = Path("params.yaml")

T = TypeVar("T", bound=BaseModel)

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


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
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    start: Fraction = 0.5
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class PlayerTrain(_Model):
    """What one player's optimiser does otherwise than the rest."""

    lr: Annotated[float, Field(gt=0, le=1)] | None = None
    betas: tuple[Fraction, Fraction] | None = None
    updates: Positive | None = None


class Train(_Model):
    """A recipe. The length is `steps` if given, else `epochs`; with several phases `phases` gives each its steps."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    schedule: Schedule = Schedule()
    epochs: Positive | None = None
    steps: Positive | None = None
    phases: dict[str, Annotated[int, Field(ge=0)]] = {}
    batch_size: Positive = 8
    crop_size: Positive = 256
    augment: list[str | dict[str, dict[str, Any]]] = []
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    players: dict[str, PlayerTrain] = {}
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    input: Literal["blurred", "sharp"] | None = None


class MethodProfile(_Model):
    """A method's network arguments and recipe in one profile."""

    network: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Run(_Model):
    """One training: a method with its arguments on a dataset. `as` is its row in the published tables."""

    method: str
    dataset: str
    task: Literal["deblur", "inpaint", "sharp-inpaint", "dual-pixel"] | None = None
    row: str | None = Field(None, alias="as")
    title: str | None = None
    seed: int | None = None
    network: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Transfer(_Model):
    """A trained run scored on another dataset than its own."""

    run: str
    dataset: str
    row: str | None = Field(None, alias="as")


class Chain(_Model):
    """Two trained runs in a row: the first deblurs, the second fills the hole."""

    first: str
    second: str
    dataset: str
    row: str | None = Field(None, alias="as")


class DatasetParams(_Model):
    """Options of a dataset's two builders; `tour` replaces options of the stand-in in the profile of that name."""

    originals: dict[str, Any] = {}
    offline: dict[str, Any] = {}
    tour: dict[str, Any] = {}


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


class Params(_Model):
    """The whole file."""

    profile: Literal["paper", "sample", "tour"]
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = 0
    paths: Paths = Paths()
    tracking: str = ""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    evaluate: dict[str, Evaluate] = {}
    defaults: dict[str, MethodProfile] = {}
    methods: dict[str, dict[Literal["paper", "sample", "tour"], MethodProfile] | None] = {}
    datasets: dict[str, DatasetParams] = {}
    runs: dict[str, dict[str, Run]] = {}
    baselines: dict[str, Run] = {}
    transfers: dict[str, Transfer] = {}
    chains: dict[str, Chain] = {}
    tour: dict[str, dict[str, Any]] = {}


class Recipe(_Model):
    """All that one run is, resolved: this is what is hashed, logged and printed."""

    name: str
    method: str
    dataset: str
    task: str
    row: str
    title: str
    profile: str
    seed: int
    network: dict[str, Any]
    paper_network: dict[str, Any]
    train: Train


def load(path: Path = PATH, profile: str | None = None) -> Params:
    """Read and check the file; the profile is the argument's, SHARPBENCH_PROFILE's or the file's, in this order.

    Raises:
        ParamsError: the file is missing or not YAML, or a key is unknown, of the wrong type or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file; run the command in the project's folder or name it by --params"
        ) from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: empty, or not a mapping of keys to values")
    chosen = profile or os.environ.get("SHARPBENCH_PROFILE") or values.get("profile", "sample")
    if chosen not in PROFILES:
        raise ParamsError(f"{path}: profile: found {chosen!r}, the nearest are: {nearest(str(chosen), PROFILES)}")
    return checked(Params, values | {"profile": chosen}, str(path))


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
    found = error["input"]
    hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(found, str) and "e" in found.lower() else ""
    return f"{where}: {key}: found {found!r}; {error['msg'][0].lower()}{error['msg'][1:]}{hint}"


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed beside the unknown one, by walking the models along its location."""
    models = [model]
    for _ in location[:-1]:
        inner = [m for outer in models for f in outer.model_fields.values() for m in _models(f.annotation)]
        models = inner or models
    known = [f.alias or name for m in [model, *models] for name, f in m.model_fields.items()]
    return sorted(set(known))


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
    tour = {name: checked(Run, run, f"{PATH}: tour.runs.{name}") for name, run in params.tour.get("runs", {}).items()}
    groups = [*params.runs.values(), params.baselines, tour]
    return {name: run for group in groups for name, run in group.items()}


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
        row=run.row or run.method.replace("_", "-"),
        title=run.title or run.method.replace("_", "-"),
        profile=params.profile,
        seed=params.seed if run.seed is None else run.seed,
        network=network,
        paper_network=paper,
        train=checked(Train, train, f"{PATH}: the recipe of run {name} in profile {params.profile}"),
    )


def check_arguments(network: Any, arguments: Mapping[str, Any], where: str) -> None:
    """Raise ParamsError unless every argument is one that the constructor takes."""
    known = [p.name for p in inspect.signature(network).parameters.values() if p.kind is not p.VAR_KEYWORD]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(network).parameters.values())
    for name in arguments:
        if name not in known and not open_ended:
            raise ParamsError(f"{where}: network.{name}: unknown argument; the nearest are: {nearest(name, known)}")


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
