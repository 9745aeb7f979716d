"""Figures: loss curves, quality against cost and by severity, comparisons of images, and the inside of a network.

Charts are SVG (`plots`), whose PNGs `plots.rasterise` makes; comparisons and insides are written as both at once, and
`canvas` and `save` draw with matplotlib, without a display, what is no such chart.
"""

from __future__ import annotations

import base64
import html
import io
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
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
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from bench.contracts import DataError
from reports.plots import COLOURS, Series, chart, save_chart

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
"""What matplotlib calls its markers."""
POINTS = 125
"""Points of a drawn curve; longer ones are averaged down to this."""
NAMED = 24
"""The most runs that a chart names beside the Pareto front: more can be neither told apart nor read."""
GREY = 7
"""The number of the colour of what is not named."""
BINS = 6
"""The most groups of a severity: with more, each would hold few images."""
TILE = 300
"""Width of an image in a grid, pixels."""
BOX, SECOND = "#ff2d55", "#1e90ff"
"""Colours of the boxes of a comparison."""
PICTURE = 640
"""Width at most of an image on the page, pixels."""
INSIDE = 200
"""Width of a tile in a figure of a network's inside, pixels."""
BAR = 15
"""Height of a weight's bar there, with its gap."""


Window = tuple[float, float, float, float]
"""A part of an image as fractions of it: left, top, width, height."""


