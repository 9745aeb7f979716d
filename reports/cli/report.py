"""The command `report`."""

from __future__ import annotations

import click

from bench.cli.common import GlobalOptions


@click.command("report")
@click.pass_obj
def command(options: GlobalOptions) -> None:
    """Render every table, every figure and the page from all scores.

    The scores are also logged to MLflow, and every number and link of the report is checked.
    """
    from reports.page.stage import report

    print(f"-> {report(options.load())}")
