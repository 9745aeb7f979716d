"""Bring finished evaluations into MLflow: means, curves, images and files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.processors import available
from bench.record import RECORD, Record, read_file, read_record
from bench.tasks import find_task
from bench.tracking.checkpoints import register
from bench.tracking.store import description, exists, explained_errors, log_points, start

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

LOGGED_TAG = "sharpbench.logged"
"""Tag: `LAYOUT` and the id of the evaluation that was logged last to a run."""
IMAGES = "images/"
"""The folder of an evaluation's images within its folder."""
LAYOUT = "3"
"""Version of what is logged of an evaluation: runs with an older one are logged again."""


def sync(client: MlflowClient, folder: Path) -> str:
    """Bring one evaluation into the store and return its MLflow run. A second call changes nothing.

    Scores, images and costs go to the run of the training. An evaluation gets another run where the store has none of
    a training (no training, a chain, weights from elsewhere, a store that was lost), or where it is a further one, on
    another dataset.

    Args:
        client: of `store.connect`.
        folder: an evaluation's folder, with `record.json`, `scores.parquet` and `images`.

    Raises:
        DataError: a file is missing or has changed since it was written.
        UserError: the store cannot be reached or written.
    """
    record = read_record(folder / RECORD)
    run_id = record.provenance.mlflow_run
    if record.evaluation != record.run or not (run_id and exists(client, run_id)):
        run_id = start(client, record, record.digest)
    logged = f"{LAYOUT}:{record.digest}"
    with explained_errors(client.tracking_uri):
        run = client.get_run(run_id)
        if run.data.tags.get(LOGGED_TAG) != logged:
            _log_evaluation(client, run_id, record, folder)
            client.set_tag(run_id, "evaluation_id", record.digest)
            client.set_tag(run_id, "mlflow.note.content", description(record))
            if run.info.status != "FINISHED":  # a training keeps the time at which it ended
                client.set_terminated(run_id)
            if record.kind == "trained":
                register(client, run_id)
            client.set_tag(run_id, LOGGED_TAG, logged)
    return run_id


def means(scores: pd.DataFrame, task: str) -> dict[str, float]:
    """Return the scores of an evaluation under MLflow's names.

    - Quality is a mean over the images: `test.psnr-rgb8`, or, where the task is scored on several inputs, one per
      input, `test.sharp.psnr-rgb8`, and none over all.
    - A metric of a set of images has no mean. The FID of the only set is `test.fid`; of several sets each has its name,
      `test.sharp.fid.irregular.20-30`.
    - A cost has the image size in its name: `test.seconds.256x256`.

    Args:
        scores: tidy rows: metric, image, input, mask_kind, mask_band, size, value; NaN was not measured. A row without
            an image belongs to a set where it has an input, else it is a cost.
        task: name of the task.
    """
    measured = scores[scores["value"].notna()]
    images = measured[measured["image"] != ""]
    costs = measured[(measured["image"] == "") & (measured["input"] == "")]
    sets = scores[(scores["image"] == "") & (scores["input"] != "")]
    by_input = find_task(task).has_several_inputs
    names = images["input"] + "." + images["metric"] if by_input else images["metric"]
    values = {str(name): rows.mean() for name, rows in images["value"].groupby(names)}
    # Sets that were not measured count too: one that is left of several is not the only one.
    for metric, rows in sets.groupby("metric"):
        for row in rows[rows["value"].notna()].to_dict("records"):
            parts = [row["input"], metric, row["mask_kind"], row["mask_band"]] if len(rows) > 1 else [metric]
            values[".".join(str(part) for part in parts if part)] = row["value"]
    for size in costs["size"].unique():
        for metric, rows in costs[costs["size"] == size].groupby("metric")["value"]:
            values[".".join(filter(None, (str(metric), size)))] = rows.mean()
    return {f"test.{name}": float(value) for name, value in values.items()}


def _log_evaluation(client: MlflowClient, run_id: str, record: Record, folder: Path) -> None:
    import pandas as pd

    content = {name: read_file(folder, record, name) for name in record.files}
    scores = pd.read_parquet(io.BytesIO(content["scores.parquet"]))
    # MLflow shows the newest of several evaluations.
    when = int((folder / RECORD).stat().st_mtime * 1000)
    log_points(client, run_id, [(name, value, 0, when) for name, value in means(scores, record.task).items()])
    if "losses.parquet" in content and run_id != record.provenance.mlflow_run:
        losses = pd.read_parquet(io.BytesIO(content["losses.parquet"]))
        names = "loss." + losses["player"] + "." + losses["name"]
        times = (1000 * losses["seconds"]).astype(int)
        log_points(client, run_id, zip(names, losses["value"], losses["step"], times, strict=True))
    images = {name: data for name, data in content.items() if name.startswith(IMAGES) and name.endswith(".png")}
    _log_images(client, run_id, images, when)
    client.log_artifact(run_id, str(folder / "scores.parquet"), "scores")
    client.log_artifact(run_id, str(folder / RECORD))
    client.set_tag(run_id, "weights_sha256", record.provenance.weights_sha256 or "none")


def _log_images(client: MlflowClient, run_id: str, images: Mapping[str, bytes], when: int) -> None:
    """Log every image of an evaluation at step 0: MLflow's grids show the images of one step side by side.

    Args:
        client: of `store.connect`.
        run_id: the MLflow run.
        images: the content of each file, by its path in the evaluation's folder.
        when: time in milliseconds, which tells an image of this evaluation from one of an earlier evaluation.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
    from PIL import Image

    logged = [file.path for file in client.list_artifacts(run_id, "images")]
    files = {name.removeprefix(IMAGES).removesuffix(".png"): data for name, data in images.items()}
    prefixes = {key: f"images/{key.replace('/', '~')}+step+0+timestamp+{when}+" for key in files}
    new = [key for key in files if not any(name.startswith(prefixes[key]) for name in logged)]
    if not new:
        return

    def log(key: str) -> None:
        with Image.open(io.BytesIO(files[key])) as image:
            client.log_image(run_id, image, key=key, step=0, timestamp=when, synchronous=True)

    # MLflow sets this tag with each image, which two threads cannot do at once; set already, it is left alone. It also
    # encodes each image once more, outside Python's lock, which takes most of the time of an upload.
    client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True)
    with ThreadPoolExecutor(available()) as pool:
        list(pool.map(log, new))
