"""Train one run: from its recipe and its built dataset to weights, losses and a record."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import folders, runs
from bench.code import of_stage
from bench.contracts import ParamsError, UserError
from bench.data import manifest
from bench.data.manifest import BuiltSet
from bench.files import HAND_OVER_SECONDS, locked, need_writable, replace_folder, sha256
from bench.hashes import read_sealed, write_sealed
from bench.params.recipe_schema import Recipe
from bench.params.schema import Params
from bench.provenance import here
from bench.record import RECORD, MissingLoss, Record, files_of, new_record, write_record
from bench.training.crops import read_crops
from bench.training.device import set_threads, tune_allocator
from bench.training.helpers import build_helpers, random_helpers

if TYPE_CHECKING:
    from bench.training.loop import Training
    from bench.training.state import Setup, TrainingState


def fingerprint(
    recipe: Recipe,
    built: BuiltSet,
    helpers: list[str],
    threads: int,
    processes: int,
    device: str,
    auxiliary_digests: Mapping[str, str] | None = None,
) -> str:
    """Return a hash of all that a training depends on. A checkpoint is resumed only under the same hash.

    Args:
        recipe: the resolved run.
        built: the dataset.
        helpers: names of the frozen networks whose losses take part.
        threads: of torch, in each process.
        processes: that train together.
        device: "cpu" or "cuda".
        auxiliary_digests: of the auxiliary maps in its batches, by name.
    """
    code = of_stage("train", [recipe.method])
    machine = [threads, processes, device, here().packages]
    whole = [recipe.model_dump(mode="json"), built.digest, code, helpers, machine, dict(auxiliary_digests or {})]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """A training whose inputs have been read and checked."""

    setup: Setup
    """What the training starts from."""
    built: BuiltSet
    """The dataset that it trains on."""
    missing_losses: tuple[MissingLoss, ...]
    """Losses that are left out because a file of weights is missing."""
    threads: int
    """Threads of torch in each process."""
    tracking: str
    """Address of the MLflow store; "" for the default."""
    out: Path
    """The run's folder, which is written at the end."""


def train(params: Params, name: str) -> Path:
    """Train a run, or resume it where it was stopped, and return its folder.

    Raises:
        ParamsError, DataError: wrong input, found before the first step where that is possible.
        UserError: a loss diverges; the folder cannot be written; another process trains this run.
    """
    job = _open(params, name)
    with _only_process(job.setup):
        _train(job)
    if job.setup.accelerator.is_main_process:
        shutil.rmtree(job.setup.folder, ignore_errors=True)
    return job.out


def _open(params: Params, name: str) -> Job:
    """Read and check the inputs of a training."""
    recipe, method = runs.resolve(params, name)
    if method.networks is None:
        raise UserError(f"{name}: {recipe.method} needs no training; run: python -m bench evaluate {name}")
    built = manifest.read(folders.data_folder(params, recipe.dataset))
    crops = read_crops(built, recipe, method)
    out = folders.run_folder(params, name)
    need_writable(out.parent)
    tune_allocator()
    threads = set_threads(params.threads)

    from bench.training.phases import phase_steps
    from bench.training.placement import make_accelerator
    from bench.training.state import Setup

    accelerator = make_accelerator(recipe.train.precision)
    processes = accelerator.num_processes
    if recipe.train.batch_size % processes:
        raise ParamsError(
            f"params.yaml: run {name}: train.batch_size: {recipe.train.batch_size} cannot be shared by "
            f"{processes} processes"
        )
    phase_steps(recipe, method, 1)  # raises for a recipe without a length
    helpers, missing = build_helpers(method, recipe, folders.weights_folder(params))
    digests = {key: made.digest for key, made in crops.auxiliary.items()}
    identity = fingerprint(recipe, built, sorted(helpers), threads, processes, accelerator.device.type, digests)
    folder = Path(params.paths.resume, f"{params.profile}-{name}-{identity[:16]}")
    setup = Setup(recipe, method, crops, helpers, accelerator, folder, params.checkpoint_seconds, identity)
    return Job(setup, built, missing, threads, params.tracking, out)


def _only_process(setup: Setup) -> AbstractContextManager[None]:
    """Hold the folder of the checkpoint; of several processes that train together the first one holds it."""
    if not setup.accelerator.is_main_process:
        return nullcontext()
    return locked(setup.folder, f"training {setup.recipe.name}", "paths.resume")


