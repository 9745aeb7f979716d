"""The report stage: every evaluation is brought into MLflow, then the report renders them all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench import runs
from bench.contracts import UserError
from bench.params.resolving import search_folder
from bench.params.schema import Params
from bench.tracking import store, uploads


def report(params: Params) -> Path:
    """Render tables, figures and the page of the chosen profile, check every cell and link of it; return the page.

    Raises:
        UserError: nothing was scored yet, or a measured cell cannot be led back to its run.
    """
    from reports.checks.check import check
    from reports.page.sections import drawn_figures, drawn_searches
    from reports.render import render

    root = runs.scores_folder(params)
    folders = sorted(path.parent for path in root.glob("[!.]*/record.json"))
    if not folders:
        raise UserError(f"{root}: nothing was scored yet; run: dvc repro")
    client = store.connect(params.tracking)
    links = {folder.name: _link(client, uploads.sync(client, folder)) for folder in folders}

    def resolve(record: Mapping[str, Any]) -> dict[str, str]:
        return links[record["evaluation"]]

    out = Path(params.paths.reports, params.profile)
    extras = [drawn_searches(search_folder(params)), drawn_figures(Path(params.paths.data, params.profile))]
    render(root, out, profile=params.profile, resolve=resolve, extras=extras)
    check(out, root, profile=params.profile, experiment_of=partial(store.experiment_of, client))
    return out / "index.html"


def _link(client: Any, run_id: str) -> dict[str, str]:
    with store.reached(client.tracking_uri):
        run = client.get_run(run_id)
    server = {"server": client.tracking_uri.rstrip("/")} if client.tracking_uri.startswith("http") else {}
    return server | {"run_id": run_id, "experiment_id": run.info.experiment_id, "name": run.info.run_name}
