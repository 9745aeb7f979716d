"""MLflow: where runs are logged, and how a number finds its run again.

The store is an SQLite file beside `params.yaml`, or the server that `tracking` in `params.yaml` or MLFLOW_TRACKING_URI
names. What is logged is also in the run's own files, so a lost store is filled again from them (`sync`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import UserError
from bench.files import explained, read_json

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
BATCH = 1000
"""The most metrics that MLflow takes in one call."""
TAG, KEY = "sharpbench.run", "sharpbench.key"
"""Tags: the run's name in params.yaml; the training or evaluation that an MLflow run is of, in each run another."""


def address(configured: str = "") -> str:
    """Return the tracking URI in use: MLFLOW_TRACKING_URI, else the configured one, else the SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{Path(DATABASE).absolute()}"


@contextmanager
def _reached(place: str) -> Iterator[None]:
    """Turn an error of MLflow, or of the database under it, into one message."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(
            f"MLflow at {place}: {str(error).splitlines()[0]}; nothing of the run is lost: when this is mended the "
            "same command goes on"
        ) from error


def connect(configured: str = "") -> MlflowClient:
    """Open the store, creating the SQLite file once: four processes that create it at the same time would crash.

    Raises:
        UserError: a server that does not answer, a file that is no store or cannot be written.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Its migrations print a line each at every first use.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # MLflow's own seven tries take minutes to say that there is no server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import fcntl
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = address(configured)
    if not uri.startswith("sqlite:///"):
        return _opened(uri)
    note = Path(f"{uri.removeprefix('sqlite:///')}.lock")
    try:
        with note.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _opened(uri)
    except OSError as error:
        raise explained(error, note) from error


def _opened(uri: str) -> MlflowClient:
    import mlflow

    with _reached(uri):
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def experiment(client: MlflowClient, task: str) -> str:
    """Return the id of the task's experiment, made if it is not there."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(task)
    if found is not None:
        return found.experiment_id
    place = Path(ARTIFACTS, task).absolute().as_uri() if client.tracking_uri.startswith("sqlite:") else None
    try:
        return client.create_experiment(task, artifact_location=place)
    except MlflowException:
        # Another process was faster.
        found = client.get_experiment_by_name(task)
        if found is None:
            raise
        return found.experiment_id


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested parameters into MLflow's: {"train": {"lr": 1e-4}} into {"train.lr": "0.0001"}."""
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = str(value)
    return result


def start(client: MlflowClient, record: Mapping[str, Any], key: str) -> str:
    """Return the MLflow run of a record, named for reading and tagged for filters.

    Args:
        key: what the run is of. The run that has it is gone on with, whole or not; else it is made.
    """
    from mlflow.entities import Param

    tags = {
        KEY: key,
        TAG: record["run"],
        "mlflow.runName": f"{record.get('evaluation') or record['run']} · {record['profile']}",
        "method": record["method"],
        "row": record["as"],
        "dataset": record["dataset"],
        "task": record["task"],
        "profile": record["profile"],
        "origin": record["origin"],
        "kind": record["kind"],
        "partial": str(record["partial"]).lower(),
        "mlflow.source.git.commit": record["provenance"]["git_commit"],
        "git_dirty": str(record["provenance"]["git_dirty"]).lower(),
        "manifest_sha256": record["provenance"]["manifest_sha256"],
    }
    parameters = flat({"seed": record["seed"], "network": record["network"], "train": record["train"]})
    with _reached(client.tracking_uri):
        place = experiment(client, record["task"])
        found = client.search_runs([place], f"tags.`{KEY}` = '{key}'", max_results=1)
        run = found[0] if found else client.create_run(place, tags=tags)
        if run.info.status == "FAILED":
            client.update_run(run.info.run_id, "RUNNING")
        client.log_batch(run.info.run_id, params=[Param(name, value[:6000]) for name, value in parameters.items()])
        _log_dataset(client, run.info.run_id, record)
    return run.info.run_id


def finish(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    """Note that a run has ended: FINISHED, or FAILED."""
    with _reached(client.tracking_uri):
        client.set_terminated(run_id, status)


def log_weights(client: MlflowClient, run_id: str, weights: Path, digest: str) -> None:
    """Keep a run's weights with it, and their SHA-256."""
    with _reached(client.tracking_uri):
        client.log_artifact(run_id, str(weights), "weights")
        client.set_tag(run_id, "weights_sha256", digest)


def _log_dataset(client: MlflowClient, run_id: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(
        name=f"{record['dataset']} ({record['origin']})",
        digest=record["provenance"]["manifest_sha256"][:36],
        source_type="sharpbench",
        source=f"{record['dataset']}/manifest.parquet",
    )
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training and test")])])


Point = tuple[str, float, int, int]
"""A metric's name, its value, the step, and when, in milliseconds."""


def log_points(client: MlflowClient, run_id: str, points: Iterable[Point]) -> None:
    """Log metrics in as few calls as MLflow allows. The same points logged twice stay single."""
    from mlflow.entities import Metric

    metrics = [Metric(name, value, when, step) for name, value, step, when in points]
    with _reached(client.tracking_uri):
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + BATCH])


def exists(client: MlflowClient, run_id: str) -> bool:
    """Tell whether the store holds this run, and nobody deleted it."""
    from mlflow.exceptions import MlflowException

    with _reached(client.tracking_uri):
        try:
            return client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def sync(client: MlflowClient, folder: Path) -> str:
    """Bring one evaluation into the store and return its MLflow run.

    Scores, images and costs go to the run that trained it; an evaluation without one (no training, chain, weights from
    elsewhere, a store that was lost) gets a run of its own. Doing it again changes nothing.

    Args:
        folder: an evaluation's folder: record.json, scores.parquet, images/.
    """
    import pandas as pd

    record = read_json(folder / "record.json")
    scores = pd.read_parquet(folder / "scores.parquet")
    digest = record["evaluation_id"]
    run_id = record["provenance"].get("mlflow_run") or ""
    if record["evaluation"] != record["run"] or not (run_id and exists(client, run_id)):
        run_id = start(client, record, digest)
    with _reached(client.tracking_uri):
        if client.get_run(run_id).data.tags.get("evaluation_id") != digest:
            _log_evaluation(client, run_id, record, scores, folder)
            client.set_tag(run_id, "evaluation_id", digest)
            client.set_terminated(run_id)
    return run_id


def _log_evaluation(
    client: MlflowClient, run_id: str, record: Mapping[str, Any], scores: pd.DataFrame, folder: Path
) -> None:
    import pandas as pd

    # The newest of several evaluations is the one that MLflow shows.
    when = int((folder / "record.json").stat().st_mtime * 1000)
    done = scores[scores["value"].notna()]
    means = done.groupby("metric")["value"].mean()
    log_points(client, run_id, [(f"test.{name}", float(value), 0, when) for name, value in means.items()])
    if (folder / "losses.parquet").is_file() and run_id != record["provenance"].get("mlflow_run"):
        losses = pd.read_parquet(folder / "losses.parquet")
        names = "loss." + losses["player"] + "." + losses["name"]
        times = (1000 * losses["seconds"]).astype(int)
        log_points(client, run_id, zip(names, losses["value"], losses["step"], times, strict=True))
    for image in sorted((folder / "images").glob("*.png")):
        client.log_artifact(run_id, str(image), "images")
    client.log_artifact(run_id, str(folder / "scores.parquet"), "scores")
    client.log_artifact(run_id, str(folder / "record.json"))
    client.set_tag(run_id, "weights_sha256", record["provenance"].get("weights_sha256") or "none")
