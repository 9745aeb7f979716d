"""Sheets of pictures in strips, as SVG and PNG: every figure that is made of photographs, maps or weights.

A sheet is laid out once. Its SVG file holds photographs as JPEG, to stay small; the PNG is rasterised from the same
layout with all images embedded without loss, so that it shows their exact pixels.
"""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reports.figures.charts import COLOURS
from reports.figures.images import at_width, data_uri, jpeg, png
from reports.figures.rasterising import FONT_FAMILY, png_bytes
from reports.figures.windows import Window

BOXES = ("#e0a800", "#1e6fd9", "#ff2d55")
"""Colours of an image's boxes and of the frames of its enlarged details, in this order: yellow, blue, red."""
NEGATIVE = "#ff2d55"
"""The colour of the bar of a negative weight."""
WIDTH = 190
"""Width of a tile, pixels."""
GAP = 10
"""Room between tiles, pixels."""
LINE = 16
"""Height of a line of text, and of a bar with its gap, pixels."""
LABEL, HEADING, TITLE = 12, 13, 15
"""Heights of letters, pixels."""
LETTER_WIDTH = 0.61
"""Width of a letter as a share of its height; decides where lines break."""
INK, QUIET = "#111111", "#555555"
"""Colours of texts."""


@dataclass(frozen=True)
class Picture:
    """One image of a strip."""

    label: str
    """The text above it; "" for none."""
    image: Image.Image
    """Shown at the width of a tile; a smaller image keeps its pixels as squares."""
    boxes: tuple[Window, ...] = ()
    """Parts that are outlined, each in the next colour."""
    frame: int | None = None
    """The position of the box whose enlarged inside this is; None for no frame."""

    def height(self, width: int) -> int:
        """Pixels at a width in pixels."""
        return max(1, round(width * self.image.height / self.image.width))


@dataclass(frozen=True)
class Bars:
    """Weights of a strip, each as a horizontal bar with its number and its value."""

    label: str
    """The text above them."""
    weights: Sequence[float]
    """(K,) from the first at the top down."""

    def height(self, width: int) -> int:
        """Pixels, whatever the width."""
        return LINE * len(self.weights)


@dataclass(frozen=True)
class Strip:
    """Tiles side by side under a heading."""

    heading: str
    """"" for none."""
    tiles: tuple[Picture | Bars, ...]
    """From left to right."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawn sheet, for the page."""

    title: str
    """Its title, which is also its alternative text."""
    image: Image.Image
    """Its pixels."""
    file: str = ""
    """The name of its files in `figures/`, without the ending."""


@dataclass(frozen=True)
class PlacedImage:
    """An image at its place in a drawing."""

    x: int
    """Pixels from the left."""
    y: int
    """Pixels from the top."""
    shown: Image.Image
    """The image at the size at which it is shown."""
    original: Image.Image
    """The image as it is; smaller than `shown` where that enlarges its pixels."""

    def element(self, lossless: bool) -> str:
        """The SVG element. With `lossless` false a photograph is JPEG; a small map, which JPEG would blur, is not."""
        place = f'x="{self.x}" y="{self.y}" width="{self.shown.width}" height="{self.shown.height}"'
        if lossless:
            return f'<image {place} href="{data_uri(png(self.shown), "png")}"/>'
        if self.original.width < self.shown.width:
            crisp = 'style="image-rendering:pixelated" preserveAspectRatio="none"'
            return f'<image {place} {crisp} href="{data_uri(png(self.original), "png")}"/>'
        return f'<image {place} href="{data_uri(jpeg(self.shown), "jpeg")}"/>'


Element = str | PlacedImage


def broken_lines(text: str, width: float, size: int) -> list[str]:
    """Break a text at words to a width in pixels, for letters of a height in pixels."""
    return textwrap.wrap(text, max(8, int(width / (LETTER_WIDTH * size))))


def text_element(x: float, y: float, words: str, size: int, colour: str = INK, end: bool = False) -> str:
    """A text whose first line begins at (x, y), its upper left corner; with `end`, its upper right one."""
    anchor = ' text-anchor="end"' if end else ""
    base = y + round(size * 0.9)
    return f'<text x="{x:g}" y="{base:g}" font-size="{size}" fill="{colour}"{anchor}>{html.escape(words)}</text>'


