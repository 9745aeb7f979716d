"""What happens inside a network while it restores one image: maps and weights."""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reports.figures.charts import COLOURS
from reports.figures.comparisons import BOX, data_uri

INSIDE = 200
"""Width of a tile in a figure of a network's inside, pixels."""
BAR = 15
"""Height of a weight's bar there, with its gap."""


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
