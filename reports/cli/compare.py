"""The command `compare`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--metric", default="", metavar="ID", help="Compare one metric; default: all that every run has.")
@click.option("--on", default="", metavar="DATASET", help="Compare the runs' evaluations on another dataset.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also write a plot: .png, .svg or .pdf.")
@click.pass_obj
def command(options: GlobalOptions, runs: tuple[str, ...], metric: str, on: str, out: Path | None) -> None:
    """Compare two or more evaluated runs image by image; the first is the reference.

    Prints means, paired differences with their intervals, corrected p-values, wins and losses, the images that differ
    most, and a plot.

    \b
    Examples:
      python -m bench compare mrfnet-gopro dmphn-gopro
      python -m bench compare mrfnet-gopro dmphn-gopro --metric ssim-gauss11 --out ssim.png
    """
    from bench.files import need_writable
    from bench.folders import scores_folder
    from reports.figures import compare

    params = options.load()
    if out:
        compare.check_output(out)
        need_writable(out.parent)
    evaluations = compare.find(scores_folder(params), params.profile, runs, on.replace("_", "-"))
    comparison = compare.compare(evaluations, metric)
    plain = not sys.stdout.isatty() or "utf" not in (sys.stdout.encoding or "").lower()
    print(compare.text(comparison, plain), end="")
    if out:
        compare.save(comparison, out)
        print(f"-> {out}")
