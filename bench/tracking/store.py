"""MLflow: where runs are logged, how they are shown there, and how a number finds its run again.

The store is an SQLite file beside `params.yaml`, or the server that `tracking` in `params.yaml` or MLFLOW_TRACKING_URI
names. What is logged is also in the run's own files, so a lost store is filled again from them (`sync`). What MLflow's
pages show, and in which columns, is written into the store too: it is the same whoever opens it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import UserError
from bench.files import as_user_error

if TYPE_CHECKING:
    from mlflow import MlflowClient
from bench.tasks import TASKS
from bench.tracking.views import _views

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
def reached(place: str) -> Iterator[None]:
    """Turn an error of MLflow, or of the database, the disk or the network under it, into one message."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # those of `requests` are OSErrors
        said = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"MLflow at {place}: {said}; nothing of the run is lost: when this is mended the same command goes on"
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
        raise as_user_error(error, note) from error


def _opened(uri: str) -> MlflowClient:
    import mlflow

    with reached(uri):
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def experiment(client: MlflowClient, task: str, profile: str = "") -> str:
    """Return the id of the task's experiment, made if it is not there, with its description and a profile's views."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(task)
    if found is None:
        place = Path(ARTIFACTS, task).absolute().as_uri() if client.tracking_uri.startswith("sqlite:") else None
        try:
            found = client.get_experiment(client.create_experiment(task, artifact_location=place))
        except MlflowException:
            # Another process was faster.
            found = client.get_experiment_by_name(task)
            if found is None:
                raise
    wanted = {"mlflow.experimentKind": "custom_model_development"}
    if profile:
        views = _views(task, profile, found.creation_time)
        wanted |= {f"mlflow.sharedViewState.{identity}": text for identity, text in views.items()}
    # A person's own description stays.
    if "mlflow.note.content" not in found.tags and task in TASKS:
        wanted["mlflow.note.content"] = f"{TASKS[task].about}\n\n{_GUIDE}"
    for key, value in wanted.items():
        if found.tags.get(key) != value:
            client.set_experiment_tag(found.experiment_id, key, value)
    return found.experiment_id


_GUIDE = """\
A run is one training with its scores, or one evaluation of a method without training, of a chain or of a transfer.
**Views** (top right) has two for each profile: its runs with the best first, and with the newest first, where the
trials of a search stand folded under it.

- Tags to filter by: `method`, `dataset`, `profile`, `origin` (the official files, or photographs from installed
  packages that stand in for them), `kind`, `partial`.
- `loss.<player>.<name>` are curves over the training's steps; `test.<metric>` are means over the test images, with the
  input's name where there are several; FID, which has no mean, names its set of images; costs name the image size
  that they were measured at.
- Results of different profiles, datasets or origins are not to be compared.
"""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested parameters into MLflow's: {"train": {"lr": 1e-4}} into {"train.lr": "0.0001"}; of {} none is left."""
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
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
        "mlflow.note.content": _note(record),
    }
    parameters = flat({"seed": record["seed"], "network": record["network"], "train": record["train"]})
    with reached(client.tracking_uri):
        place = experiment(client, record["task"], record["profile"])
        found = client.search_runs([place], f"tags.`{KEY}` = '{key}'", max_results=1)
        run = found[0] if found else client.create_run(place, tags=tags)
        if run.info.status == "FAILED":
            client.update_run(run.info.run_id, "RUNNING")
        client.log_batch(run.info.run_id, params=[Param(name, value[:6000]) for name, value in parameters.items()])
        _log_dataset(client, run.info.run_id, record)
    return run.info.run_id


def finish(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    """Note that a run has ended: FINISHED, or FAILED."""
    with reached(client.tracking_uri):
        client.set_terminated(run_id, status)


def _note(record: Mapping[str, Any]) -> str:
    """Say in a few lines what a run is, and what keeps it from being the paper's."""
    lines = [f"**{record['title']}** ({record['kind']}) on {record['dataset_title']}, {record['origin']}."]
    lines += ["Fewer images than the official set has."] if record["partial"] else []
    lines += [f"Smaller than the paper's network: {', '.join(record['reduced'])}."] if record.get("reduced") else []
    if missing := [entry["loss"] for entry in record.get("missing_losses", ())]:
        lines.append(f"Trained without the losses {', '.join(missing)}: weights that they need are missing.")
    if drawn := [entry["helper"] for entry in record.get("random_helpers", ())]:
        lines.append(f"Networks with random weights in its losses: {', '.join(drawn)}.")
    return "\n\n".join(lines)


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
    with reached(client.tracking_uri):
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + BATCH])


def exists(client: MlflowClient, run_id: str) -> bool:
    """Tell whether the store holds this run, and nobody deleted it."""
    from mlflow.exceptions import MlflowException

    with reached(client.tracking_uri):
        try:
            return client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def experiment_of(client: MlflowClient, run_id: str) -> str | None:
    """Return the id of the experiment that a run stands in, None where the store does not hold the run."""
    return str(client.get_run(run_id).info.experiment_id) if exists(client, run_id) else None
