"""MLflow's pages: their addresses, and the saved views of run tables and charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from bench.tasks import find_task

DASHBOARD_PORT = 5000
"""Port of `python -m bench dashboard` on 127.0.0.1, unless `--port` gives another; the report's links lead there."""
TRAINING = {"workflowType": "machine_learning"}
"""In an address: without it MLflow's pages open with the tools for language models."""
SIZE = "256x256"
"""The image size, in pixels, that every method's costs are measured at."""


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
    meaning = find_task(task)
    return [f"test.{given}." for given in meaning.scored_on] if meaning.has_several_inputs else ["test."]
