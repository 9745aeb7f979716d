"""Compare the speed of the report's charts with matplotlib's, and time a whole report: `python -m benchmarks.report`.

The chart of one run's losses is drawn both ways, as SVG and as PNG: by the report's own writer and rasteriser, and by
matplotlib. One thread, processor time, medians, both sides in turn in one run. The ratio can be compared between
machines, the times cannot.

Then a report of synthetic runs is rendered: its wall time, its processor time (that of its child processes included)
and the size of the page. The papers' figures are part of it where the datasets are built. The command fails when the
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

MAX_PAGE_BYTES = 10_000_000
"""The largest page that can still be sent by mail."""


def ours(losses: pd.DataFrame, path: Path) -> None:
    """Draw the losses of one run as SVG and PNG, as the report does."""
    line_plots.run_losses(losses, "Losses", path)
    charts.rasterise(path.with_name(f"{path.name}.svg"))


def matplotlibs(losses: pd.DataFrame, path: Path) -> None:
    """Draw the same curves as SVG and PNG by matplotlib."""
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
    """Return the processor time of this process and of its finished children, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Print the ratio of both ways to draw, then the time and size of a whole report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=750, help="evaluations of the synthetic store, 1 to 750")
    parser.add_argument(
        "--data", type=Path, default=Path("data/sample"), help="built datasets, for the papers' figures"
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed drawings of the chart each way")
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
        if summary.page_bytes > MAX_PAGE_BYTES:
            sys.exit(f"the page has {summary.page_bytes} bytes, expected at most {MAX_PAGE_BYTES}")


if __name__ == "__main__":
    main()
