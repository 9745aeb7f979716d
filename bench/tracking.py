"""MLflow: where runs are logged, and how a number finds its run again.

The store is an SQLite file beside `params.yaml`, or the server that `tracking` in `params.yaml` or MLFLOW_TRACKING_URI
names. What is logged is also in the run's own files, so a lost store is filled again from them (`sync`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
BATCH = 1000
"""The most metrics that MLflow takes in one call."""
TAG = "sharpbench.run"


def address(configured: str = "") -> str:
    """Return the tracking URI in use: MLFLOW_TRACKING_URI, else the configured one, else the SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{DATABASE}"


def connect(configured: str = "") -> MlflowClient:
    """Open the store, creating the SQLite file once: four processes that create it at the same time would crash."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Its migrations print a line each at every first use.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    import fcntl
    import logging

    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = address(configured)
    if not uri.startswith("sqlite:///"):
        return mlflow.MlflowClient(uri)
    with Path(f"{uri.removeprefix('sqlite:///')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment(client: MlflowClient, task: str) -> str:
    """Return the id of the task's experiment, made if it is not there."""
    found = client.get_experiment_by_name(task)
    if found is not None:
        return found.experiment_id
    place = str(Path(ARTIFACTS).absolute()) if client.tracking_uri.startswith("sqlite:") else None
    return client.create_experiment(task, artifact_location=place and f"file://{place}/{task}")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested parameters into MLflow's: {"train": {"lr": 1e-4}} into {"train.lr": "0.0001"}."""
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = str(value)
    return result


def start(client: MlflowClient, record: Mapping[str, Any]) -> str:
    """Create the MLflow run of a record: named for reading, tagged for filters; return its id."""
    from mlflow.entities import Param

    tags = {
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
    run = client.create_run(experiment(client, record["task"]), tags=tags)
    parameters = flat({"seed": record["seed"], "network": record["network"], "train": record["train"]})
    client.log_batch(run.info.run_id, params=[Param(key, value[:6000]) for key, value in parameters.items()])
    _log_dataset(client, run.info.run_id, record)
    return run.info.run_id


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
    for first in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH])


def exists(client: MlflowClient, run_id: str) -> bool:
    """Tell whether the store holds this run."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True


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
        run_id = _find(client, record, digest) or start(client, record)
    if client.get_run(run_id).data.tags.get("evaluation_id") == digest:
        return run_id
    done = scores[scores["value"].notna()]
    means = done.groupby("metric")["value"].mean()
    log_points(client, run_id, [(f"test.{name}", float(value), 0, 0) for name, value in means.items()])
    if (folder / "losses.parquet").is_file() and run_id != record["provenance"].get("mlflow_run"):
        losses = pd.read_parquet(folder / "losses.parquet")
        points = losses[["player", "name", "value", "step"]].itertuples(index=False)
        log_points(client, run_id, [(f"loss.{p.player}.{p.name}", p.value, int(p.step), 0) for p in points])
    for image in sorted((folder / "images").glob("*.png")):
        client.log_artifact(run_id, str(image), "images")
    client.log_artifact(run_id, str(folder / "scores.parquet"), "scores")
    client.log_artifact(run_id, str(folder / "record.json"))
    client.set_tag(run_id, "weights_sha256", record["provenance"].get("weights_sha256") or "none")
    client.set_tag(run_id, "evaluation_id", digest)
    client.set_terminated(run_id)
    return run_id


def _find(client: MlflowClient, record: Mapping[str, Any], digest: str) -> str | None:
    found = client.search_runs([experiment(client, record["task"])], f"tags.evaluation_id = '{digest}'", max_results=1)
    return found[0].info.run_id if found else None
