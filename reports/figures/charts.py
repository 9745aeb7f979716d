"""Charts as SVG: lines and points, with the names below. The page themes them; their files carry a style of their own.

A chart is text of a few kB made in about a millisecond, so that a page can hold one for each of hundreds of runs.
Curves stand in fifths of a pixel, each point relative to the one before it.
"""

from __future__ import annotations

import html
import importlib.util
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.contracts import DataError

COLOURS = ("#2563a8", "#c2562d", "#2f8f5b", "#8a4fa3", "#b08a1e", "#1f8f9c", "#b43d6b", "#6b6f76", "#5a7d1f", "#4a4fb5")
ON_DARK = ("#6fa8e8", "#f0906a", "#62c793", "#c592dc", "#dcb74a", "#55c5d2", "#ea7fa8", "#a5abb3", "#a0c75e", "#9196ee")
"""The same colours for a dark ground."""
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 520, 56, 12, 30, 36
"""Pixels: of the chart, and of the room around the plot itself."""
PLOT = WIDTH - LEFT - RIGHT
LETTER, LINE = 11, 15
"""Height of a letter and of a line of text, pixels."""
FINE = 5
"""Steps of a curve in a pixel."""
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-4-4h8v8h-8z",
    "M0-5l5 9h-10z",
    "M0-5l5 5l-5 5l-5-5z",
    "M0 5l5-9h-10z",
)
"""Circle, square, triangle, diamond, triangle: in turn after each round of the colours."""
TICKS = 7
"""The most ticks of an axis."""


@dataclass(frozen=True)
class Series:
    """What a chart shows under one name.

    Args:
        x, y: (N,), in the units of the axes.
        number: which colour, marker and dash; series of one number look alike.
        look: "line", "points", "hollow" (points), "both" (a line with its points) or "front" (a grey dashed line).
        dashed: a dashed line, whatever its number.
        tips: what each point says when a pointer rests on it; "" says the label.
        ringed: the points that are marked by a ring.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    number: int = 0
    look: str = "line"
    dashed: bool = False
    tips: Sequence[str] = ()
    ringed: Sequence[int] = ()


@dataclass(frozen=True)
class Axis:
    """One axis: its name, its range and whether it is logarithmic; `length` in pixels."""

    name: str
    low: float
    high: float
    length: float
    log: bool = False
    whole: bool = False
    ticks: list[float] = field(default_factory=list)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Pixels from the axis' beginning."""
        if self.log:
            return (np.log10(values) - math.log10(self.low)) / math.log10(self.high / self.low) * self.length
        return (np.asarray(values, float) - self.low) / (self.high - self.low) * self.length


def linear_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """At most TICKS round numbers from low to high: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 12) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Numbers of a logarithmic axis: all digits in few decades, then 1, 2 and 5, then the powers of ten alone."""
    decades = math.log10(high / low)
    digits = range(1, 10) if decades < 0.8 else (1, 2, 5) if decades < 2.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in digits]
    found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return found[:: math.ceil(len(found) / TICKS)] if len(digits) == 1 else found


def axis_of(
    name: str, values: Iterable[np.ndarray], length: float, *, log: bool = False, whole: bool = False, margin: float
) -> Axis:
    """An axis that holds all values, with a margin on both sides as a share of their range; log needs them positive."""
    every = np.concatenate([np.asarray(one, float) for one in values])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    log = log and low > 0
    if log:
        room = (high / low) ** margin if high > low else 1.5
        low, high = low / room, high * room
        return Axis(name, low, high, length, True, ticks=log_ticks(low, high))
    room = margin * (high - low) or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    low, high = low - room, high + room
    return Axis(name, low, high, length, whole=whole, ticks=linear_ticks(low, high, whole))


def short(number: float) -> str:
    """A number with at most four digits, and no more than it needs."""
    return f"{number:.4g}" if abs(number) < 1e4 or abs(number) >= 1e6 else f"{number:.0f}"


def text(x: float, y: float, words: str, more: str = "") -> str:
    """A text at a place; `more` are further attributes."""
    return f'<text x="{x:.4g}" y="{y:.4g}"{more and " " + more}>{html.escape(words)}</text>'


def trace(x: np.ndarray, y: np.ndarray) -> str:
    """The path of a curve through pixels x and y, in steps of 1 / FINE; it breaks where a value is not finite."""
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


def dashes(series: Series) -> str:
    """The dash of a line, as an attribute; in fifths of a pixel."""
    if series.dashed or series.look == "front":
        return ' stroke-dasharray="25 18"'
    turn = series.number // len(COLOURS) % 3
    return ("", ' stroke-dasharray="40 12"', ' stroke-dasharray="9 12"')[turn]


