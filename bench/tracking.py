"""MLflow: where runs are logged, how they are shown there, and how a number finds its run again.

The store is an SQLite file beside `params.yaml`, or the server that `tracking` in `params.yaml` or MLFLOW_TRACKING_URI
names. What is logged is also in the run's own files, so a lost store is filled again from them (`sync`). What MLflow's
pages show, and in which columns, is written into the store too: it is the same whoever opens it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

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
LOGGED, LAYOUT = "sharpbench.logged", "3"
"""Tag: the evaluation that a run shows, after the version of what is logged of one: a newer layout is logged anew."""
REGISTERED = "sharpbench.checkpoint"
"""Tag: the registered model and its version that hold a run's weights."""
ABOUT = {
    "deblur": "One blurred photograph in, the sharp one out.",
    "inpaint": "A photograph with holes in, the whole one out; scores stand by input: sharp or blurred.",
    "sharp-inpaint": "A blurred photograph with holes in, the sharp and whole one out; scores stand by input.",
    "dual-pixel": "The left and the right view of one exposure in, the all-in-focus photograph out.",
}
"""What the runs of a task do, for its experiment's description."""
TRAINING = {"workflowType": "machine_learning"}
"""In an address: without it MLflow's pages open with the tools for language models."""
INPUTS = {"inpaint": ("sharp", "blurred"), "sharp-inpaint": ("blurred", "sharp")}
"""Tasks that are scored on several inputs, which no mean should mix, the most telling first."""
SIZE = "256x256"
"""The image size, in pixels, that every method's costs are measured at."""


def address(configured: str = "") -> str:
    """Return the tracking URI in use: MLFLOW_TRACKING_URI, else the configured one, else the SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{Path(DATABASE).absolute()}"


def experiment_page(server: str, experiment: str, profile: str, newest: bool = False, charts: bool = False) -> str:
    """Return the address of a profile's runs of one task in MLflow, in the columns that matter.

    Args:
        server: where MLflow answers: "http://127.0.0.1:5000".
        experiment: its id.
        newest: the newest first, with the trials of searches, instead of the best.
        charts: images, curves and bars beside the runs' names, instead of the table.
    """
    query = {"viewStateShareKey": f"{_view_id(profile)}{'-newest' * newest}"}
    query |= {"compareRunsMode": "CHART"} if charts else {}
    return f"{server}/#/experiments/{experiment}/runs?{urlencode(TRAINING | query)}"


def run_page(server: str, experiment: str, run: str) -> str:
    """Return the address of one run in MLflow, by the ids of its experiment and of itself."""
    return f"{server}/#/experiments/{experiment}/runs/{run}?{urlencode(TRAINING)}"


def comparison_page(server: str, runs: Sequence[str], experiments: Sequence[str]) -> str:
    """Return the address where MLflow compares runs side by side.

    Args:
        server: where MLflow answers.
        runs: ids of the MLflow runs.
        experiments: ids of the experiments that they belong to; one named twice stands once.
    """
    query = {
        "runs": json.dumps(list(runs)),
        "experiments": json.dumps(list(dict.fromkeys(experiments))),
    }
    return f"{server}/#/compare-runs?{urlencode(query | TRAINING)}"


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
        raise explained(error, note) from error


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
    if "mlflow.note.content" not in found.tags and task in ABOUT:
        wanted["mlflow.note.content"] = f"{ABOUT[task]}\n\n{_GUIDE}"
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


def _view_id(profile: str) -> str:
    return f"sharpbench-{profile}"


def _views(task: str, profile: str, made: int | None) -> dict[str, str]:
    """Return two saved views of MLflow's run table in the columns that matter: the best first, and the newest first.

    Only the second shows the trials of searches: MLflow nests runs in no other order.

    Args:
        made: when, in milliseconds; the same each time, so that the views are written once.

    Returns:
        the view's id to its text.
    """
    scores = [f"{prefix}{metric}" for prefix in _prefixes(task) for metric in ("psnr-rgb8", "ssim-gauss11")]
    metrics = [*scores, "test.params", f"test.macs.{SIZE}", f"test.seconds.{SIZE}"]
    # Widths are in pixels; in MLflow's own the longer names are cut.
    columns = {"tags.`method`": 120, "tags.`dataset`": 120} | {
        f"metrics.`{name}`": 40 + 6 * len(name) for name in metrics
    }
    name_width = {"attributes.`Run Name`": 230}
    common = {
        "selectedColumns": list(columns),
        "columnOrder": [*name_width, *columns],
        "columnWidths": name_width | columns,
        "orderByAsc": False,
        **_image_charts(),
    }
    mine = f"tags.profile = '{profile}'"
    best = {"searchFilter": f"{mine} and tags.kind != 'trial'", "orderByKey": f"metrics.`{scores[0]}`"}
    newest = {"searchFilter": mine, "orderByKey": "attributes.start_time"}
    return {
        identity: json.dumps({"name": name, "createdAt": made, "updatedAt": made, "state": json.dumps(common | order)})
        for identity, name, order in (
            (_view_id(profile), f"{profile}: the best first", best),
            (f"{_view_id(profile)}-newest", f"{profile}: the newest first, searches with their trials", newest),
        )
    }


def _image_charts() -> dict[str, Any]:
    """Return the charts of a view that come before those that MLflow adds by itself: the images, a row a run."""
    charts = [
        {
            "uuid": f"sharpbench-{rule}",
            "type": "IMAGE",
            "runsCountToCompare": 10,
            "metricSectionId": "sharpbench-images",
            "deleted": False,
            "isGenerated": False,
            "imageKeys": [f"{rule}.{shown}" for shown in ("input", "restored", "target")],
            "step": 0,
            "showRunParams": False,
        }
        for rule in ("median", "worst")
    ]
    section = {"uuid": "sharpbench-images", "name": "Images", "display": True, "isReordered": False}
    return {"compareRunCharts": charts, "compareRunSections": [section]}


def _prefixes(task: str) -> list[str]:
    """Return what the names of a task's scores begin with, the most telling first."""
    return [f"test.{given}." for given in INPUTS[task]] if task in INPUTS else ["test."]


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


