"""The command `train`."""

from __future__ import annotations

import click

from bench.cli.common import STAGE_NAME, GlobalOptions


@click.command("train")
@click.argument("run", type=STAGE_NAME)
@click.pass_obj
def command(options: GlobalOptions, run: str) -> None:
    """Train a run of params.yaml, or continue it where it was stopped.

    \b
    Examples:
      python -m bench train mrfnet-gopro
      torchrun --nproc-per-node 4 -m bench train mrfnet-gopro      several processes or machines
    """
    from bench.provenance import warn_without_commit
    from bench.training.train import train

    warn_without_commit()
    train(options.load(), run)
