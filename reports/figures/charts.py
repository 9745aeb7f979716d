"""Charts as SVG: lines and points, with a legend below. The page colours them; their files carry their own style.

A chart is a text of a few kB, drawn in about a millisecond, so that a page can hold one for each of hundreds of runs.
Curves are written in fifths of a pixel, each point relative to the previous one.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.figures.axes import Axis, axis_for
from reports.figures.images import data_uri
from reports.figures.rasterising import FONT_FAMILY

COLOURS = ("#2563a8", "#c2562d", "#2f8f5b", "#8a4fa3", "#b08a1e", "#1f8f9c", "#b43d6b", "#6b6f76", "#5a7d1f", "#4a4fb5")
"""Colours of the series, on a light background."""
DARK_COLOURS = (
    "#6fa8e8", "#f0906a", "#62c793", "#c592dc", "#dcb74a", "#55c5d2", "#ea7fa8", "#a5abb3", "#a0c75e", "#9196ee"
)  # fmt: skip
"""The same colours for a dark background."""
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 520, 56, 12, 30, 36
"""Pixels: the width of a chart, and the room around the plot area."""
PLOT_WIDTH = WIDTH - LEFT - RIGHT
LETTER, LINE = 11, 15
"""Height of a letter and of a line of text, pixels."""
FINE = 5
"""Steps of a curve per pixel."""
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-4-4h8v8h-8z",
    "M0-5l5 9h-10z",
    "M0-5l5 5l-5 5l-5-5z",
    "M0 5l5-9h-10z",
)
"""Circle, square, triangle, diamond and triangle: the next one after each round of the colours."""
LINE_LOOKS = ("line", "both", "front")
POINT_LOOKS = ("points", "hollow", "both")


@dataclass(frozen=True)
class Series:
    """The values that a chart shows under one name."""

    label: str
    """Its name in the legend; "" for a series without an entry there."""
    x: np.ndarray
    """(N,) values across, in the unit of the axis."""
    y: np.ndarray
    """(N,) values upwards, in the unit of the axis."""
    number: int = 0
    """Chooses colour, marker and dash; series of one number look the same."""
    look: str = "line"
    """"line", "points", "hollow" (points), "both" (a line with its points) or "front" (a grey dashed line)."""
    dashed: bool = False
    """Draw a dashed line, whatever the number."""
    tips: Sequence[str] = ()
    """The tooltip of each point; empty: the label."""
    ringed: Sequence[int] = ()
    """Positions of the points that get a ring."""

    @property
    def colour(self) -> int:
        """The position of its colour in COLOURS."""
        return self.number % len(COLOURS)

    @property
    def marker(self) -> str:
        """The path of its points."""
        return MARKERS[self.number // len(COLOURS) % len(MARKERS)]

    @property
    def line_class(self) -> str:
        """The class name of its line."""
        return "front" if self.look == "front" else f"s{self.colour}"

    @property
    def point_class(self) -> str:
        """The class names of its points."""
        return f"s{self.colour} o" if self.look == "hollow" else f"f{self.colour}"

    @property
    def dash(self) -> str:
        """The dash of its line as an attribute, in fifths of a pixel; "" for a solid line."""
        if self.dashed or self.look == "front":
            return ' stroke-dasharray="25 18"'
        dashes = ("", ' stroke-dasharray="40 12"', ' stroke-dasharray="9 12"')
        return dashes[self.number // len(COLOURS) % 3]


@dataclass(frozen=True)
class Plot:
    """A figure that is an SVG."""

    title: str
    """Its title, which is also its alternative text."""
    svg: str
    """A chart of `chart`, or another SVG."""

    @property
    def themed(self) -> bool:
        """Whether the page's own style colours it, as it does for `chart`."""
        return 'class="figure"' in self.svg.partition(">")[0]

    @property
    def address(self) -> str:
        """The SVG as an address: if inlined, the ids of another program's SVG could collide with the page's."""
        return data_uri(self.svg.encode(), "svg+xml")


# Elements of a chart --------------------------------------------------------------------------------------------------


def short(number: float) -> str:
    """A number with at most four digits.

    >>> short(0.123456), short(123456.7)
    ('0.1235', '123457')
    """
    return f"{number:.4g}" if abs(number) < 1e4 or abs(number) >= 1e6 else f"{number:.0f}"


def text(x: float, y: float, words: str, attributes: str = "") -> str:
    """A text at a place in pixels."""
    return f'<text x="{x:.4g}" y="{y:.4g}"{attributes and " " + attributes}>{html.escape(words)}</text>'


