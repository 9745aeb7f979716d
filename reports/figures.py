"""Figures: loss curves, PSNR against parameters, comparisons of restored images, and what happens inside a network.

Plots are drawn without a display. Every figure is a PNG and an SVG; comparisons are tiles for the page too.
"""

from __future__ import annotations

import base64
import html
import io
import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from bench.contracts import DataError

COLOURS = ("#2563a8", "#c2562d", "#2f8f5b", "#8a4fa3", "#b08a1e", "#1f8f9c", "#b43d6b", "#6b6f76", "#5a7d1f", "#4a4fb5")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
POINTS = 200
"""Points of a drawn curve; longer ones are averaged down to this."""
TILE = 300
"""Width of an image in a grid, pixels."""
BOX = "#ff2d55"
INSIDE = 200
"""Width of a tile in a figure of a network's inside, pixels."""
BAR = 15
"""Height of a weight's bar there, with its gap."""


@dataclass(frozen=True)
class Tile:
    """One image of a comparison: the whole and its enlarged detail, both as they are shown.

    Args:
        anchor: the evaluation whose part of the page tells of it; "" where there is none.
    """

    label: str
    whole: Image.Image
    detail: Image.Image
    anchor: str = ""

    @cached_property
    def addresses(self) -> tuple[str, str]:
        """Both as JPEG inside an address, for the figure and for the page."""
        return data_uri(jpeg(self.whole), "jpeg"), data_uri(jpeg(self.detail), "jpeg")