def _train(job: Job) -> None:
    """Train a job in this process; the first process also logs it and writes the run's folder."""
    from bench.training.loop import prepare

    setup = job.setup
    recipe, accelerator = setup.recipe, setup.accelerator
    _print_helpers(job)
    with _explained_memory_errors(recipe):
        training = prepare(setup)  # before there is an MLflow run: a recipe that cannot start leaves none
    steps = f"{setup.total_steps} steps on {accelerator.device.type}"
    accelerator.print(f"{recipe.name}: {steps}, {job.threads} threads, {recipe.train.precision}")
    if accelerator.is_main_process:
        _run_and_write(job, training)
    else:
        with _explained_memory_errors(recipe):
            training.run()


def _run_and_write(job: Job, training: Training) -> None:
    """Run a training, log it to MLflow and write the run's folder."""
    from bench.tracking import checkpoints, store

    record = _record(job)
    client = store.connect(job.tracking)
    run_id = store.start(client, record, _training_id(job.setup))
    try:
        with _explained_memory_errors(job.setup.recipe):
            state = training.run(partial(store.log_points, client, run_id))
    except BaseException:
        store.finish(client, run_id, "FAILED")
        raise
    provenance = replace(
        record.provenance,
        mlflow_run=run_id,
        device=job.setup.accelerator.device.type,
        threads=job.threads,
        processes=job.setup.accelerator.num_processes,
        precision=job.setup.recipe.train.precision,
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    progress = state.progress
    record = replace(record, steps=progress.total, train_seconds=round(progress.seconds, 3), provenance=provenance)
    replace_folder(job.out, partial(_fill, state, record), f"writing {record.run}", HAND_OVER_SECONDS)
    weights = job.out / runs.WEIGHTS
    checkpoints.log_weights(client, run_id, weights, sha256(weights))
    store.finish(client, run_id)
    print(f"{record.run}: {progress.total} steps in {progress.seconds:.0f} s -> {weights}")


def _fill(state: TrainingState, record: Record, folder: Path) -> None:
    """Write weights, losses and record into a run's new folder; the record gets the digests of both."""
    from safetensors.torch import save

    from bench.training.loss_log import write_losses

    weights = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name in state.trained
        for key, value in state.networks[name].state_dict().items()
    }
    (folder / runs.WEIGHTS).write_bytes(save(weights))
    write_losses(folder / runs.LOSSES, state.losses.history)
    files = files_of(folder)
    provenance = replace(record.provenance, weights_sha256=files[runs.WEIGHTS])
    write_record(folder / RECORD, replace(record, files=files, provenance=provenance))


def _record(job: Job) -> Record:
    """Return the record of a training before its first step."""
    setup = job.setup
    record = new_record(setup.recipe, setup.method, job.built, "trained")
    digests = {name: made.digest for name, made in setup.crops.auxiliary.items()}
    return replace(
        record,
        train=setup.recipe.train.model_dump(mode="json"),
        missing_losses=job.missing_losses,
        random_helpers=random_helpers(setup.method, setup.recipe),
        provenance=replace(record.provenance, auxiliary=digests, code=of_stage("train", [setup.recipe.method])),
    )


def _print_helpers(job: Job) -> None:
    """Print which losses are left out for want of a file, and which helpers have random weights."""
    name, print_once = job.setup.recipe.name, job.setup.accelerator.print
    for reason in dict.fromkeys(entry.reason for entry in job.missing_losses):
        losses = ", ".join(entry.loss for entry in job.missing_losses if entry.reason == reason)
        print_once(f"{name}: trained WITHOUT the losses {losses}: {reason}")
    for entry in random_helpers(job.setup.method, job.setup.recipe):
        print_once(
            f"{name}: {entry.helper} has RANDOM weights, as train.random_helpers asks, in the losses "
            f"{', '.join(entry.losses)}"
        )


@contextmanager
def _explained_memory_errors(recipe: Recipe) -> Iterator[None]:
    """Turn an error of a device whose memory does not hold a step into one that says what to change."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{recipe.name}: {str(error).splitlines()[0]} Lower train.batch_size (now {recipe.train.batch_size}) or "
            f"train.crop_size ({recipe.train.crop_size}) in params.yaml, train on more devices, or run fewer trainings "
            "at once (make repro JOBS=1)"
        ) from None


def _training_id(setup: Setup) -> str:
    """Return this training's id, written before its MLflow run is made: a kill at any moment leaves one run."""
    path = setup.folder / "run.json"
    again = f"delete {setup.folder} to train this run from the beginning"
    if not path.is_file():
        write_sealed(path, {"training": uuid.uuid4().hex, "identity": setup.identity})
    values = read_sealed(path, again)
    if values.get("identity") != setup.identity:
        raise UserError(f"{path}: belongs to another training; {again}")
    return values["training"]
