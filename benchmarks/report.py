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
import math
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks._side_by_side import processor_seconds
from reports.figures import charts, losses, matplotlib_canvas
from reports.figures.rasterising import rasterise
from reports.page import render
from reports.page.appendices import figure_appendices
from tests import make_scores

MAX_PAGE_BYTES = 10_000_000
"""The largest page that can still be sent by mail."""


def ours(rows: pd.DataFrame, path: Path) -> None:
    """Draw the losses of one run as SVG and PNG, as the report does."""
    losses.draw_run(rows, "Losses", path)
    rasterise(path.with_name(f"{path.name}.svg"))


def plain_ticks(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: powers of ten would go through the formula parser.

    A decade has one tick, or where there are few decades three or nine; minor ticks cost more than the curves.
    """
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=range(1, 10) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def with_matplotlib(rows: pd.DataFrame, path: Path) -> None:
    """Draw the same curves as SVG and PNG with matplotlib."""
    figure, axes = matplotlib_canvas.canvas(2.6, "Losses", "step", "loss")
    for i, ((_, name), curve) in enumerate(rows.groupby(["player", "name"], sort=False)):
        steps, values = (losses.thin(curve[column].to_numpy(float)) for column in ("step", "value"))
        axes.plot(steps, values, color=charts.COLOURS[i], linewidth=1.2, label=name)
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    for step, phase in losses.phase_changes(rows):
        axes.axvline(step, color="#6b6f76", linestyle="--", linewidth=1)
        axes.text(step, 1, f" {phase}", fontsize=7, va="top", transform=axes.get_xaxis_transform())
    matplotlib_canvas.legend(axes)
    matplotlib_canvas.save(figure, path)


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
        rows = pd.read_parquet(next((root / "scores").glob("*/losses.parquet")))
        both = [partial(draw, rows, root / "chart") for draw in (ours, with_matplotlib)]
        fast, slow = processor_seconds(both, options.repeats)
        print(f"a chart as SVG and PNG: ours {1000 * fast:.1f} ms, matplotlib {1000 * slow:.1f} ms, {slow / fast:.1f}x")
        started, before = time.perf_counter(), processor()
        summary = render.render(
            root / "scores",
            root / "out",
            profile="sample",
            resolve=lambda record: {"run_id": record.provenance.mlflow_run, "experiment_id": "1"},
            appendices=[figure_appendices(options.data)],
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
