"""The command `screenshots`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("screenshots")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write the pictures; default: out/<profile>/screenshots.",
)
@click.pass_obj
def command(options: GlobalOptions, out: Path | None) -> None:
    """Take pictures of the report and of MLflow's pages with a headless Chromium.

    Needs Chromium (on Debian: apt install chromium) and the packages of the extra `dev`.
    """
    from bench.tools.screenshots import screenshots

    for path in screenshots(options.load(), out):
        print(f"-> {path}")
