"""The command `score`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("score")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, metavar="NAME", help="The built dataset whose test images were restored.")
@click.option("--label", required=True, metavar="LABEL", help="The row's name in the tables.")
@click.option("--task", default="", metavar="TASK", help="One of the dataset's tasks; default: its first.")
@click.pass_obj
def command(options: GlobalOptions, folder: Path, dataset: str, label: str, task: str) -> None:
    """Score a folder of images that any program has restored.

    FOLDER holds one PNG per test image, named <image>.png; `evaluate --save` shows the names.

    \b
    Example:
      python -m bench score my-results --dataset gopro --label mine
    """
    from bench.cli.means import print_means
    from bench.provenance import warn_without_commit
    from bench.scoring.predictions import score_folder

    warn_without_commit()
    print_means(score_folder(options.load(), folder, dataset.replace("_", "-"), label, task))
