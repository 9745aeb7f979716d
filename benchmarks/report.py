"""Time a report of synthetic runs, and its charts beside matplotlib's: `python -m benchmarks.report`.

The charts of a few runs' losses are drawn both ways, each as SVG and as PNG: by the report's own writer and rasteriser,
and one by one by matplotlib as the report did before. One thread, processor time, medians, in turn in one run: read the
ratio. Then the whole report is rendered: its wall time and its processor time (with that of the processes that it
starts), and the page's size; the papers' figures are among it where the datasets are built. The command fails where the
page is larger than 10 MB.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks._side_by_side import processor_seconds
from reports import render
from reports.figures import charts, line_plots
from reports.page.sections import drawn_figures
from tests import make_scores

LARGEST = 10_000_000
"""Bytes of a page that can still be sent."""


def ours(losses: pd.DataFrame, path: Path) -> None:
    """The losses of one run as SVG and PNG, as the report draws them."""
    line_plots.run_losses(losses, "Losses", path)
    charts.rasterise(path.with_name(f"{path.name}.svg"))


def matplotlibs(losses: pd.DataFrame, path: Path) -> None:
    """The same curves as SVG and PNG by matplotlib."""
    figure, axes = line_plots.canvas(2.6, "Losses", "step", "loss")
    for i, ((_, name), rows) in enumerate(losses.groupby(["player", "name"], sort=False)):
        steps, values = (line_plots.thin(rows[column].to_numpy(float)) for column in ("step", "value"))
        axes.plot(steps, values, color=charts.COLOURS[i], linewidth=1.2, label=name)
    axes.set_yscale("log")
    line_plots.plain(axes.yaxis)
    for step, phase in line_plots.switches(losses):
        axes.axvline(step, color="#6b6f76", linestyle="--", linewidth=1)
        axes.text(step, 1, f" {phase}", fontsize=7, va="top", transform=axes.get_xaxis_transform())
    line_plots.legend(axes)
    line_plots.save(figure, path)


def processor() -> float:
    """Processor time of this process and of those that it started and waited for, seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Print the ratio of both ways to draw, then what the whole report takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=750, help="evaluations of the synthetic store, 1 to 750")
    parser.add_argument(
        "--data", type=Path, default=Path("data/sample"), help="built datasets, for the papers' figures"
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed drawings of a chart each way")
    options = parser.parse_args()
    if not 1 <= options.runs <= 750 or options.repeats < 1:
        parser.error("the runs must be 1 to 750, the repeats at least 1")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        specs = make_scores.hundreds()[: options.runs]
        make_scores.write(root / "scores", specs, steps=300)
        losses = pd.read_parquet(next((root / "scores").glob("*/losses.parquet")))
        both = [partial(draw, losses, root / "chart") for draw in (ours, matplotlibs)]
        fast, slow = processor_seconds(both, options.repeats)
        print(f"a chart as SVG and PNG: ours {1000 * fast:.1f} ms, matplotlib {1000 * slow:.1f} ms, {slow / fast:.1f}x")
        started, before = time.perf_counter(), processor()
        summary = render.render(
            root / "scores",
            root / "out",
            profile="sample",
            resolve=lambda record: {"run_id": record["provenance"]["mlflow_run"], "experiment_id": "1"},
            extras=[drawn_figures(options.data)],
        )
        print(
            f"{summary.evaluations} runs, {len(summary.tables)} tables, {summary.figures} figures: "
            f"{time.perf_counter() - started:.1f} s, {processor() - before:.1f} s of processors, "
            f"page {summary.page_bytes / 1e6:.2f} MB"
        )
        if summary.page_bytes > LARGEST:
            sys.exit(f"the page has {summary.page_bytes} bytes, at most {LARGEST} was expected")


if __name__ == "__main__":
    main()
