"""Train one run: from its recipe and its built set to weights, losses and a record."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import runs
from bench.code import of_stage
from bench.contracts import Method, ParamsError, UserError
from bench.data import auxiliary, manifest
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.files import locked, need_writable, read_json, replace_folder, sha256, write_json
from bench.params.resolving import weights_folder
from bench.params.schema import Params, Recipe
from bench.provenance import here
from bench.training.device import set_threads, tune_allocator
from bench.training.helpers import helpers, random_helpers


def fingerprint(
    recipe: Recipe,
    built: BuiltSet,
    helpers: list[str],
    threads: int,
    processes: int,
    device: str,
    auxiliary_digests: Mapping[str, str] | None = None,
) -> str:
    """Return what a training is a function of, as a hash: a checkpoint of another one is never gone on from.

    Args:
        helpers: the frozen networks whose losses take part.
        auxiliary_digests: the digests of the auxiliary maps in its batches, by name.
    """
    code = of_stage("train", [recipe.method])
    machine = [threads, processes, device, here()["packages"]]
    whole = [recipe.model_dump(mode="json"), built.digest, code, helpers, machine, dict(auxiliary_digests or {})]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def train(params: Params, name: str) -> Path:
    """Train a run, or go on with it where it was stopped, and return its folder.

    Raises:
        ParamsError, DataError: found before the first step where they can be.
        UserError: a loss that is not finite; the folder cannot be written; another process trains this run.
    """
    recipe, method = runs.resolve(params, name)
    if method.networks is None:
        raise UserError(f"{name}: {recipe.method} needs no training; run: python -m bench evaluate {name}")
    built = manifest.read(runs.data_folder(params, recipe.dataset))
    chosen = recipe.train
    made = {key: auxiliary.read(built, key, one_map) for key, one_map in method.auxiliary.items()}
    crops = Crops(built, recipe.task, chosen.crop_size, chosen.augment, recipe.seed, chosen.input or "", made)
    out = runs.folder(params, name)
    need_writable(out.parent)
    tune_allocator()
    import torch
    from accelerate import Accelerator

    from bench.training.placement import PRECISION
    from bench.training.rates import phase_steps

    threads = set_threads(params.threads)
    # Unless told that there is only the CPU, accelerate takes each process that torchrun starts there for the only one.
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(), mixed_precision=PRECISION[recipe.train.precision]
    )
    if recipe.train.batch_size % accelerator.num_processes:
        raise ParamsError(
            f"params.yaml: run {name}: train.batch_size: {recipe.train.batch_size} cannot be shared by "
            f"{accelerator.num_processes} processes"
        )
    phase_steps(recipe, method, 1)
    found = helpers(method, recipe, weights_folder(params))
    digests = {key: one_map.digest for key, one_map in made.items()}
    identity = fingerprint(
        recipe, built, sorted(found[0]), threads, accelerator.num_processes, accelerator.device.type, digests
    )
    resume = Path(params.paths.resume, f"{params.profile}-{name}-{identity[:16]}")
    with _alone(resume, name, accelerator):
        _train(params, recipe, method, built, crops, found, accelerator, threads, resume, out)
    if accelerator.is_main_process:
        shutil.rmtree(resume, ignore_errors=True)
    return out


def _alone(resume: Path, name: str, accelerator: Any) -> Any:
    """Hold the resume folder, in the first process of a run only."""
    from contextlib import nullcontext

    return locked(resume, f"training {name}") if accelerator.is_main_process else nullcontext()


def about(recipe: Recipe, method: Method, built: BuiltSet, kind: str) -> dict[str, Any]:
    """Return the part of a record that is known before the work starts."""
    return {
        "run": recipe.name,
        "method": recipe.method,
        "as": recipe.row,
        "also_as": list(recipe.also),
        "title": recipe.title,
        "kind": kind,
        "task": recipe.task,
        "dataset": recipe.dataset,
        "dataset_title": built.about["title"],
        "origin": built.about["origin"],
        "partial": built.about["partial"],
        "profile": recipe.profile,
        "seed": recipe.seed,
        "network": recipe.network,
        "reduced": reduced(method, recipe),
        "train": {},
        "steps": 0,
        "train_seconds": 0.0,
        "missing_losses": [],
        "random_helpers": [],
        "limits": list(method.limits),
        "provenance": here() | {"manifest_sha256": built.digest, "mlflow_run": ""},
    }


def reduced(method: Method, recipe: Recipe) -> list[str]:
    """List the network arguments that this profile shrinks, with the paper's value."""
    import inspect

    if method.networks is None:
        return []
    defaults = {p.name: p.default for p in inspect.signature(method.networks).parameters.values()}
    full = defaults | recipe.paper_network
    return [f"{key}: {full[key]} -> {value}" for key, value in recipe.network.items() if full.get(key) != value]