def log_weights(client: MlflowClient, run_id: str, weights: Path, digest: str) -> None:
    """Keep a run's weights with it, with their SHA-256, and register them as a version of the run's checkpoint."""
    with reached(client.tracking_uri):
        client.log_artifact(run_id, str(weights), "weights")
        client.set_tag(run_id, "weights_sha256", digest)
    register(client, run_id)


def register(client: MlflowClient, run_id: str) -> str:
    """Enter a run's weights into the model registry, once; return name/version, "" where the store has no weights.

    The registered model is named after the run and its profile; each training of it is a version, whose tag
    `weights_sha256` says which file it is. The alias `newest` names the version registered last.
    """
    with reached(client.tracking_uri):
        run = client.get_run(run_id)
        tags = run.data.tags
        if REGISTERED in tags or not client.list_artifacts(run_id, "weights"):
            return tags.get(REGISTERED, "")
        name = f"{tags[TAG]}-{tags['profile']}"
        if not client.search_registered_models(f"name = '{name}'"):
            _create_model(client, name, {key: tags[key] for key in ("method", "dataset", "task", "profile")})
        same = [version for version in client.search_model_versions(f"name = '{name}'") if version.run_id == run_id]
        version = (
            same[0]
            if same
            else client.create_model_version(
                name,
                f"{run.info.artifact_uri}/weights",
                run_id,
                tags={"weights_sha256": tags["weights_sha256"]},
                description=tags.get("mlflow.note.content"),
            )
        )
        client.set_registered_model_alias(name, "newest", version.version)
        client.set_tag(run_id, REGISTERED, f"{name}/{version.version}")
    return f"{name}/{version.version}"


def _create_model(client: MlflowClient, name: str, tags: Mapping[str, str]) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, dict(tags))
    except MlflowException as error:
        # Another process was faster.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


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
    logged = f"{LAYOUT}:{digest}"
    with reached(client.tracking_uri):
        run = client.get_run(run_id)
        if run.data.tags.get(LOGGED) != logged:
            experiment(client, record["task"], record["profile"])
            _log_evaluation(client, run_id, record, scores, folder)
            client.set_tag(run_id, "evaluation_id", digest)
            client.set_tag(run_id, "mlflow.note.content", _note(record))
            # A training keeps the time at which it ended.
            if run.info.status != "FINISHED":
                client.set_terminated(run_id)
            if record["kind"] == "trained":
                register(client, run_id)
            client.set_tag(run_id, LOGGED, logged)
    return run_id


