"""The command `dashboard`."""

from __future__ import annotations

import click

from bench.cli.common import GlobalOptions
from bench.tracking.addresses import DASHBOARD_PORT


@click.command("dashboard")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DASHBOARD_PORT,
    show_default=True,
    metavar="N",
    help="The report links to the default.",
)
@click.option("--open", "browse", is_flag=True, help="Open the first page in the browser.")
@click.pass_obj
def command(options: GlobalOptions, port: int, browse: bool) -> None:
    """Serve MLflow on this machine's loopback address.

    Prints the pages worth opening. If MLFLOW_TRACKING_URI names a tracking server, prints that server's pages and
    starts nothing.

    \b
    Example:
      python -m bench dashboard --port 5001 --open
    """
    from bench.tools.dashboard import dashboard

    dashboard(options.load(), port, browse)
