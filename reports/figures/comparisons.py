"""Comparisons of restored images: the same windows of input, results and truth."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from bench.contracts import DataError

TILE = 300
"""Width of an image in a grid, pixels."""
BOX, SECOND = "#ff2d55", "#1e90ff"
"""Colours of the boxes of a comparison."""
PICTURE = 640
"""Width at most of an image on the page, pixels."""


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
