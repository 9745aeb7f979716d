"""The report stage: bring every evaluation into MLflow, render the report of all of them, and check it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import folders
from bench.contracts import UserError
from bench.files import only_writer
from bench.params.resolving import evaluation
from bench.params.schema import Params
from bench.record import RECORD, Record, read_record
from bench.tracking import store, uploads
from bench.tracking.views import set_up_experiment
from reports.scores.reading import lacks_commit

if TYPE_CHECKING:
    from mlflow import MlflowClient


def report(params: Params) -> Path:
    """Render tables, figures and the page of the chosen profile, check every cell and link, and return the page.

    Raises:
        UserError: nothing was scored yet, a measured cell has no link to its run, or another process renders this
            report.
    """
    out = Path(params.paths.reports, params.profile)
    with only_writer(out, "rendering the report"):
        _report(params, out)
    return out / "index.html"


def _report(params: Params, out: Path) -> None:
    """Do what `report` does, into the folder `out`."""
    from reports.checks.check import check
    from reports.page.appendices import figure_appendices, search_appendices
    from reports.page.render import render

    root = folders.scores_folder(params)
    evaluated = sorted(path.parent for path in root.glob(f"[!.]*/{RECORD}"))
    if not evaluated:
        raise UserError(f"{root}: nothing was scored yet; run: dvc repro")
    _warn_of_records_without_commit(evaluated)
    client = store.connect(params.tracking)
    mlflow_runs = {folder.name: mlflow_run(client, uploads.sync(client, folder)) for folder in evaluated}
    for task in dict.fromkeys(read_record(folder / RECORD).task for folder in evaluated):
        set_up_experiment(client, task, params.profile, evaluation(params).cost_size)

    def resolve(record: Record) -> dict[str, str]:
        return mlflow_runs[record.evaluation]

    appendices = [
        search_appendices(folders.search_folder(params)),
        figure_appendices(Path(params.paths.data, params.profile)),
    ]
    render(root, out, profile=params.profile, resolve=resolve, appendices=appendices)
    check(out, root, profile=params.profile, experiment_of=partial(store.experiment_of, client))


def _warn_of_records_without_commit(evaluated: Sequence[Path]) -> None:
    """Warn of evaluations without a commit, which the report does not compare with printed numbers."""
    count = sum(lacks_commit(read_record(folder / RECORD)) for folder in evaluated)
    if count:
        warnings.warn(
            f"{count} of {len(evaluated)} evaluations have no git commit: they are marked so, and their verdict is "
            "'not comparable'; train and evaluate them in a clone of the repository to have verdicts",
            stacklevel=2,
        )


def mlflow_run(client: MlflowClient, run_id: str) -> dict[str, str]:
    """The facts of an MLflow run that make its address: ids, name, and the server where the store has one."""
    with store.explained_errors(client.tracking_uri):
        run = client.get_run(run_id)
    server = {"server": client.tracking_uri.rstrip("/")} if client.tracking_uri.startswith("http") else {}
    return server | {"run_id": run_id, "experiment_id": run.info.experiment_id, "name": run.info.run_name}