def _train(
    params: Params,
    recipe: Recipe,
    method: Method,
    built: BuiltSet,
    crops: Crops,
    helped: tuple[dict[str, Any], list[dict[str, str]]],
    accelerator: Any,
    threads: int,
    resume: Path,
    out: Path,
) -> None:
    from safetensors.torch import save

    from bench.tracking import store, uploads
    from bench.training.loop import Training

    frozen, missing = helped
    say = accelerator.print
    for reason in dict.fromkeys(entry["reason"] for entry in missing):
        lost = ", ".join(entry["loss"] for entry in missing if entry["reason"] == reason)
        say(f"{recipe.name}: trained WITHOUT the losses {lost}: {reason}")
    drawn = random_helpers(method, recipe)
    for entry in drawn:
        say(
            f"{recipe.name}: {entry['helper']} has RANDOM weights, as train.random_helpers asks, in the losses "
            f"{', '.join(entry['losses'])}"
        )
    record = about(recipe, method, built, "trained")
    record["train"] = recipe.train.model_dump(mode="json")
    record["missing_losses"], record["random_helpers"] = missing, drawn
    if crops.auxiliary:
        record["provenance"]["auxiliary"] = {name: made.digest for name, made in crops.auxiliary.items()}
    run_id, client = "", None

    def log(points: list[store.Point]) -> None:
        if client is not None:
            store.log_points(client, run_id, points)

    training = Training(
        recipe, method, crops, frozen, accelerator, resume, log, checkpoint_seconds=params.checkpoint_seconds
    )
    # Before there is a run in the store: a recipe that cannot start leaves none.
    with _enough_memory(recipe):
        training.prepare()
    if accelerator.is_main_process:
        client = store.connect(params.tracking)
        run_id = store.start(client, record, _training_id(resume / "run.json"))
    steps = f"{training.total_steps} steps on {accelerator.device.type}"
    say(f"{recipe.name}: {steps}, {threads} threads, {recipe.train.precision}")
    try:
        with _enough_memory(recipe):
            progress = training.run()
    except (UserError, KeyboardInterrupt):
        if client is not None:
            store.finish(client, run_id, "FAILED")
        raise
    if client is None:
        return
    record["steps"], record["train_seconds"] = progress.total, round(progress.seconds, 3)
    record["provenance"] |= {
        "mlflow_run": run_id,
        "device": accelerator.device.type,
        "threads": threads,
        "processes": accelerator.num_processes,
        "precision": recipe.train.precision,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    state = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name in training.own
        for key, value in training.networks[name].state_dict().items()
    }

    def fill(folder: Path) -> None:
        (folder / runs.WEIGHTS).write_bytes(save(state))
        record["provenance"]["weights_sha256"] = sha256(folder / runs.WEIGHTS)
        write_losses(folder / runs.LOSSES, progress.history)
        write_json(folder / runs.RECORD, record)

    replace_folder(out, fill)
    uploads.log_weights(client, run_id, out / runs.WEIGHTS, record["provenance"]["weights_sha256"])
    store.finish(client, run_id)
    say(f"{recipe.name}: {progress.total} steps in {progress.seconds:.0f} s -> {out / runs.WEIGHTS}")


@contextmanager
def _enough_memory(recipe: Recipe) -> Iterator[None]:
    """Say what to change when the device's memory does not hold a step."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{recipe.name}: {str(error).splitlines()[0]} Lower train.batch_size (now {recipe.train.batch_size}) or "
            f"train.crop_size ({recipe.train.crop_size}) in params.yaml, train on more devices, or run fewer trainings "
            "at once (make repro JOBS=1)"
        ) from None


def _training_id(note: Path) -> str:
    """Return this training's own id, noted before its MLflow run is made: a kill at any moment leaves one run."""
    if not note.is_file():
        write_json(note, {"training": uuid.uuid4().hex})
    return read_json(note)["training"]


def write_losses(path: Path, history: list[tuple[int, str, str, str, float, float]]) -> None:
    """Write the kept losses of a training as tidy rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ("step", "phase", "player", "name", "value", "seconds")
    rows = zip(*history, strict=True) if history else [[] for _ in columns]
    pq.write_table(pa.table(dict(zip(columns, map(list, rows), strict=True))), path)
