"""The command `build`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import STAGE_NAME, GlobalOptions


@click.command("build")
@click.argument("dataset", type=STAGE_NAME)
@click.option(
    "--originals",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the official files. Default: originals/<dataset> in the profile `paper`, else the stand-in.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: data/<profile>/<dataset>.")
@click.option("--partial", is_flag=True, help="Accept fewer files; every row and table is then marked as partial.")
@click.option("--option", multiple=True, metavar="NAME=VALUE", help="Override an option of params.yaml. Repeatable.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes; default: one per usable core.")
@click.pass_obj
def command(
    options: GlobalOptions,
    dataset: str,
    originals: Path | None,
    out: Path | None,
    partial: bool,
    option: tuple[str, ...],
    jobs: int | None,
) -> None:
    """Build a dataset: degraded images, their targets and a manifest.

    An interrupted build continues with the same command.

    \b
    Examples:
      python -m bench build gopro
      python -m bench build gopro --originals originals/gopro
      python -m bench build places2 --originals originals/places2 --option num_train=100000 --partial
    """
    from bench import folders
    from bench.cli.dataset_job import images_text, make_job
    from bench.data import manifest
    from bench.data.build import build

    params = options.load()
    job = make_job(params, dataset, originals, partial, option)
    path = build(job, out or folders.data_folder(params, job.name), jobs)
    built = manifest.read(path.parent)
    images = list(zip(built.rows["split"], built.rows["source"], strict=True))
    origin = f"{built.about['origin']}{' (partial)' * built.about['partial']}"
    print(f"{dataset}: {images_text(images)} from {origin} -> {path}")