@dataclass(frozen=True)
class Tile:
    """One image of a comparison: the whole and its enlarged detail, both as they are shown in the figure.

    Args:
        anchor: the evaluation whose part of the page tells of it; "" where there is none.
        picture: the image as large as the page may show it; None is the whole.
        second: the detail in the second box, where there is one.
    """

    label: str
    whole: Image.Image
    detail: Image.Image
    anchor: str = ""
    picture: Image.Image | None = None
    second: Image.Image | None = None

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """The whole and each detail as JPEG inside an address, for the figure."""
        return tuple(data_uri(jpeg(one), "jpeg") for one in (self.whole, self.detail, self.second) if one is not None)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Input, restored images and target of one test image.

    Args:
        rule: why this image: median, worst or by hand.
        window: the detail as fractions of the image: left, top, width, height.
        second: a second detail, where one is shown.
        size: width and height of the images, pixels.
        left_out: further runs that show this image, for which there was no room.
    """

    title: str
    rule: str
    image: str
    tiles: tuple[Tile, ...]
    window: Window
    second: Window | None = None
    size: tuple[int, int] = (TILE, TILE)
    left_out: int = 0

    @property
    def windows(self) -> tuple[Window, ...]:
        """The one detail, or both."""
        return (self.window,) if self.second is None else (self.window, self.second)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that stands inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def webp(image: Image.Image, width: int = 0) -> bytes:
    """An image as WebP of quality 72, made narrower where it is wider than `width` pixels."""
    if 0 < width < image.width:
        size = (width, max(1, round(width * image.height / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=72, method=2)
    return out.getvalue()


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


def loss_curves(runs: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, path: Path) -> str:
    """All trained runs of one dataset and task, each loss over its own first value, as their scales differ.

    Args:
        runs: label, and the steps and values of `curve`.
    """
    shown = []
    for i, (label, steps, values) in enumerate(runs):
        first = values[np.flatnonzero(values)[0]] if values.any() else 1.0
        shown.append(Series(label, steps, values / first, i))
    return save_chart(chart(title, ("step", "loss / its first value"), shown, whole=True), path)


def run_losses(losses: pd.DataFrame, title: str, path: Path, watched: Collection[str] = ()) -> str:
    """Every loss of one training by step; a change of phase is a dashed line with the phase's name.

    Args:
        watched: names of losses that no player lowers, drawn dashed.
    """
    several = losses["player"].nunique() > 1
    shown = []
    for i, ((player, name), rows) in enumerate(losses.groupby(["player", "name"], sort=False)):
        label = (f"{player}: {name}" if several else str(name)) + " (watched)" * (name in watched)
        steps, values = thin(rows["step"].to_numpy(float)), thin(rows["value"].to_numpy(float))
        shown.append(Series(label, steps, values, i % len(COLOURS), dashed=name in watched))
    drawn = chart(
        title, ("step", "loss"), shown, log=(False, True), whole=True, height=150, verticals=switches(losses)
    )  # fmt: skip
    return save_chart(drawn, path)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points no other beats: none is cheaper (the first number) and as good, or better and as cheap.

    Returns:
        their positions, the cheapest first; equal points are all members.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    found: list[int] = []
    for i in order:
        if not found or points[i][1] > points[found[-1]][1] or points[i] == points[found[-1]]:
            found.append(i)
    return found


def scatter(
    measured: Sequence[tuple[str, float, float]],
    printed: Sequence[tuple[str, float, float]],
    title: str,
    path: Path,
    cost: str = "parameters (M)",
) -> str:
    """PSNR against a cost: measured points filled, published ones hollow, those of the measured Pareto front ringed.

    Beyond the front and the NAMED best, points share one colour and one name.

    Args:
        measured: label, cost and PSNR in dB.
        printed: the same.
        cost: its name and unit.
    """
    front = pareto([(x, y) for _, x, y in measured])
    best = sorted(range(len(measured)), key=lambda i: -measured[i][2])[:NAMED]
    named = sorted({*front, *best})
    others = [one for i, one in enumerate(measured) if i not in named]
    numbers = [number for number in range(2 * len(named)) if number % len(COLOURS) != GREY or not others]
    shown = [
        Series(
            label, np.array([x]), np.array([y]), number, "points", tips=[f"{label}: {x:.4g}, {y:.2f} dB"],
            ringed=[0] if i in front else [],
        )
        for number, i in zip(numbers, named, strict=False)
        for label, x, y in [measured[i]]
    ]  # fmt: skip
    if others:
        tips = [f"{label}: {x:.4g}, {y:.2f} dB" for label, x, y in others]
        x, y = (np.array([one[column] for one in others], float) for column in (1, 2))
        shown.insert(0, Series(f"{len(others)} further runs", x, y, GREY, "points", tips=tips))
    x, y = (np.array([measured[i][column] for i in front], float) for column in (1, 2))
    shown += [Series("Pareto front of the measured (ringed)", x, y, look="front")]
    shown += [
        Series(f"{label}, published", np.array([x]), np.array([y]), i, "hollow", tips=[f"{label}, published: {y:g} dB"])
        for i, (label, x, y) in enumerate(printed)
    ]
    return save_chart(chart(title, (cost, "PSNR (dB)"), shown, log=(True, False), margin=0.1), path)


def groups_of(values: np.ndarray, most: int = BINS) -> np.ndarray:
    """Deal severities into at most `most` groups: one a value, or else groups of about as many images each.

    Args:
        values: (N,), one an image and condition; equal values stay together.

    Returns:
        (N,) the group of each, from 0 up.
    """
    distinct, position = np.unique(values, return_inverse=True)
    if len(distinct) <= most:
        return position
    before = np.cumsum(np.bincount(position)) - np.bincount(position)  # images that are milder
    found = before * most // len(values)
    return np.unique(found[position], return_inverse=True)[1]


def by_severity(
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: tuple[str, str],
    title: str,
    path: Path,
) -> str:
    """Quality by the severity of the degradation: a curve a run, a point the mean of a group of images.

    Above each group stands how many images one run has in it.

    Args:
        runs: label to the severities (N,) and the values (N,) of its images.
        names: of the severity and of the metric, with their units.
    """
    every = np.concatenate([severities for severities, _ in runs.values()])
    dealt = groups_of(every)
    edges = [every[dealt == k].min() for k in range(dealt.max() + 1)]
    shown: list[Series] = []
    counts: dict[int, tuple[float, int]] = {}
    for i, (label, (severities, values)) in enumerate(runs.items()):
        mine = np.searchsorted(edges, severities, side="right") - 1
        bins = [k for k in range(len(edges)) if (mine == k).any()]
        x = np.array([severities[mine == k].mean() for k in bins])
        y = np.array([values[mine == k].mean() for k in bins])
        sizes = [int((mine == k).sum()) for k in bins]
        tips = [f"{label}: {b:.4g} at {a:.4g}, {n} images" for a, b, n in zip(x, y, sizes, strict=True)]
        shown.append(Series(label, x, y, i, "both", tips=tips))
        for k, place, size in zip(bins, x, sizes, strict=True):
            counts.setdefault(k, (float(place), size))
    texts = [(place, f"n={size}") for place, size in counts.values()]
    return save_chart(chart(title, names, shown, counts=texts, margin=0.05), path)


# Comparisons ----------------------------------------------------------------------------------------------------------


def read_image(path: Path) -> Image.Image:
    """Read an image as 8-bit RGB; 16-bit ones lose their low byte. Raises DataError when it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); evaluate the run again") from error