def trace(x: np.ndarray, y: np.ndarray) -> str:
    """The path of a curve through points in pixels, in steps of 1 / FINE; a value that is not finite leaves a gap.

    >>> trace(np.array([0.0, 10.0]), np.array([3.0, 1.2]))
    'M0 15l50-9'
    """
    known = np.isfinite(x) & np.isfinite(y)
    parts = []
    for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(known)) + 1):
        if len(run) and known[run[0]]:
            points = np.stack([np.rint(x[run] * FINE), np.rint(y[run] * FINE)], axis=1).astype(int)
            steps = np.diff(points, axis=0)
            steps = steps[steps.any(axis=1)]
            numbers = " ".join(map(str, steps.ravel())).replace(" -", "-")
            parts.append(f"M{points[0, 0]} {points[0, 1]}" + (f"l{numbers}" if numbers else "h0"))
    return "".join(parts)


def points_of(series: Series, x: np.ndarray, y: np.ndarray) -> str:
    """The points of a series with their tooltips, at places in pixels."""
    elements = []
    for i, (across, down) in enumerate(zip(x, y, strict=True)):
        if math.isfinite(across) and math.isfinite(down):
            tip = html.escape(series.tips[i] if series.tips else series.label)
            ring = '<circle class="ring" r="8"/>' if i in series.ringed else ""
            elements.append(
                f'<g transform="translate({across:.1f} {down:.1f})"><title>{tip}</title>{ring}'
                f'<path class="{series.point_class}" d="{series.marker}"/></g>'
            )
    return "".join(elements)


def line_and_points(series: Series, across: Axis, upwards: Axis) -> tuple[str, str]:
    """The line of a series, in fifths of a pixel, and its points, in pixels; either may be ""."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = across.place(series.x), upwards.length - upwards.place(series.y)
    line = ""
    if series.look in LINE_LOOKS:
        label = html.escape(series.label)
        line = f'<path class="{series.line_class}" d="{trace(x, y)}"{series.dash}><title>{label}</title></path>'
    return line, points_of(series, x, y) if series.look in POINT_LOOKS else ""


def legend_entry(series: Series, x: float, y: float, room: int) -> str:
    """One entry of the legend, `room` pixels wide."""
    letters = int((room - 32) / 5.9)
    label = series.label if len(series.label) <= letters else f"{series.label[: letters - 1]}…"
    sign = ""
    if series.look in LINE_LOOKS:
        sign = (
            f'<g transform="translate({x:g} {y - 4:g}) scale({1 / FINE})" class="lines">'
            f'<path class="{series.line_class}" d="M0 0h110"{series.dash}/></g>'
        )
    if series.look in POINT_LOOKS:
        place = f"translate({x + 11:g} {y - 4:g})"
        sign += f'<path transform="{place}" class="{series.point_class}" d="{series.marker}"/>'
    return sign + text(x + 28, y, label)


def legend(series: Sequence[Series], top: float) -> tuple[list[str], int]:
    """The legend from a place in pixels down, in two columns or, for long labels, in one. Returns its lines, too."""
    named = [entry for entry in series if entry.label]
    columns = 1 if max((len(entry.label) for entry in named), default=0) > 42 else 2
    rows = -(-len(named) // columns)
    room = WIDTH // columns
    entries = [
        legend_entry(entry, 8 + i // rows * room, top + LINE * (i % rows), room) for i, entry in enumerate(named)
    ]
    return entries, rows


def in_two_lines(texts: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Place short texts above a plot in two lines, so that close texts do not cover each other.

    Args:
        texts: place across in pixels, and words.

    Returns:
        place across and up, and words, from left to right.
    """
    placed: list[tuple[float, float, str]] = []
    for x, words in sorted(texts):
        close = bool(placed) and x - placed[-1][0] < 34 and placed[-1][1] == -4
        placed.append((x, -4.0 - (LETTER + 1) * close, words))
    return placed


def grid_and_ticks(across: Axis, upwards: Axis) -> list[str]:
    """The grid, the labels of the ticks and the names of both axes."""
    height = upwards.length
    x_places = across.place(np.array(across.ticks)).tolist()
    y_places = (height - upwards.place(np.array(upwards.ticks))).tolist()
    grid = "".join(f"M{x:.1f} 0v{height:g}" for x in x_places) + "".join(f"M0 {y:.1f}h{PLOT_WIDTH}" for y in y_places)
    return [
        f'<path class="grid" d="{grid}"/>',
        *(
            text(x, height + 14, short(tick), 'text-anchor="middle"')
            for tick, x in zip(across.ticks, x_places, strict=True)
        ),
        *(text(-6, y + 4, short(tick), 'text-anchor="end"') for tick, y in zip(upwards.ticks, y_places, strict=True)),
        text(PLOT_WIDTH / 2, height + 29, across.name, 'text-anchor="middle" class="soft"'),
        text(-height / 2, -44, upwards.name, 'text-anchor="middle" class="soft" transform="rotate(-90)"'),
    ]


