"""The command `verify`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("verify")
@click.argument("dataset")
@click.option(
    "--originals", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the official files."
)
@click.option("--partial", is_flag=True, help="Accept fewer files than the official count.")
@click.option("--option", multiple=True, metavar="NAME=VALUE", help="Override an option of params.yaml. Repeatable.")
@click.pass_obj
def command(options: GlobalOptions, dataset: str, originals: Path, partial: bool, option: tuple[str, ...]) -> None:
    """Check downloaded files: layout, counts, sizes, depth; every file is read completely.

    \b
    Example:
      python -m bench verify gopro --originals originals/gopro
    """
    from bench import registry
    from bench.cli.dataset_job import counts_text, images_text, make_job, pictures_per_split
    from bench.data.build import verify

    images = [
        (item.split, item.source) for item in verify(make_job(options.load(), dataset, originals, partial, option))
    ]
    print(f"{dataset}: {images_text(images)}: layout, sizes and depth are right, every file can be read")
    official = registry.dataset(dataset).counts
    if partial and pictures_per_split(images) != official:
        print(f"partial: the official counts are {counts_text(official)}")