@dataclass(frozen=True)
class Comparison:
    """Input, restored images and target of one test image.

    Args:
        rule: why this image: median or worst.
        window: the detail as fractions of the image: left, top, width, height.
    """

    title: str
    rule: str
    image: str
    tiles: tuple[Tile, ...]
    window: tuple[float, float, float, float]


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that stands inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(image: Image.Image) -> bytes:
    """An image as JPEG of quality 82."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()


# Plots ----------------------------------------------------------------------------------------------------------------


def canvas(height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot of `height` inches with title, axis names and a quiet grid; it needs no display.

    The margins are set by hand, with room for a legend on the right: laying them out costs more than all the drawing.
    """
    figure = Figure(figsize=(7.0, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.48 / height, 0.6, 1 - 0.8 / height))
    axes.set_title(title, fontsize=10, loc="left", x=-0.13, y=1.02)  # a set y spares matplotlib the search for one
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, left=False, bottom=False)  # the grid shows them
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plain(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: powers of ten would pass through the formula parser.

    Each decade has one tick, or where they are few three or nine; minor ticks cost more than the curves.
    """
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=range(1, 10) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def legend(axes: Axes) -> None:
    """The names of the lines, right of the plot."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=7, frameon=False)


def save(figure: Figure, path: Path) -> bytes:
    """Write `path`.png and `path`.svg; the PNG's bytes come back for the page."""
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):  # the same scores, the same file
        figure.savefig(out, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    path.with_name(f"{path.name}.png").write_bytes(out.getvalue())
    return out.getvalue()


def thin(values: np.ndarray) -> np.ndarray:
    """Average a curve down to at most POINTS points; the first point is the first value."""
    if len(values) <= POINTS:
        return values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


def curve(losses: pd.DataFrame, watched: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What the restoring players lower, by step: their totals, or the sums of their losses; critics are left out.

    Args:
        watched: names of losses that no player lowers.
    """
    losses = losses[~losses["name"].isin(watched)]
    critics = losses["player"].str.contains("critic|discriminator")
    mine = losses if critics.all() else losses[~critics]
    rows = mine[mine["name"] == "total"] if (mine["name"] == "total").any() else mine
    sums = rows.groupby("step")["value"].sum()
    return thin(sums.index.to_numpy(float)), thin(sums.to_numpy(float))


def switches(losses: pd.DataFrame) -> list[tuple[float, str]]:
    """The first step of each phase after the first, and its name."""
    starts = losses.groupby("phase", sort=False)["step"].min().sort_values()
    return [(float(step), str(phase)) for phase, step in starts.items()][1:]


def loss_curves(runs: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, path: Path) -> bytes:
    """All trained runs of one dataset and task, each loss over its own first value, as their scales differ.

    Args:
        runs: label, and the steps and values of `curve`.
    """
    figure, axes = canvas(max(3.4, 0.16 * len(runs) + 0.9), title, "step", "loss / its first value")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for i, (label, steps, values) in enumerate(runs):
        first = values[np.flatnonzero(values)[0]] if values.any() else 1.0
        style = ("-", "--", ":")[i // len(COLOURS) % 3]
        axes.plot(steps, values / first, style, color=COLOURS[i % len(COLOURS)], linewidth=1.3, label=label)
    legend(axes)
    return save(figure, path)


def run_losses(losses: pd.DataFrame, title: str, path: Path, watched: Collection[str] = ()) -> bytes:
    """Every loss of one training by step; a change of phase is a dashed line with the phase's name.

    Args:
        watched: names of losses that no player lowers, drawn dashed.
    """
    figure, axes = canvas(2.6, title, "step", "loss")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    several = losses["player"].nunique() > 1
    smallest = math.inf
    for i, ((player, name), rows) in enumerate(losses.groupby(["player", "name"], sort=False)):
        values = thin(rows["value"].to_numpy(float))
        smallest = min(smallest, values.min())
        label = (f"{player}: {name}" if several else str(name)) + " (watched)" * (name in watched)
        steps = thin(rows["step"].to_numpy(float))
        style = "--" if name in watched else "-"
        axes.plot(steps, values, style, color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=label)
    if smallest > 0:
        axes.set_yscale("log")
        plain(axes.yaxis)
    for step, phase in switches(losses):
        axes.axvline(step, color="#6b6f76", linestyle="--", linewidth=1)
        axes.text(step, 1, f" {phase}", fontsize=7, color="#6b6f76", va="top", transform=axes.get_xaxis_transform())
    legend(axes)
    return save(figure, path)


def scatter(
    measured: Sequence[tuple[str, float, float]], printed: Sequence[tuple[str, float, float]], title: str, path: Path
) -> bytes:
    """PSNR against parameters: measured points filled, published ones hollow.

    Args:
        measured: label, parameters in millions, PSNR in dB.
        printed: the same.
    """
    figure, axes = canvas(max(3.6, 0.16 * (len(measured) + len(printed)) + 0.9), title, "parameters (M)", "PSNR (dB)")
    for i, (label, params, psnr) in enumerate(measured):
        marker = MARKERS[i // len(COLOURS) % len(MARKERS)]
        axes.plot(params, psnr, marker, color=COLOURS[i % len(COLOURS)], markersize=7, label=label)
    for i, (label, params, psnr) in enumerate(printed):
        marker, colour = MARKERS[i % len(MARKERS)], COLOURS[i // len(MARKERS) % len(COLOURS)]
        axes.plot(params, psnr, marker, markerfacecolor="none", color=colour, markersize=6, label=f"{label}, published")
    axes.set_xscale("log")
    axes.margins(0.12)
    plain(axes.xaxis)
    legend(axes)
    return save(figure, path)


# Comparisons ----------------------------------------------------------------------------------------------------------


def read_image(path: Path) -> Image.Image:
    """Read an image as 8-bit RGB; 16-bit ones lose their low byte. Raises DataError when it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); evaluate the run again") from error


def worst_window(given: Image.Image, target: Image.Image) -> tuple[int, int, int, int]:
    """The window of the largest input error: left, top, width and height in pixels.

    Its sides are a quarter of the image's, at least 32 pixels or all of a smaller image; the error is the mean absolute
    difference of input and target. An input of another size than its target has its window in the middle.
    """
    width, height = target.size
    w, h = min(width, max(32, width // 4)), min(height, max(32, height // 4))
    if given.size != target.size:
        return (width - w) // 2, (height - h) // 2, w, h
    error = np.abs(np.asarray(given, float) - np.asarray(target, float)).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # a sum over any window is four look-ups
    sums = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(left), int(top), w, h


def tile(label: str, image: Image.Image, window: tuple[float, float, float, float], anchor: str = "") -> Tile:
    """An image at the width of a tile, and its window enlarged to the same size.

    Args:
        window: fractions of the image: left, top, width, height.
    """
    width, height = image.size
    left, top, w, h = window
    size = (TILE, max(1, round(TILE * height / width)))
    box = (left * width, top * height, (left + w) * width, (top + h) * height)
    whole = image.resize(size, Image.Resampling.LANCZOS)
    return Tile(label, whole, image.resize(size, Image.Resampling.BICUBIC, box), anchor)


def compare(
    title: str,
    rule: str,
    name: str,
    given: Path,
    restored: Sequence[tuple[str, str, Path]],
    target: Path,
    anchor: str = "",
) -> Comparison:
    """Make the tiles of one test image.

    Args:
        restored: label, evaluation and file of each method.
        anchor: the evaluation of the input as it is, where one was run.

    Raises:
        DataError: an image that cannot be read.
    """
    first, last = read_image(given), read_image(target)
    width, height = last.size
    left, top, w, h = worst_window(first, last)
    window = (left / width, top / height, w / width, h / height)
    tiles = [tile("input", first, window, anchor)]
    tiles += [tile(label, read_image(path), window, anchor) for label, anchor, path in restored]
    return Comparison(title, rule, name, (*tiles, tile("target", last, window)), window)


def layout(comparison: Comparison) -> tuple[int, int, int]:
    """Columns, and width and height of a tile with its label, detail and gaps."""
    columns = min(6, len(comparison.tiles))
    return columns, TILE + 10, 2 * comparison.tiles[0].whole.height + 36


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Write the grid as `path`.png and `path`.svg: each image whole with its box, the enlarged detail below it."""
    columns, wide, high = layout(comparison)
    rows = -(-len(comparison.tiles) // columns)
    size = (columns * wide + 10, rows * high + 40)
    sheet = Image.new("RGB", size, "white")
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(16), ImageFont.load_default(14)
    draw.text((10, 8), comparison.title, fill="black", font=font)
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-family="sans-serif">',
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="10" y="24" font-size="16">{html.escape(comparison.title)}</text>',
    ]
    for i, one in enumerate(comparison.tiles):
        x, y = 10 + i % columns * wide, 36 + i // columns * high
        height = one.whole.height
        sheet.paste(one.whole, (x, y + 20))
        sheet.paste(one.detail, (x, y + height + 24))
        left, top, w, h = (round(part * side) for part, side in zip(comparison.window, (TILE, height) * 2, strict=True))
        draw.text((x, y), one.label, fill="black", font=small)
        draw.rectangle((x + left, y + 20 + top, x + left + w - 1, y + 20 + top + h - 1), outline=BOX, width=2)
        svg += [
            f'<text x="{x}" y="{y + 15}" font-size="14">{html.escape(one.label)}</text>',
            f'<image x="{x}" y="{y + 20}" width="{TILE}" height="{height}" href="{one.addresses[0]}"/>',
            f'<image x="{x}" y="{y + height + 24}" width="{TILE}" height="{height}" href="{one.addresses[1]}"/>',
            f'<rect x="{x + left}" y="{y + 20 + top}" width="{w}" height="{h}" fill="none" stroke="{BOX}" '
            'stroke-width="2"/>',
        ]
    sheet.save(path.with_name(f"{path.name}.png"), compress_level=3)  # photographs hardly shrink more
    path.with_name(f"{path.name}.svg").write_text("\n".join([*svg, "</svg>"]), encoding="utf-8")


# Insides --------------------------------------------------------------------------------------------------------------


def inside_tile(axes: Axes, shown: Image.Image | Sequence[float], x: float, y: float) -> None:
    """Draw an image, or weights as bars from the first down, with its upper left corner at (x, y) pixels."""
    if isinstance(shown, Image.Image):
        width, height = inside_size(shown)
        way = Image.Resampling.NEAREST if shown.width < width else Image.Resampling.LANCZOS
        pixels = np.asarray(shown.resize((width, height), way))
        axes.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto", interpolation="none")
        return
    longest = max((abs(value) for value in shown), default=0) or 1.0
    room = INSIDE - 70  # beside the bar stand its number and its value
    centres = [y + BAR * (i + 0.5) for i in range(len(shown))]
    lengths = [room * abs(value) / longest for value in shown]
    colours = [COLOURS[0] if value >= 0 else BOX for value in shown]
    axes.barh(centres, lengths, height=BAR - 4, left=x + 18, color=colours)
    for i, (value, centre, length) in enumerate(zip(shown, centres, lengths, strict=True), 1):
        axes.text(x + 14, centre, str(i), fontsize=6.5, ha="right", va="center")
        axes.text(x + 22 + length, centre, f"{value:.3g}", fontsize=6.5, va="center")


def inside_size(shown: Image.Image | Sequence[float]) -> tuple[int, int]:
    """Width and height of a tile in pixels."""
    if isinstance(shown, Image.Image):
        return INSIDE, max(1, round(INSIDE * shown.height / shown.width))
    return INSIDE, BAR * len(shown)


def save_insides(found: Sequence[tuple[str, Image.Image | Sequence[float]]], title: str, path: Path) -> Image.Image:
    """Write what happens inside a network as tiles below their names, and return the sheet.

    A map smaller than a tile is enlarged to it without blending its pixels; weights are bars, negative ones in red.

    Args:
        found: names, each with an image or with weights (K,).
    """
    columns = min(5, len(found))
    rows = [found[first : first + columns] for first in range(0, len(found), columns)]
    names = [[textwrap.wrap(name, 36) for name, _ in row] for row in rows]
    heads = [12 * max(map(len, row)) + 4 for row in names]
    sizes = [max(inside_size(shown)[1] for _, shown in row) for row in rows]
    width, height = max(columns, 3) * (INSIDE + 12) + 12, 34 + sum(heads) + sum(sizes) + 10 * len(rows)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(12, 18, title, fontsize=9, va="center")
    y = 34
    for row, lines, head, size in zip(rows, names, heads, sizes, strict=True):
        for i, ((_, shown), words) in enumerate(zip(row, lines, strict=True)):
            x = 12 + i * (INSIDE + 12)
            axes.text(x, y + head - 4, "\n".join(words), fontsize=6.5, va="bottom", linespacing=1.2)
            inside_tile(axes, shown, x, y + head)
        y += head + size + 10
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return Image.open(io.BytesIO(save(figure, path))).convert("RGB")