def worst_window(
    given: Image.Image, target: Image.Image, apart: tuple[int, int, int, int] | None = None
) -> tuple[int, int, int, int]:
    """The window of the largest input error: left, top, width and height in pixels.

    Its sides are a quarter of the image's, at least 32 pixels or all of a smaller image; the error is the mean absolute
    difference of input and target. An input of another size than its target has its window in the middle.

    Args:
        apart: a window that this one must not touch, where there is room beside it.
    """
    width, height = target.size
    w, h = min(width, max(32, width // 4)), min(height, max(32, height // 4))
    if given.size != target.size:
        return (width - w) // 2, (height - h) // 2, w, h
    error = np.abs(np.asarray(given, float) - np.asarray(target, float)).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # a sum over any window is four look-ups
    sums = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    if apart is not None:
        sums[max(0, apart[1] - h + 1) : apart[1] + apart[3], max(0, apart[0] - w + 1) : apart[0] + apart[2]] = -1
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(left), int(top), w, h


def part(image: Image.Image, window: Window) -> Image.Image:
    """A part of an image, enlarged to the size of a tile."""
    width, height = image.size
    left, top, w, h = window
    box = (left * width, top * height, (left + w) * width, (top + h) * height)
    return image.resize((TILE, max(1, round(TILE * height / width))), Image.Resampling.BICUBIC, box)


def tile(label: str, image: Image.Image, window: Window, anchor: str = "", second: Window | None = None) -> Tile:
    """An image at the width of a tile, and its windows enlarged to the same size."""
    width, height = image.size
    whole = image.resize((TILE, max(1, round(TILE * height / width))), Image.Resampling.LANCZOS)
    picture = image
    if width > PICTURE:
        picture = image.resize((PICTURE, max(1, round(PICTURE * height / width))), Image.Resampling.LANCZOS)
    return Tile(label, whole, part(image, window), anchor, picture, part(image, second) if second else None)


def compare(
    title: str,
    rule: str,
    name: str,
    given: Path,
    restored: Sequence[tuple[str, str, Path]],
    target: Path,
    anchor: str = "",
    boxes: int = 1,
    left_out: int = 0,
) -> Comparison:
    """Make the tiles of one test image.

    Args:
        restored: label, evaluation and file of each method.
        anchor: the evaluation of the input as it is, where one was run.
        boxes: windows to enlarge, 1 or 2: the largest input error, and the largest apart from it.
        left_out: runs for which there was no room.

    Raises:
        DataError: an image that cannot be read.
    """
    first, last = read_image(given), read_image(target)
    width, height = last.size
    found = [worst_window(first, last)]
    if boxes == 2 and found[0][2:] != last.size:
        found.append(worst_window(first, last, found[0]))
    windows = [(left / width, top / height, w / width, h / height) for left, top, w, h in found]
    window, second = windows[0], windows[1] if len(windows) > 1 else None
    tiles = [tile("input", first, window, anchor, second)]
    tiles += [tile(label, read_image(path), window, anchor, second) for label, anchor, path in restored]
    tiles.append(tile("target", last, window, "", second))
    return Comparison(title, rule, name, tuple(tiles), window, second, last.size, left_out)


def layout(comparison: Comparison) -> tuple[int, int, int]:
    """Columns, and width and height of a tile with its label, details and gaps."""
    columns = min(6, len(comparison.tiles))
    rows = 1 + len(comparison.windows)
    return columns, TILE + 10, rows * (comparison.tiles[0].whole.height + 4) + 28


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Write the grid as `path`.png and `path`.svg: each image whole with its boxes, the enlarged details below it."""
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
    colours = (BOX, SECOND)
    for i, one in enumerate(comparison.tiles):
        x, y = 10 + i % columns * wide, 36 + i // columns * high
        height = one.whole.height
        draw.text((x, y), one.label, fill="black", font=small)
        svg.append(f'<text x="{x}" y="{y + 15}" font-size="14">{html.escape(one.label)}</text>')
        pictures = [shown for shown in (one.whole, one.detail, one.second) if shown is not None]
        for k, (shown, address) in enumerate(zip(pictures, one.addresses, strict=True)):
            down = y + 20 + k * (height + 4)
            sheet.paste(shown, (x, down))
            svg.append(f'<image x="{x}" y="{down}" width="{TILE}" height="{height}" href="{address}"/>')
        boxes = [(x, y + 20, window, colour) for window, colour in zip(comparison.windows, colours, strict=False)]
        if len(boxes) > 1:  # so that one sees which detail is whose
            boxes += [(x, y + 20 + (k + 1) * (height + 4), (0.0, 0.0, 1.0, 1.0), colours[k]) for k in range(len(boxes))]
        for across, down, window, colour in boxes:
            left, top, w, h = (round(part * side) for part, side in zip(window, (TILE, height) * 2, strict=True))
            draw.rectangle((across + left, down + top, across + left + w - 1, down + top + h - 1), None, colour, 2)
            svg.append(
                f'<rect x="{across + left}" y="{down + top}" width="{w}" height="{h}" fill="none" stroke="{colour}" '
                'stroke-width="2"/>'
            )
    sheet.save(path.with_name(f"{path.name}.png"), compress_level=1)  # photographs hardly shrink more
    path.with_name(f"{path.name}.svg").write_text("\n".join([*svg, "</svg>"]), encoding="utf-8")


# Insides --------------------------------------------------------------------------------------------------------------


def enlarged(shown: Image.Image) -> Image.Image:
    """A map at the width of a tile: a smaller one without blending its pixels."""
    way = Image.Resampling.NEAREST if shown.width < INSIDE else Image.Resampling.LANCZOS
    return shown.resize(inside_size(shown), way)


def inside_size(shown: Image.Image | Sequence[float]) -> tuple[int, int]:
    """Width and height of a tile in pixels."""
    if isinstance(shown, Image.Image):
        return INSIDE, max(1, round(INSIDE * shown.height / shown.width))
    return INSIDE, BAR * len(shown)


class Sketch:
    """A drawing that is made as pixels and as SVG at once: words, images and bars at places in pixels."""

    def __init__(self, width: int, height: int):
        self.sheet = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.sheet)
        self.svg = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
        ]

    def words(self, x: float, y: float, text: str, size: int = 10, end: bool = False) -> None:
        """Write `text` on the line y, from x or, with `end`, up to x."""
        self.draw.text((x, y), text, fill="black", font=ImageFont.load_default(size), anchor="rs" if end else "ls")
        anchor = ' text-anchor="end"' if end else ""
        self.svg.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}"{anchor}>{html.escape(text)}</text>')

    def image(self, x: int, y: int, shown: Image.Image) -> None:
        """Put a map at the width of a tile."""
        tile = enlarged(shown)
        self.sheet.paste(tile, (x, y))
        out = io.BytesIO()
        small = shown if shown.width < INSIDE else tile
        small.save(out, "PNG", compress_level=1)
        crisp = ' style="image-rendering:pixelated" preserveAspectRatio="none"' if small is shown else ""
        address = data_uri(out.getvalue(), "png")
        self.svg.append(f'<image x="{x}" y="{y}" width="{tile.width}" height="{tile.height}"{crisp} href="{address}"/>')

    def bars(self, x: int, y: int, weights: Sequence[float]) -> None:
        """Draw weights as bars from the first down, each with its number and its value."""
        longest = max((abs(value) for value in weights), default=0) or 1.0
        room = INSIDE - 70  # beside the bar stand its number and its value
        for i, value in enumerate(weights):
            length, top = round(room * abs(value) / longest), y + BAR * i + 2
            colour = COLOURS[0] if value >= 0 else BOX
            if length:
                self.draw.rectangle((x + 18, top, x + 17 + length, top + BAR - 5), fill=colour)
            self.svg.append(f'<rect x="{x + 18}" y="{top}" width="{length}" height="{BAR - 4}" fill="{colour}"/>')
            self.words(x + 14, top + 9, str(i + 1), 9, end=True)
            self.words(x + 22 + length, top + 9, f"{value:.3g}", 9)

    def save(self, path: Path) -> None:
        """Write `path`.png and `path`.svg."""
        self.sheet.save(path.with_name(f"{path.name}.png"), compress_level=1)
        path.with_name(f"{path.name}.svg").write_text("\n".join([*self.svg, "</svg>"]), encoding="utf-8")


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
    sketch = Sketch(width, height)
    sketch.words(12, 22, title, 13)
    y = 34
    for row, lines, head, size in zip(rows, names, heads, sizes, strict=True):
        for i, ((_, shown), words) in enumerate(zip(row, lines, strict=True)):
            x = 12 + i * (INSIDE + 12)
            for k, line in enumerate(reversed(words)):
                sketch.words(x, y + head - 5 - 12 * k, line)
            if isinstance(shown, Image.Image):
                sketch.image(x, y + head, shown)
            else:
                sketch.bars(x, y + head, shown)
        y += head + size + 10
    sketch.save(path)
    return sketch.sheet
