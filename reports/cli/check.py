"""The command `check`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("check")
@click.argument("report", required=False, type=click.Path(path_type=Path), metavar="[REPORT]")
@click.option(
    "--deep",
    is_flag=True,
    help="First read every file of the profile's datasets, runs, scores and searches, and compare it with its recorded "
    "hash.",
)
@click.pass_obj
def command(options: GlobalOptions, report: Path | None, deep: bool) -> None:
    """Check that every number and link of a rendered report leads to its source.

    REPORT is the folder of a report; by default that of the profile.
    """
    from bench import folders, verification
    from bench.tracking import store
    from reports.checks.check import check, need_report

    params = options.load()
    if deep:
        print(f"{params.profile}: {verification.verify(params)}", flush=True)
    report = report or Path(params.paths.reports, params.profile)
    need_report(report)
    experiment_of = partial(store.experiment_of, store.connect(params.tracking))
    result = check(report, folders.scores_folder(params), profile=params.profile, experiment_of=experiment_of)
    print(f"{report}: {result}")
