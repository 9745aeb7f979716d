"""The command `doctor`."""

from __future__ import annotations

import click

from bench.cli.common import GlobalOptions


@click.command("doctor")
@click.pass_obj
def command(options: GlobalOptions) -> None:
    """Show versions, devices, metric weights that are missing, and free disk space."""
    from bench.tools.doctor import print_report

    print_report(options.load())
