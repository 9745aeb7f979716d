"""The command `restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("restore")
@click.argument("run")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to write the PNGs.")
@click.option(
    "--mask", type=click.Path(path_type=Path), metavar="FILE", help="White = hole; required by runs that fill holes."
)
@click.option(
    "--right",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="The right view of a dual-pixel pair; repeat it once per IMAGE, in the same order.",
)
@click.option(
    "--tile",
    type=int,
    default=0,
    metavar="PX",
    help="Side of the tiles in pixels, 64 or more; default: only large images are divided.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 takes half the time on hardware that supports it; results differ by less than 0.1 dB.",
)
@click.pass_obj
def command(
    options: GlobalOptions,
    run: str,
    images: tuple[Path, ...],
    out: Path,
    mask: Path | None,
    right: tuple[Path, ...],
    tile: int,
    precision: str,
) -> None:
    """Restore your own photographs, of any size, with a trained run.

    \b
    Examples:
      python -m bench restore mrfnet-gopro holiday.jpg --out restored
      python -m bench restore rn-places2 old.png --mask scratches.png --out restored
      python -m bench restore dpdnet-canon-dp a-left.png --right a-right.png --out restored
    """
    # Before torch is imported. A network may use the threads of two libraries in turn; idle threads of one must leave
    # their cores to the other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bench.scoring.photographs import Request, restore_files

    for path in restore_files(options.load(), Request(run, images, out, mask, right, tile, precision)):
        print(f"-> {path}")
