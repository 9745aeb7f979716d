"""What MLflow's page of a task shows: a description, and saved views of its runs. They are written into the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.tasks import find_task
from bench.tracking.addresses import view_id
from bench.tracking.store import KIND_TAG, experiment, explained_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS = ("psnr-rgb8", "ssim-gauss11")
"""The metrics that have columns; the first one sorts the runs."""
GUIDE = """\
A run is one training with its scores, or one evaluation of a method without training, of a chain or of a transfer.
**Views** (top right) has two for each profile: its runs with the best first, and with the newest first, where the
trials of a search are listed under it.

- Tags to filter by: `method`, `dataset`, `profile`, `origin` (the official files, or photographs from installed
  packages that are used in their place), `kind`, `partial`.
- `loss.<player>.<name>` are curves over the training's steps. `test.<metric>` are means over the test images, with the
  input's name where there are several; FID, which has no mean, names its set of images; costs name the image size
  at which they were measured.
- Results of different profiles, datasets or origins must not be compared.
"""


def set_up_experiment(client: MlflowClient, task: str, profile: str, cost_size: tuple[int, int]) -> str:
    """Return the id of a task's experiment, with its description and the saved views of a profile.

    A description that a person wrote is kept.

    Args:
        client: of `store.connect`.
        task: name of the task.
        profile: whose runs the views show.
        cost_size: height and width at which the costs in the views' columns are measured, `evaluate.cost_size`.
    """
    height, width = cost_size
    with explained_errors(client.tracking_uri):
        place = experiment(client, task)
        existing = client.get_experiment(place)
        tags = KIND_TAG | saved_views(task, profile, f"{width}x{height}", existing.creation_time)
        if "mlflow.note.content" not in existing.tags:
            tags |= {"mlflow.note.content": f"{find_task(task).about}\n\n{GUIDE}"}
        for key, value in tags.items():
            if existing.tags.get(key) != value:
                client.set_experiment_tag(place, key, value)
    return place


def saved_views(task: str, profile: str, size: str, created: int | None) -> dict[str, str]:
    """Return two saved views of a task's runs as tags of its experiment: the best runs first, and the newest first.

    Only the second shows the trials of searches: MLflow nests runs in no other order.

    Args:
        task: name of the task.
        profile: whose runs are shown.
        size: the image size of the columns of costs, "256x256".
        created: creation time in milliseconds; the same each time, so that unchanged views are not written again.
    """
    scores = [f"{prefix}{metric}" for prefix in _prefixes(task) for metric in METRICS]
    metrics = [*scores, "test.params", f"test.macs.{size}", f"test.seconds.{size}"]
    # Widths in pixels: MLflow's own cut the longer names.
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
    of_profile = f"tags.profile = '{profile}'"
    best = {"searchFilter": f"{of_profile} and tags.kind != 'trial'", "orderByKey": f"metrics.`{scores[0]}`"}
    newest = {"searchFilter": of_profile, "orderByKey": "attributes.start_time"}
    titles = {
        f"{profile}: the best first": (view_id(profile), best),
        f"{profile}: the newest first, searches with their trials": (view_id(profile, newest=True), newest),
    }
    return {
        f"mlflow.sharedViewState.{identity}": json.dumps(
            {"name": title, "createdAt": created, "updatedAt": created, "state": json.dumps(common | order)}
        )
        for title, (identity, order) in titles.items()
    }


def _image_charts() -> dict[str, Any]:
    """Return the charts of a view that come before MLflow's own: the images, one row per run."""
    charts = [
        {
            "uuid": f"sharpbench-{rule}",
            "type": "IMAGE",
            "runsCountToCompare": 10,
            "metricSectionId": "sharpbench-images",
            "deleted": False,
            "isGenerated": False,
            "imageKeys": [f"{rule}.{kind}" for kind in ("input", "restored", "target")],
            "step": 0,
            "showRunParams": False,
        }
        for rule in ("median", "worst")
    ]
    section = {"uuid": "sharpbench-images", "name": "Images", "display": True, "isReordered": False}
    return {"compareRunCharts": charts, "compareRunSections": [section]}


def _prefixes(task: str) -> list[str]:
    """Return the prefixes of a task's scores, in the order of its inputs."""
    meaning = find_task(task)
    return [f"test.{source}." for source in meaning.scored_on] if meaning.has_several_inputs else ["test."]
