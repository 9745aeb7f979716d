"""The command `describe`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("describe")
@click.argument("methods", nargs=-1, metavar="[METHOD]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="docs/methods",
    show_default=True,
    metavar="DIR",
    help="Where to write the pages.",
)
@click.pass_obj
def command(options: GlobalOptions, methods: tuple[str, ...], out: Path) -> None:
    """Write one page per method: what it is, readings of its paper, losses, runs, recipe, limits.

    The pages are made from docstrings, parameters and the networks themselves; do not edit them by hand. Without
    METHOD, all methods are described.
    """
    from bench.tools.method_pages import write

    for path in write(methods, options.params, out):
        print(f"-> {path}")
