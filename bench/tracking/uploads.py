"""Log a finished training or evaluation to MLflow: weights, means, curves and images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import read_json
from bench.tasks import find_task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
from bench.tracking.store import TAG, _note, exists, experiment, log_points, reached, start

LOGGED, LAYOUT = "sharpbench.logged", "3"
"""Tag: the evaluation that a run shows, after the version of what is logged of one: a newer layout is logged anew."""
REGISTERED = "sharpbench.checkpoint"
"""Tag: the registered model and its version that hold a run's weights."""


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
    names = images["input"] + "." + images["metric"] if find_task(task).has_several_inputs else images["metric"]
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
