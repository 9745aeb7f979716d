"""A sheet of pictures in strips, as PNG and as SVG: what every figure made of photographs or maps is drawn with."""

from __future__ import annotations

import html
import importlib.util
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reports.figures.comparisons import data_uri, jpeg

Window = tuple[float, float, float, float]
"""A part of an image as fractions of its sides: left, top, width, height."""
BOXES = ("#e0a800", "#1e6fd9", "#ff2d55")
"""Colours of the boxes of an image and of the frames of its enlarged details, in this order: yellow, blue, red."""
WIDTH = 190
"""Of a picture, pixels."""
GAP = 10
LINE = 15
"""Height of a line of text, pixels."""
LABEL, HEADING, TITLE = 11, 12, 14
"""Heights of letters, pixels."""
LETTER = 0.61
"""Width of a letter in its height, by which lines are broken."""
INK, QUIET = "#111111", "#555555"


@dataclass(frozen=True)
class Picture:
    """One picture of a strip.

    Args:
        label: stands above it.
        boxes: parts that are outlined, in the colours of BOXES.
        frame: the box of BOXES that it is the enlarged inside of, None for no frame.
    """

    label: str
    image: Image.Image
    boxes: tuple[Window, ...] = ()
    frame: int | None = None

    @cached_property
    def shown(self) -> Image.Image:
        """The image at the width of a picture; one that is smaller keeps its pixels as squares."""
        way = Image.Resampling.NEAREST if self.image.width < WIDTH else Image.Resampling.LANCZOS
        size = (WIDTH, max(1, round(WIDTH * self.image.height / self.image.width)))
        return self.image.convert("RGB").resize(size, way)

    @cached_property
    def address(self) -> str:
        """It inside an SVG: a photograph as JPEG; a small map, which JPEG would smear, as PNG of its own pixels."""
        if self.image.width >= WIDTH:
            return data_uri(jpeg(self.shown), "jpeg")
        out = io.BytesIO()
        self.image.convert("RGB").save(out, "PNG")
        return data_uri(out.getvalue(), "png")


@dataclass(frozen=True)
class Strip:
    """Pictures side by side under a heading; "" for none."""

    heading: str
    pictures: tuple[Picture, ...]


def enlarge(image: Image.Image, window: Window) -> Image.Image:
    """The inside of a window at the width of a picture, its height in the image's own proportion.

    Pixels are blended as a viewer would, so that no method looks sharper for being shown in blocks.
    """
    width, height = image.size
    left, top, w, h = window
    box = (left * width, top * height, (left + w) * width, (top + h) * height)
    return image.resize((WIDTH, max(1, round(WIDTH * h * height / (w * width)))), Image.Resampling.BICUBIC, box)


def worst_windows(
    seen: Sequence[Image.Image], target: Image.Image, count: int, share: float = 0.25
) -> tuple[Window, ...]:
    """The windows of the largest error that do not overlap, the worst first.

    The error is the mean absolute difference to the target over all that is seen, so that no method chooses alone; an
    image of another size is first brought to the target's. There are fewer windows than asked for where no further one
    fits.

    Args:
        seen: one image or more.
        share: of the image's sides that a window takes.
    """
    width, height = target.size
    w, h = max(1, round(width * share)), max(1, round(height * share))
    truth = np.asarray(target, np.int64)
    error = np.zeros((height, width), np.int64)
    for image in seen:
        fitting = image if image.size == target.size else image.resize(target.size, Image.Resampling.BICUBIC)
        error += np.abs(np.asarray(fitting, np.int64) - truth).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # a sum over any window is four look-ups
    sums = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    found: list[Window] = []
    for _ in range(count):
        top, left = (int(i) for i in np.unravel_index(int(sums.argmax()), sums.shape))
        if sums[top, left] < 0:
            break
        found.append((left / width, top / height, w / width, h / height))
        sums[max(0, top - h + 1) : top + h, max(0, left - w + 1) : left + w] = -1  # whatever overlaps this one
    return tuple(found)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The letters that come with matplotlib, in which the charts are drawn too."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return ImageFont.truetype(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def lines_of(text: str, width: float, size: int) -> list[str]:
    """Break a text at words to a width in pixels."""
    return textwrap.wrap(text, max(8, int(width / (LETTER * size))))


