"""Links of the page to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.tracking import addresses

DASHBOARD = f"http://127.0.0.1:{addresses.DASHBOARD_PORT}"
"""The address at which `python -m bench dashboard` serves the runs."""
MAX_COMPARED = 50
"""The most runs of a link: more give an address that servers refuse, and a view that no person can read."""


def run_address(run: Mapping[str, str]) -> str:
    """The page of an MLflow run: run_id, experiment_id, and server where it is not the dashboard."""
    return addresses.run_page(run.get("server") or DASHBOARD, run["experiment_id"], run["run_id"])


def comparison_address(runs: Sequence[Mapping[str, str]]) -> str:
    """MLflow's view that compares these runs, of one server; at most MAX_COMPARED of them."""
    runs = list({run["run_id"]: run for run in runs}.values())[:MAX_COMPARED]
    experiments = sorted({str(run["experiment_id"]) for run in runs})
    return addresses.comparison_page(runs[0].get("server") or DASHBOARD, [run["run_id"] for run in runs], experiments)
