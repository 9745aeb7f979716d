"""MLflow's store: open it, start a run in it, log to the run, end it.

The store is an SQLite file next to `params.yaml`, or the server that `tracking` in `params.yaml` or MLFLOW_TRACKING_URI
names. What is logged is also in the run's own files, so that a lost store is filled again (`bench.tracking.uploads`).
A training needs this module and `checkpoints`; what MLflow's pages show is written by `views`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.contracts import UserError
from bench.files import take_lock
from bench.record import Record
from bench.tracking.database import complete

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
SPECIAL = "%?#"
"""Characters that begin something else in a URI, or stand for another character."""
BATCH = 1000
"""The most metrics that MLflow takes in one call."""
RUN_TAG = "sharpbench.run"
"""Tag: the run's name in `params.yaml`."""
KEY_TAG = "sharpbench.key"
"""Tag: the training or evaluation that an MLflow run belongs to; no two runs have the same one."""
KIND_TAG = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment: without it MLflow's pages open with the tools for language models."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # a new store prints one line per migration
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 takes minutes to report that no server answers
}
"""Variables of the environment for MLflow, unless they are set."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names of this machine, which no proxy can reach."""

Point = tuple[str, float, int, int]
"""A metric's name, its value, the step, and the time in milliseconds."""


def address(configured: str = "") -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, else the configured one, else that of the SQLite file.

    In a folder whose path has a character that means something else in a URI the file's place is given relative to the
    folder, in which all commands run: whether SQLAlchemy decodes such characters depends on its version.
    """
    path = Path(DATABASE).absolute()
    local = Path(DATABASE) if set(str(path)) & set(SPECIAL) else path
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{local}"


@contextmanager
def explained_errors(uri: str) -> Iterator[None]:
    """Turn an error of MLflow, or of the database, the disk or the network below it, into a UserError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # those of `requests` are OSErrors
        message = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"MLflow at {uri}: {message}; nothing of the run is lost: repair this, then the same command continues"
        ) from error


def connect(configured: str = "") -> MlflowClient:
    """Open the store. A lock lets one process at a time create the SQLite file: several at once would crash.

    Raises:
        UserError: the server does not answer; the file is not a store, is of an older MLflow or cannot be written.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):  # they print a line per step of a new store
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = address(configured)
    if not uri.startswith("sqlite:///"):
        _bypass_proxy(uri)
        return _opened(uri)
    database = Path(uri.removeprefix("sqlite:///"))
    if not database.parent.is_dir():
        raise UserError(f"{database.parent}: no such folder, expected that of MLflow's store at {uri}")
    lock = take_lock(database.with_name(f"{database.name}.lock"), "tracking", wait=None)
    assert lock is not None, "it was waited for"
    with lock:
        with explained_errors(uri):
            complete(database, f"./{ARTIFACTS}")
        return _opened(uri)


def _bypass_proxy(uri: str) -> None:
    """Let no proxy of the environment be asked for a server on this machine."""
    host = urlsplit(uri).hostname
    if host in LOOPBACK:
        others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ["no_proxy"] = f"{others},{host}" if others else host


def _opened(uri: str) -> MlflowClient:
    import mlflow

    with explained_errors(uri):
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def experiment(client: MlflowClient, task: str) -> str:
    """Return the id of the task's experiment, which is created if it does not exist."""
    from mlflow.exceptions import MlflowException

    existing = client.get_experiment_by_name(task)
    if existing is not None:
        return str(existing.experiment_id)
    place = Path(ARTIFACTS, task).absolute().as_uri() if client.tracking_uri.startswith("sqlite:") else None
    try:
        return str(client.create_experiment(task, artifact_location=place, tags=KIND_TAG))
    except MlflowException:
        existing = client.get_experiment_by_name(task)  # another process may have been faster
        if existing is None:
            raise
        return str(existing.experiment_id)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested parameters into MLflow's.

    >>> flat({"train": {"lr": 1e-4, "weights": {}}})
    {'train.lr': '0.0001'}
    """
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = str(value)
    return result


def start(client: MlflowClient, record: Record, key: str) -> str:
    """Return the id of the MLflow run of a record, named for reading and tagged for filters.

    Args:
        client: of `connect`.
        record: what is run.
        key: the training or evaluation; a run that has it is continued, else one is created.
    """
    from mlflow.entities import Param

    parameters = flat({"seed": record.seed, "network": record.network, "train": record.train})
    with explained_errors(client.tracking_uri):
        place = experiment(client, record.task)
        runs = client.search_runs([place], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        run = runs[0] if runs else client.create_run(place, tags=_tags(record) | {KEY_TAG: key})
        if run.info.status == "FAILED":
            client.update_run(run.info.run_id, "RUNNING")
        client.log_batch(run.info.run_id, params=[Param(name, value[:6000]) for name, value in parameters.items()])
        _log_dataset(client, run.info.run_id, record)
    return str(run.info.run_id)


def _tags(record: Record) -> dict[str, str]:
    """Return the tags of a record's run."""
    made = record.provenance
    return {
        RUN_TAG: record.run,
        "mlflow.runName": f"{record.evaluation or record.run} · {record.profile}",
        "method": record.method,
        "row": record.row,
        "dataset": record.dataset,
        "task": record.task,
        "profile": record.profile,
        "origin": record.origin,
        "kind": record.kind,
        "partial": str(record.partial).lower(),
        **({"mlflow.source.git.commit": made.git_commit} if made.git_commit else {}),
        "git_dirty": "no commit" if made.git_dirty is None else str(made.git_dirty).lower(),
        "manifest_sha256": made.manifest_sha256,
        "mlflow.note.content": description(record),
    }


def description(record: Record) -> str:
    """Describe a run in a few lines, with what makes it differ from the paper's."""
    lines = [f"**{record.title}** ({record.kind}) on {record.dataset_title}, {record.origin}."]
    if record.partial:
        lines.append("Fewer images than the official set.")
    if record.reduced:
        lines.append(f"Smaller than the paper's network: {', '.join(record.reduced)}.")
    if record.missing_losses:
        losses = ", ".join(entry.loss for entry in record.missing_losses)
        lines.append(f"Trained without the losses {losses}: weights that they need are missing.")
    if record.random_helpers:
        helpers = ", ".join(entry.helper for entry in record.random_helpers)
        lines.append(f"Networks with random weights in its losses: {helpers}.")
    return "\n\n".join(lines)


def _log_dataset(client: MlflowClient, run_id: str, record: Record) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(
        name=f"{record.dataset} ({record.origin})",
        digest=record.provenance.manifest_sha256[:36],
        source_type="sharpbench",
        source=f"{record.dataset}/manifest.parquet",
    )
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training and test")])])


def log_points(client: MlflowClient, run_id: str, points: Iterable[Point]) -> None:
    """Log metrics in as few calls as MLflow allows. Points that are logged twice are stored once."""
    from mlflow.entities import Metric

    metrics = [Metric(name, value, when, step) for name, value, step, when in points]
    with explained_errors(client.tracking_uri):
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + BATCH])


def finish(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    """End a run: FINISHED, or FAILED."""
    with explained_errors(client.tracking_uri):
        client.set_terminated(run_id, status)


def exists(client: MlflowClient, run_id: str) -> bool:
    """Return whether the store has this run and nobody deleted it."""
    from mlflow.exceptions import MlflowException

    with explained_errors(client.tracking_uri):
        try:
            return client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def experiment_of(client: MlflowClient, run_id: str) -> str | None:
    """Return the id of a run's experiment; None where the store does not have the run."""
    return str(client.get_run(run_id).info.experiment_id) if exists(client, run_id) else None
