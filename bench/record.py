"""What is known about a run: one record per training and per evaluation, in the file `record.json` of its folder.

Every writer makes a `Record` and every reader gets one: `write_record` and `read_record` are the only functions that
know the file. Records of another version are refused, never guessed at. A record carries the digest of its own fields
and those of the files next to it: a record that was edited is refused, and `read_file` refuses a changed file.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, TypeAdapter, ValidationError

from bench.contracts import DataError, Method
from bench.contracts.errors import brief
from bench.files import sha256, write_text
from bench.hashes import check_seal, read_verified, seal_of
from bench.names import fault_of
from bench.provenance import Provenance, here
from bench.tasks import find_task

if TYPE_CHECKING:
    from bench.data.manifest import BuiltSet
    from bench.params.recipe_schema import Recipe

RECORD = "record.json"
VERSION = 2
"""Increase it when a field is added, removed or changes its meaning."""
DIGEST = "digest"
"""The field with the digest of all others."""
JSON_KEYS = {"row": "as", "also": "also_as"}
"""Fields that have another key in the file: `as` is a keyword of Python."""
AGAIN = "train or evaluate the run again"
"""What to do about a record or a file of it that has changed."""

Kind = Literal["trained", "no training", "chain", "authors' weights", "predictions", "search", "trial"]
"""What made the images of a run. "search" and "trial" are only logged to MLflow and never scored."""
EVALUATED: tuple[Kind, ...] = ("trained", "no training", "chain", "authors' weights", "predictions")
"""The kinds that an evaluation has."""


@dataclass(frozen=True)
class MissingLoss:
    """A loss that the run was trained without.

    Args:
        loss: its name.
        reason: why: the weights of its network are not on this machine.
    """

    loss: str
    reason: str


@dataclass(frozen=True)
class RandomHelper:
    """A frozen network that had random weights in the training.

    Args:
        helper: its name in the method.
        losses: the losses that look through it.
    """

    helper: str
    losses: tuple[str, ...]


@dataclass(frozen=True)
class TrainingSet:
    """The set that a network was trained on, where it is scored on another one.

    Args:
        run: the trained run.
        dataset: its dataset.
        dataset_title: the name that tables print.
        origin: "originals", or the name of the stand-in.
        partial: whether it has fewer images than the official set.
        manifest_sha256: the set's manifest.
    """

    run: str
    dataset: str
    dataset_title: str
    origin: str
    partial: bool
    manifest_sha256: str


@dataclass(frozen=True)
class Source:
    """A run that another one is made from: a member of a chain, or the run whose networks were imported.

    Args:
        run: its name.
        weights_sha256: its checkpoint.
        mlflow_run: id of its MLflow run.
    """

    run: str
    weights_sha256: str
    mlflow_run: str


@dataclass(frozen=True)
class KeptImage:
    """A test image that the report shows. Files are relative to the evaluation's folder.

    Args:
        rule: why it was chosen: "median", "worst", "further 1", ..., "by hand".
        image: its name in the manifest.
        condition: the columns that tell its scores from others: input, scene, mask_kind, ...
        input: the file of what the method got.
        restored: the file of what it made of it.
        target: the file of the truth.
    """

    rule: str
    image: str
    condition: Mapping[str, str | float | None]
    input: str
    restored: str
    target: str


@dataclass(frozen=True)
class Inside:
    """Something inside a network while it restored the median image: an image or a list of weights.

    Args:
        name: the name that a figure prints.
        file: of an image, relative to the evaluation's folder; else "".
        values: of weights; else empty.
    """

    name: str
    file: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """A training or an evaluation. Fields of an evaluation alone are empty in the record of a training.

    Args:
        run: name of the run, of the chain, or of the predictions.
        method: the method's name; of a chain both, "deblurgan+rn".
        row: its row in the published tables.
        also: further rows there.
        title: the name that tables print.
        kind: what made its images.
        task: name of its task.
        dataset: the dataset it was trained on; of an evaluation the one it was scored on.
        dataset_title: the name that tables print for it.
        origin: "originals", or the name of the stand-in.
        partial: whether a set it was trained or scored on has fewer images than the official one.
        profile: the profile of its settings: "paper", "sample" or "tour".
        seed: seed of the weights and of all training draws.
        provenance: what made it; in an evaluation the scores, see `trained_by`.
        network: arguments of its networks; of a chain both by "first" and "second".
        reduced: arguments that this profile shrinks, with the paper's value: "channels: 64 -> 16".
        train: its training settings; of a chain the runs by "first" and "second"; empty without training.
        steps: training steps.
        train_seconds: wall time of the training in seconds.
        missing_losses: losses that it was trained without.
        random_helpers: frozen networks with random weights in its losses.
        limits: what the method cannot do, see `Method.limits`.
        part_of: the run whose networks were imported as this run.
        sources: SHA-256 of the imported files by name.
        evaluation: name of the evaluation; "" in the record of a training.
        trained_by: provenance of the training behind an evaluation.
        trained_on: sets that its networks were trained on, where these are not the one it was scored on.
        parts: the two runs of a chain.
        not_measured: by metric why it, or how many images of it, were not measured.
        images: test images that the report shows.
        watched: losses that are logged for their curves alone.
        insides: what happened inside its network.
        files: SHA-256 of every other file of its folder, by its path in the folder.
        digest: SHA-256 of all other fields, and so of all files; `write_record` computes it.
        version: of this layout.
    """

    run: str
    method: str
    row: str
    also: tuple[str, ...]
    title: str
    kind: Kind
    task: Annotated[str, AfterValidator(lambda name: find_task(name).name)]
    dataset: str
    dataset_title: str
    origin: str
    partial: bool
    profile: str
    seed: int
    provenance: Provenance
    network: Mapping[str, Any] = field(default_factory=dict)
    reduced: tuple[str, ...] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    train_seconds: float = 0.0
    missing_losses: tuple[MissingLoss, ...] = ()
    random_helpers: tuple[RandomHelper, ...] = ()
    limits: tuple[str, ...] = ()
    part_of: Source | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    evaluation: str = ""
    trained_by: Provenance | None = None
    trained_on: tuple[TrainingSet, ...] = ()
    parts: tuple[Source, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)
    images: tuple[KeptImage, ...] = ()
    watched: tuple[str, ...] = ()
    insides: tuple[Inside, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    version: int = VERSION

    @property
    def rows(self) -> tuple[str, ...]:
        """All its rows in the published tables."""
        return (self.row, *self.also)


def to_json(record: Record) -> str:
    """Return a record as the text of its file, with its digest."""
    values = {JSON_KEYS.get(name, name): value for name, value in asdict(record).items()}
    return json.dumps(values | {DIGEST: seal_of(values, DIGEST)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, place: Path) -> Record:
    """Return the record of a file's text.

    Args:
        text: JSON.
        place: the file, for messages.

    Raises:
        DataError: not JSON, another version, a key that is missing, unknown or of the wrong type, or a value that has
            changed since it was written.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: cannot be read as JSON ({error}); {AGAIN}") from error
    if not isinstance(values, dict):
        raise DataError(f"{place}: found {type(values).__name__}, expected the keys of a record; {AGAIN}")
    if (version := values.get("version", "none")) != VERSION:
        raise DataError(f"{place}: found version {brief(version)} of the record, expected {VERSION}; {AGAIN}")
    keys = {JSON_KEYS.get(part.name, part.name): part.name for part in fields(Record)}
    expected = [*keys, *(f"provenance.{part.name}" for part in fields(Provenance))]
    made = values.get("provenance")
    present = [*values, *(f"provenance.{key}" for key in (made if isinstance(made, dict) else ()))]
    if missing := [key for key in expected if key not in present]:
        raise DataError(f"{place}: lacks {', '.join(missing)}; {AGAIN}")
    if unknown := [key for key in present if key not in expected]:
        raise DataError(f"{place}: unknown {brief(', '.join(unknown))[1:-1]}; {AGAIN}")
    try:
        record = _adapter().validate_json(json.dumps({keys[key]: value for key, value in values.items()}), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(JSON_KEYS.get(str(part), str(part)) for part in first["loc"])
        raise DataError(f"{place}: {where}: found {brief(first['input'])}: {first['msg']}; {AGAIN}") from error
    check_seal(place, values, AGAIN, DIGEST)
    _check_names(record, place)
    return record


def _check_names(record: Record, place: Path) -> None:
    """Raise DataError for a name that breaks the rule of names, or a file outside of the record's folder."""
    for name in ("run", "method", "dataset", "evaluation"):
        value = getattr(record, name)
        if (value or name != "evaluation") and (fault := fault_of(value)):
            raise DataError(f"{place}: {name}: found {brief(value)}, {fault}; {AGAIN}")
    files = [file for image in record.images for file in (image.input, image.restored, image.target)]
    for file in (*files, *(inside.file for inside in record.insides), *record.files):
        if file.startswith("/") or ".." in file.split("/"):
            raise DataError(f"{place}: found the file {brief(file)}, outside of the folder; {AGAIN}")


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def write_record(place: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_text(place, to_json(record))


def read_record(place: Path) -> Record:
    """Read a record.

    Raises:
        DataError: the file is missing or cannot be read, or see `from_json`.
    """
    try:
        return from_json(place.read_text(encoding="utf-8"), place)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: cannot be read ({error}); {AGAIN}") from error


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder but its record, by the path in the folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: sha256(paths[name]) for name in sorted(paths) if name != RECORD}


def read_file(folder: Path, record: Record, name: str) -> bytes:
    """Read a file of the folder of a run or an evaluation.

    Args:
        folder: with the record and the file.
        record: of the folder.
        name: of the file, a path in the folder.

    Raises:
        DataError: the file is missing or cannot be read, or is not the one that the record lists.
    """
    return read_verified(folder / name, record.files.get(name, ""), AGAIN)


def new_record(recipe: Recipe, method: Method, built: BuiltSet, kind: Kind) -> Record:
    """Return what is known about a run before the work starts."""
    return Record(
        run=recipe.name,
        method=recipe.method,
        row=recipe.row,
        also=recipe.also,
        title=recipe.title,
        kind=kind,
        task=recipe.task,
        dataset=recipe.dataset,
        dataset_title=built.about["title"],
        origin=built.about["origin"],
        partial=built.about["partial"],
        profile=recipe.profile,
        seed=recipe.seed,
        network=recipe.network,
        reduced=reduced(method, recipe),
        limits=method.limits,
        provenance=replace(here(), manifest_sha256=built.digest),
    )


def reduced(method: Method, recipe: Recipe) -> tuple[str, ...]:
    """List the network arguments that this profile shrinks, with the paper's value."""
    if method.networks is None:
        return ()
    defaults = {name: part.default for name, part in inspect.signature(method.networks).parameters.items()}
    paper = defaults | recipe.paper_network
    return tuple(f"{key}: {paper[key]} -> {value}" for key, value in recipe.network.items() if paper.get(key) != value)