def outline(x: int, y: int, width: int, height: int, colour: str) -> str:
    """A rectangle whose line of two pixels is inside it."""
    return (
        f'<rect x="{x + 1}" y="{y + 1}" width="{width - 2}" height="{height - 2}" fill="none" stroke="{colour}" '
        'stroke-width="2"/>'
    )


def picture_elements(x: int, y: int, picture: Picture, width: int, colours: Sequence[str]) -> list[Element]:
    """A picture with its boxes or its frame."""
    image = picture.image.convert("RGB")
    shown = at_width(image, width)
    elements: list[Element] = [PlacedImage(x, y, shown, image)]
    for colour, (left, top, w, h) in zip(colours, picture.boxes, strict=False):
        corner = x + round(left * width), y + round(top * shown.height)
        elements.append(outline(*corner, round(w * width), round(h * shown.height), colour))
    if picture.frame is not None:
        elements.append(outline(x, y, width, shown.height, colours[picture.frame]))
    return elements


def bar_elements(x: int, y: int, bars: Bars, width: int) -> list[Element]:
    """Weights as bars, in proportion to the largest; negative weights in their own colour."""
    largest = max((abs(value) for value in bars.weights), default=0) or 1.0
    longest = width - 70  # leaves room for the number and the value
    elements: list[Element] = []
    for i, value in enumerate(bars.weights):
        length, top = round(longest * abs(value) / largest), y + LINE * i + 2
        colour = COLOURS[0] if value >= 0 else NEGATIVE
        elements += [
            f'<rect x="{x + 18}" y="{top}" width="{length}" height="{LINE - 4}" fill="{colour}"/>',
            text_element(x + 14, top + 1, str(i + 1), 9, end=True),
            text_element(x + 22 + length, top + 1, f"{value:.3g}", 9),
        ]
    return elements


def strip_elements(strip: Strip, y: int, width: int, room: int, colours: Sequence[str]) -> tuple[list[Element], int]:
    """A strip from a place in pixels down.

    Args:
        width: of a tile, pixels.
        room: width of the heading, pixels.

    Returns:
        its elements and its height.
    """
    heading = broken_lines(strip.heading, room, HEADING)
    labels = [broken_lines(tile.label, width, LABEL) for tile in strip.tiles]
    elements: list[Element] = [text_element(GAP, y + LINE * i, line, HEADING, QUIET) for i, line in enumerate(heading)]
    top = y + LINE * len(heading) + 5 * bool(heading)
    deepest = max(map(len, labels))
    for i, (tile, lines) in enumerate(zip(strip.tiles, labels, strict=True)):
        x = GAP + i * (width + GAP)
        for k, line in enumerate(lines, deepest - len(lines)):  # the last line is just above the tile
            elements.append(text_element(x, top + LINE * k, line, LABEL))
        below = top + LINE * deepest
        if isinstance(tile, Picture):
            elements += picture_elements(x, below, tile, width, colours)
        else:
            elements += bar_elements(x, below, tile, width)
    height = top - y + LINE * deepest + max(tile.height(width) for tile in strip.tiles) + GAP
    return elements, height


def svg_of(elements: Sequence[Element], width: int, height: int, lossless: bool) -> str:
    """An SVG of a size in pixels on a white background."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{FONT_FAMILY}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *(element if isinstance(element, str) else element.element(lossless) for element in elements),
            "</svg>",
        ]
    )


def save_sheet(
    title: str, strips: Sequence[Strip], path: Path, width: int = WIDTH, colours: Sequence[str] = BOXES
) -> Image.Image:
    """Write strips of tiles as `path`.png and `path`.svg.

    Args:
        width: of a tile, pixels.
        colours: of boxes and frames.

    Returns:
        the pixels of the PNG.
    """
    total_width = max(3, *(len(strip.tiles) for strip in strips)) * (width + GAP) + GAP
    room = total_width - 2 * GAP
    lines = broken_lines(title, room, TITLE)
    elements: list[Element] = [text_element(GAP, GAP + 20 * i, line, TITLE) for i, line in enumerate(lines)]
    y = GAP + 20 * len(lines) + 4
    for strip in strips:
        added, height = strip_elements(strip, y, width, room, colours)
        elements += added
        y += height
    pixels = png_bytes(svg_of(elements, total_width, y, lossless=True))
    path.with_name(f"{path.name}.png").write_bytes(pixels)
    path.with_name(f"{path.name}.svg").write_text(svg_of(elements, total_width, y, lossless=False), encoding="utf-8")
    return Image.open(io.BytesIO(pixels)).convert("RGB")
