"""Addresses of MLflow's pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlencode

DASHBOARD_PORT = 5000
"""Port of `python -m bench dashboard` on 127.0.0.1, unless `--port` gives another; the report's links lead there."""
TRAINING = {"workflowType": "machine_learning"}
"""Part of the addresses: without it MLflow's pages open with the tools for language models."""


def view_id(profile: str, newest: bool = False) -> str:
    """Return the id of a profile's saved view: the best runs first, or the newest first."""
    return f"sharpbench-{profile}{'-newest' * newest}"


def experiment_page(server: str, experiment: str, profile: str, newest: bool = False, charts: bool = False) -> str:
    """Return the address of a profile's runs of one task, shown by one of its saved views.

    Args:
        server: where MLflow answers: "http://127.0.0.1:5000".
        experiment: id of the task's experiment.
        profile: the profile.
        newest: the newest first, with the trials of searches, instead of the best first.
        charts: images, curves and bars next to the runs' names, instead of the table.
    """
    query = {"viewStateShareKey": view_id(profile, newest)} | ({"compareRunsMode": "CHART"} if charts else {})
    return f"{server}/#/experiments/{experiment}/runs?{urlencode(TRAINING | query)}"


def run_page(server: str, experiment: str, run: str) -> str:
    """Return the address of one run.

    >>> run_page("http://127.0.0.1:5000", "3", "abc")
    'http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning'
    """
    return f"{server}/#/experiments/{experiment}/runs/{run}?{urlencode(TRAINING)}"


def comparison_page(server: str, runs: Sequence[str], experiments: Sequence[str]) -> str:
    """Return the address where MLflow compares runs side by side.

    Args:
        server: where MLflow answers.
        runs: ids of the MLflow runs.
        experiments: ids of their experiments; repeated ones are dropped.
    """
    query = {"runs": json.dumps(list(runs)), "experiments": json.dumps(list(dict.fromkeys(experiments)))}
    return f"{server}/#/compare-runs?{urlencode(query | TRAINING)}"
