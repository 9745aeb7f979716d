"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import STAGE_NAME, GlobalOptions


@click.command("evaluate")
@click.argument("run", type=STAGE_NAME)
@click.option("--on", default="", metavar="DATASET", help="Score it on another dataset than its own.")
@click.option("--save", type=click.Path(path_type=Path), metavar="DIR", help="Write every restored image to DIR.")
@click.pass_obj
def command(options: GlobalOptions, run: str, on: str, save: Path | None) -> None:
    """Score a run, a chain or a transfer on the test images.

    \b
    Examples:
      python -m bench evaluate mrfnet-gopro
      python -m bench evaluate mrfnet-gopro --on kohler
      python -m bench evaluate mrfnet-gopro --save restored
    """
    from bench.cli.means import print_means
    from bench.provenance import warn_without_commit
    from bench.scoring.evaluate import evaluate

    warn_without_commit()
    print_means(evaluate(options.load(), run, on.replace("_", "-"), save))