def marks_and_counts(
    across: Axis, height: int, verticals: Sequence[tuple[float, str]], counts: Sequence[tuple[float, str]]
) -> list[str]:
    """Dashed vertical lines with what they begin, and texts above the plot."""

    def place(value: float) -> float:
        return float(across.place(np.array([value]))[0])

    placed = in_two_lines([(place(value), words) for value, words in counts])
    elements = [text(x, y, words, 'text-anchor="middle" class="soft"') for x, y, words in placed]
    for value, words in verticals:
        x = place(value)
        elements.append(f'<path class="phase" stroke-dasharray="5 4" d="M{x:.1f} 0v{height}"/>')
        elements.append(text(x + 3, LETTER, words, 'class="soft"'))
    return elements


def chart(
    title: str,
    names: tuple[str, str],
    series: Sequence[Series],
    *,
    log: tuple[bool, bool] = (False, False),
    whole: bool = False,
    height: int = 230,
    margin: float = 0.04,
    verticals: Sequence[tuple[float, str]] = (),
    counts: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw a chart.

    Args:
        names: of the axes, across and upwards.
        log: which axes are logarithmic; an axis with a value of zero or less is linear.
        whole: ticks across are whole numbers.
        height: of the plot area, pixels.
        margin: room around the values on all sides, as a share of their range.
        verticals: values across where a dashed line is drawn, and its label.
        counts: values across with a text above the plot.

    Returns:
        an `svg` element whose colours are class names; `style` and `colour_rules` define them.
    """
    lines = textwrap.wrap(title, 76)
    top = TOP + LINE * (len(lines) - 1) + LINE * bool(counts)
    across = axis_for(names[0], [curve.x for curve in series], PLOT_WIDTH, log=log[0], whole=whole, margin=margin)
    upwards = axis_for(names[1], [curve.y for curve in series], height, log=log[1], margin=max(margin, 0.04))
    entries, rows = legend(series, top + height + BOTTOM + 10)
    total = top + height + BOTTOM + LINE * rows + 6
    drawn = [line_and_points(curve, across, upwards) for curve in series]
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" viewBox="0 0 {WIDTH} {total}" role="img" '
        f'font-family="{FONT_FAMILY}" font-size="{LETTER}" aria-label="{html.escape(title)}">',
        *(text(4, 14 + LINE * i, line, 'class="head"') for i, line in enumerate(lines)),
        f'<g transform="translate({LEFT} {top})">',
        *grid_and_ticks(across, upwards),
        *marks_and_counts(across, height, verticals, counts),
        f'<g class="lines" transform="scale({1 / FINE})">',
        *(line for line, _ in drawn),
        "</g>",
        *(points for _, points in drawn),
        "</g>",
        *entries,
        "</svg>",
    ]
    return "".join(elements)


# Style and files ------------------------------------------------------------------------------------------------------


def colour_rules(colours: Sequence[str], scope: str) -> str:
    """The CSS rules of the series' colours, for every chart within `scope`."""
    return "".join(
        f"{scope} .s{i}{{stroke:{colour}}}{scope} .f{i}{{fill:{colour}}}" for i, colour in enumerate(colours)
    )


def style(scope: str = ".figure") -> str:
    """The CSS rules that do not depend on the background: line widths, and what is not filled."""
    return (
        f"{scope} .lines path{{fill:none;stroke-width:7;stroke-linejoin:round}}{scope} .o{{fill:none;stroke-width:1.5}}"
        f"{scope} .grid,{scope} .phase{{fill:none;stroke-width:1}}{scope} .ring{{fill:none;stroke-width:1.5}}"
        f"{scope} .head{{font-weight:bold}}"
    )


def as_file(svg: str) -> str:
    """A chart as a file: with its size in pixels, its colours and a white background."""
    rules = (
        style() + colour_rules(COLOURS, ".figure") + ".figure text{fill:#1d2126}.figure .soft{fill:#5d6670}"
        ".figure .grid{stroke:#e4e6e8}.figure .phase,.figure .front,.figure .ring{stroke:#5d6670}"
    )
    begin, end = svg.split(">", 1)
    height = begin.partition(f'viewBox="0 0 {WIDTH} ')[2].partition('"')[0]
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{begin} width="{WIDTH}" height="{height}"><style>{rules}</style>{background}{end}\n'


def save_chart(svg: str, path: Path) -> str:
    """Write a chart as `path`.svg; `Rasters` or `rasterise` makes the PNG. Returns the chart, for the page."""
    path.with_name(f"{path.name}.svg").write_text(as_file(svg), encoding="utf-8")
    return svg
