"""Empty matplotlib plots, and their files: for the figures of searches, which need more than plain charts."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def canvas(height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot of `height` inches with title, axis names and a pale grid; it needs no display.

    The margins are fixed, with room for a legend on the right: automatic layout costs more than all the drawing.
    """
    figure = Figure(figsize=(7.0, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.48 / height, 0.6, 1 - 0.8 / height))
    axes.set_title(title, fontsize=10, loc="left", x=-0.13, y=1.02)  # a fixed y saves matplotlib the search for one
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, left=False, bottom=False)  # the grid shows them
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend(axes: Axes) -> None:
    """Draw the names of the lines to the right of the plot."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=7, frameon=False)


def save(figure: Figure, path: Path) -> str:
    """Write `path`.png and `path`.svg, the same bytes for the same data. Returns the SVG."""
    svg_file = path.with_name(f"{path.name}.svg")
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        png_file = path.with_name(f"{path.name}.png")
        figure.savefig(png_file, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
        figure.savefig(svg_file, metadata={"Date": None})
    return svg_file.read_text(encoding="utf-8")