class Paper:
    """A drawing that goes onto a PNG and into an SVG at once, in pixels from the upper left corner."""

    def __init__(self, width: int, height: int):
        self.sheet = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.sheet)
        self.svg = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
        ]

    def text(self, x: int, y: int, text: str, size: int, colour: str = INK) -> None:
        """Write one line, its upper left corner at (x, y)."""
        self.draw.text((x, y), text, fill=colour, font=font(size))
        self.svg.append(
            f'<text x="{x}" y="{y + round(size * 0.9)}" font-size="{size}" fill="{colour}">{html.escape(text)}</text>'
        )

    def picture(self, x: int, y: int, one: Picture) -> None:
        """Place a picture with its boxes or its frame."""
        width, height = one.shown.size
        self.sheet.paste(one.shown, (x, y))
        blocks = ' style="image-rendering:pixelated"' if one.image.width < WIDTH else ""
        self.svg.append(
            f'<image x="{x}" y="{y}" width="{width}" height="{height}"{blocks} preserveAspectRatio="none" '
            f'href="{one.address}"/>'
        )
        for colour, (left, top, w, h) in zip(BOXES, one.boxes, strict=False):
            self.box(x + round(left * width), y + round(top * height), round(w * width), round(h * height), colour)
        if one.frame is not None:
            self.box(x, y, width, height, BOXES[one.frame])

    def box(self, x: int, y: int, width: int, height: int, colour: str) -> None:
        """Outline a rectangle, the line inside it."""
        self.draw.rectangle((x, y, x + width - 1, y + height - 1), outline=colour, width=2)
        self.svg.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{width - 2}" height="{height - 2}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )

    def save(self, path: Path) -> None:
        """Write `path`.png and `path`.svg."""
        self.sheet.save(path.with_name(f"{path.name}.png"), compress_level=3)  # photographs hardly shrink more
        path.with_name(f"{path.name}.svg").write_text("\n".join([*self.svg, "</svg>"]), encoding="utf-8")


def save_sheet(title: str, strips: Sequence[Strip], path: Path) -> Image.Image:
    """Write strips of pictures as `path`.png and `path`.svg, and return the sheet."""
    width = max(3, *(len(strip.pictures) for strip in strips)) * (WIDTH + GAP) + GAP
    heads = lines_of(title, width - 2 * GAP, TITLE)
    labels = [[lines_of(one.label, WIDTH, LABEL) for one in strip.pictures] for strip in strips]
    headings = [lines_of(strip.heading, width - 2 * GAP, HEADING) for strip in strips]
    sizes = [
        LINE * len(over)
        + 5 * bool(over)
        + LINE * max(map(len, words))
        + max(one.shown.height for one in strip.pictures)
        + GAP
        for strip, over, words in zip(strips, headings, labels, strict=True)
    ]
    paper = Paper(width, 2 * GAP + 20 * len(heads) + sum(sizes))
    for i, line in enumerate(heads):
        paper.text(GAP, GAP + 20 * i, line, TITLE)
    y = GAP + 20 * len(heads) + 4
    for strip, over, words, size in zip(strips, headings, labels, sizes, strict=True):
        for i, line in enumerate(over):
            paper.text(GAP, y + LINE * i, line, HEADING, QUIET)
        top = y + LINE * len(over) + 5 * bool(over)
        deepest = max(map(len, words))
        for i, (one, lines) in enumerate(zip(strip.pictures, words, strict=True)):
            x = GAP + i * (WIDTH + GAP)
            for k, line in enumerate(lines, deepest - len(lines)):  # labels stand upon their pictures
                paper.text(x, top + LINE * k, line, LABEL)
            paper.picture(x, top + LINE * deepest, one)
        y += size
    paper.save(path)
    return paper.sheet