def marks(series: Series, x: np.ndarray, y: np.ndarray) -> str:
    """The points of a series, each with what it says; x and y in pixels."""
    colour, shape = series.number % len(COLOURS), series.number // len(COLOURS) % len(MARKERS)
    kind = f"s{colour} o" if series.look == "hollow" else f"f{colour}"
    found = []
    for i, (across, down) in enumerate(zip(x, y, strict=True)):
        if math.isfinite(across) and math.isfinite(down):
            tip = html.escape(series.tips[i] if series.tips else series.label)
            ring = '<circle class="ring" r="8"/>' if i in series.ringed else ""
            found.append(
                f'<g transform="translate({across:.1f} {down:.1f})"><title>{tip}</title>{ring}'
                f'<path class="{kind}" d="{MARKERS[shape]}"/></g>'
            )
    return "".join(found)


def drawn(series: Series, across: Axis, down: Axis) -> tuple[str, str]:
    """The line of a series, which stands in fifths of a pixel, and its points; either may be ""."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = across.place(series.x), down.length - down.place(series.y)
    line = ""
    if series.look in ("line", "both", "front"):
        kind = "front" if series.look == "front" else f"s{series.number % len(COLOURS)}"
        line = (
            f'<path class="{kind}" d="{trace(x, y)}"{dashes(series)}><title>{html.escape(series.label)}</title></path>'
        )
    return line, marks(series, x, y) if series.look in ("points", "hollow", "both") else ""


def key(series: Series, x: float, y: float, room: int) -> str:
    """A line of the legend, in `room` pixels."""
    letters = int((room - 32) / 5.9)
    label = series.label if len(series.label) <= letters else f"{series.label[: letters - 1]}…"
    colour = series.number % len(COLOURS)
    sign = ""
    if series.look in ("line", "both", "front"):
        kind = "front" if series.look == "front" else f"s{colour}"
        sign = (
            f'<g transform="translate({x:g} {y - 4:g}) scale({1 / FINE})" class="lines">'
            f'<path class="{kind}" d="M0 0h110"{dashes(series)}/></g>'
        )
    if series.look in ("points", "hollow", "both"):
        kind = f"s{colour} o" if series.look == "hollow" else f"f{colour}"
        shape = MARKERS[series.number // len(COLOURS) % len(MARKERS)]
        sign += f'<path transform="translate({x + 11:g} {y - 4:g})" class="{kind}" d="{shape}"/>'
    return sign + text(x + 28, y, label)


def apart(texts: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Lay short texts above a plot in two lines, so that close ones do not cover each other.

    Args:
        texts: place across in pixels, and words.

    Returns:
        place across and up, and words, from left to right.
    """
    found: list[tuple[float, float, str]] = []
    for x, words in sorted(texts):
        close = bool(found) and x - found[-1][0] < 34 and found[-1][1] == -4
        found.append((x, -4.0 - (LETTER + 1) * close, words))
    return found


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
        names: of the axes, across and up.
        log: whether the axes are logarithmic; one that holds a value of zero or less is not.
        whole: ticks across are whole numbers.
        height: of the plot itself, pixels.
        margin: beyond the values on all sides, as a share of their range.
        verticals: places across where a dashed line stands, and what it begins.
        counts: texts above the plot at places across.

    Returns:
        an `svg` element with class names for its colours: `style` says what they are.
    """
    lines = textwrap.wrap(title, 76)
    top = TOP + LINE * (len(lines) - 1) + LINE * bool(counts)
    across = axis_of(names[0], [one.x for one in series], PLOT, log=log[0], whole=whole, margin=margin)
    down = axis_of(names[1], [one.y for one in series], height, log=log[1], margin=max(margin, 0.04))
    shown = [one for one in series if one.label]
    columns = 1 if max((len(one.label) for one in shown), default=0) > 42 else 2
    rows = -(-len(shown) // columns)
    room, below = WIDTH // columns, top + height + BOTTOM + 10
    total = top + height + BOTTOM + LINE * rows + 6
    x_ticks = [
        (tick, float(place)) for tick, place in zip(across.ticks, across.place(np.array(across.ticks)), strict=True)
    ]
    y_ticks = list(zip(down.ticks, height - down.place(np.array(down.ticks)), strict=True))
    grid = "".join(f"M{x:.1f} 0v{height}" for _, x in x_ticks) + "".join(f"M0 {y:.1f}h{PLOT}" for _, y in y_ticks)
    paths, points = zip(*(drawn(one, across, down) for one in series), strict=True) if series else ((), ())
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" viewBox="0 0 {WIDTH} {total}" role="img" '
        f'font-family="DejaVu Sans, sans-serif" font-size="{LETTER}" aria-label="{html.escape(title)}">',
        *(text(4, 14 + LINE * i, line, 'class="head"') for i, line in enumerate(lines)),
        f'<g transform="translate({LEFT} {top})"><path class="grid" d="{grid}"/>',
        *(text(x, height + 14, short(tick), 'text-anchor="middle"') for tick, x in x_ticks),
        *(text(-6, y + 4, short(tick), 'text-anchor="end"') for tick, y in y_ticks),
        text(PLOT / 2, height + 29, names[0], 'text-anchor="middle" class="soft"'),
        text(-height / 2, -44, names[1], 'text-anchor="middle" class="soft" transform="rotate(-90)"'),
        *(
            text(x, y, words, 'text-anchor="middle" class="soft"')
            for x, y, words in apart([(float(across.place(np.array([place]))[0]), words) for place, words in counts])
        ),
        *(
            f'<path class="phase" stroke-dasharray="5 4" d="M{x:.1f} 0v{height}"/>'
            + text(x + 3, LETTER, words, 'class="soft"')
            for place, words in verticals
            for x in [float(across.place(np.array([place]))[0])]
        ),
        f'<g class="lines" transform="scale({1 / FINE})">{"".join(paths)}</g>{"".join(points)}</g>',
        *(key(one, 8 + i // rows * room, below + LINE * (i % rows), room) for i, one in enumerate(shown)),
        "</svg>",
    ]  # fmt: skip
    return "".join(out)


def colour_rules(colours: Sequence[str], scope: str) -> str:
    """The rules of one set of colours for every chart within `scope`."""
    return "".join(f"{scope} .s{i}{{stroke:{one}}}{scope} .f{i}{{fill:{one}}}" for i, one in enumerate(colours))


def style(scope: str = ".figure") -> str:
    """The rules that do not depend on the ground: widths and what has no filling."""
    return (
        f"{scope} .lines path{{fill:none;stroke-width:7;stroke-linejoin:round}}{scope} .o{{fill:none;stroke-width:1.5}}"
        f"{scope} .grid,{scope} .phase{{fill:none;stroke-width:1}}{scope} .ring{{fill:none;stroke-width:1.5}}"
        f"{scope} .head{{font-weight:bold}}"
    )


def as_file(svg: str) -> str:
    """A chart as a file of its own: its size in pixels, its colours and a white ground."""
    rules = (
        style() + colour_rules(COLOURS, ".figure") + ".figure text{fill:#1d2126}.figure .soft{fill:#5d6670}"
        ".figure .grid{stroke:#e4e6e8}.figure .phase,.figure .front,.figure .ring{stroke:#5d6670}"
    )
    begin, end = svg.split(">", 1)
    height = begin.partition(f'viewBox="0 0 {WIDTH} ')[2].partition('"')[0]
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{begin} width="{WIDTH}" height="{height}"><style>{rules}</style>{ground}{end}\n'


def save_chart(svg: str, path: Path) -> str:
    """Write a chart as `path`.svg, whose PNG `rasterise` makes; the chart comes back for the page."""
    path.with_name(f"{path.name}.svg").write_text(as_file(svg), encoding="utf-8")
    return svg


def rasterise(path: Path) -> None:
    """Write the PNG of an SVG file beside it, with the letters that come with matplotlib. Raises DataError."""
    import resvg_py

    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None
    letters = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    fonts = [str(letters / f"DejaVuSans{ending}.ttf") for ending in ("", "-Bold")]
    try:
        data = resvg_py.svg_to_bytes(svg_path=str(path), skip_system_fonts=True, font_files=fonts)
    except ValueError as error:
        raise DataError(f"{path}: cannot be drawn ({error})") from error
    path.with_suffix(".png").write_bytes(bytes(data))


class Rasters:
    """Processes that write the PNGs of a folder's charts while the report goes on; leaving the block waits for them.

    Started afresh, not forked: the report's own process may hold threads of the tracking store.
    """

    def __init__(self, folder: Path, processes: int = 2):
        self.folder = folder
        self.pool = ProcessPoolExecutor(processes, get_context("spawn"))
        self.begun: set[Path] = set()
        self.waiting: list[Iterator[None]] = []

    def start(self) -> None:
        """Begin with every SVG file of the folder that has no PNG yet."""
        found = [path for path in sorted(self.folder.glob("*.svg")) if not path.with_suffix(".png").exists()]
        todo = [path for path in found if path not in self.begun]
        self.begun.update(todo)
        self.waiting.append(self.pool.map(rasterise, todo, chunksize=8))

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            for results in self.waiting:
                list(results)
        self.pool.shutdown(cancel_futures=True)