def means(scores: pd.DataFrame, task: str) -> dict[str, float]:
    """Return what an evaluation measured under MLflow's names.

    Quality is a mean over the images: test.psnr-rgb8, or, where the task is scored on several inputs,
    test.sharp.psnr-rgb8 of the images with that one, and none over them all. What belongs to a set of images has no
    mean: the FID of the only set is test.fid, of several each has its own, test.sharp.fid.irregular.20-30. A cost has
    the image size in its name: test.seconds.256x256.

    Args:
        scores: tidy rows: metric, image, input, mask_kind, mask_band, size, value; what was not measured is NaN. A row
            without an image is of a set where it has an input, else a cost.
    """
    done = scores[scores["value"].notna()]
    images, costs = done[done["image"] != ""], done[(done["image"] == "") & (done["input"] == "")]
    sets = scores[(scores["image"] == "") & (scores["input"] != "")]
    names = images["input"] + "." + images["metric"] if task in INPUTS else images["metric"]
    found = {str(name): rows.mean() for name, rows in images["value"].groupby(names)}
    # Counted with those that were not measured: what is left of several is still not the only one.
    for metric, rows in sets.groupby("metric"):
        for row in rows[rows["value"].notna()].to_dict("records"):
            of = [row["input"], metric, row["mask_kind"], row["mask_band"]] if len(rows) > 1 else [metric]
            found[".".join(str(part) for part in of if part)] = row["value"]
    for size in costs["size"].unique():
        mine = costs[costs["size"] == size].groupby("metric")["value"]
        found |= {".".join(filter(None, (str(metric), size))): rows.mean() for metric, rows in mine}
    return {f"test.{name}": float(value) for name, value in found.items()}


def _log_evaluation(
    client: MlflowClient, run_id: str, record: Mapping[str, Any], scores: pd.DataFrame, folder: Path
) -> None:
    import pandas as pd

    # The newest of several evaluations is the one that MLflow shows.
    when = int((folder / "record.json").stat().st_mtime * 1000)
    log_points(client, run_id, [(name, value, 0, when) for name, value in means(scores, record["task"]).items()])
    if (folder / "losses.parquet").is_file() and run_id != record["provenance"].get("mlflow_run"):
        losses = pd.read_parquet(folder / "losses.parquet")
        names = "loss." + losses["player"] + "." + losses["name"]
        times = (1000 * losses["seconds"]).astype(int)
        log_points(client, run_id, zip(names, losses["value"], losses["step"], times, strict=True))
    _log_images(client, run_id, folder / "images", when)
    client.log_artifact(run_id, str(folder / "scores.parquet"), "scores")
    client.log_artifact(run_id, str(folder / "record.json"))
    client.set_tag(run_id, "weights_sha256", record["provenance"].get("weights_sha256") or "none")


def _log_images(client: MlflowClient, run_id: str, folder: Path, when: int) -> None:
    """Log every image of an evaluation at step 0: MLflow's grids show those of one step side by side.

    Args:
        when: in milliseconds; it tells an image of this evaluation from one of an earlier.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
    from PIL import Image

    logged = [file.path for file in client.list_artifacts(run_id, "images")]
    keys = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.png"))}
    beginnings = {key: f"images/{key.replace('/', '~')}+step+0+timestamp+{when}+" for key in keys}
    new = [key for key in keys if not any(name.startswith(beginnings[key]) for name in logged)]
    if not new:
        return

    def log(key: str) -> None:
        with Image.open(keys[key]) as image:
            client.log_image(run_id, image, key=key, step=0, timestamp=when, synchronous=True)

    # With each image MLflow sets this tag, which no two threads can make at once. It encodes an image anew, outside
    # Python's lock, and that is most of what bringing an evaluation into the store takes.
    client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(log, new))
