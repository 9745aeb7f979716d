"""Rendered pages as data: their links, ids, texts and numbers."""

from __future__ import annotations

import html.parser
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Key = tuple[str, str, float]
"""A cell: its row, its column and its value."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass
class Section:
    """What a page shows of a table."""

    cells: dict[str, list[Key]] = field(default_factory=lambda: {"measured": [], "published": []})
    """Its cells by kind."""
    texts: list[str] = field(default_factory=list)
    """The texts of all cells and headings."""


class Page(html.parser.HTMLParser):
    """A parsed page: its ids, its links, what it loads, and the tables in its sections.

    Args:
        text: the page.
    """

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.sections: dict[str, Section] = {}
        self.open: list[str] = []  # the ids of the sections around the current element
        self.cell: list[str] | None = None  # the texts of the current cell
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.ids.add(given["id"])
        if link := given.get("href", given.get("xlink:href")):
            (self.links if tag in ("a", "use") else self.loads).append(link)
        if "src" in given:
            self.loads.append(given["src"])
        if tag == "section":
            self.open.append(given.get("id", ""))
            self.sections.setdefault(self.open[-1], Section())
        if tag in ("td", "th") and self.open:
            self.cell = []
            cells = self.sections[self.open[-1]].cells
            if (kind := given.get("data-kind", "")) in cells and "data-v" in given:
                cells[kind].append((given.get("data-row", ""), given.get("data-column", ""), float(given["data-v"])))

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.open and self.cell is not None:
            self.sections[self.open[-1]].texts.append(" ".join(self.cell))
            self.cell = None
        if tag == "section" and self.open:
            self.open.pop()


def numbers_in(text: str) -> set[str]:
    """The numbers of a text, without their signs.

    >>> sorted(numbers_in("27.31 dB of 256x256 [-0.5]"))
    ['0.5', '256', '27.31']
    """
    return set(NUMBER.findall(text))


def rounded(values: Iterable[float]) -> set[str]:
    """All ways in which a table may write these values: with none to five digits after the point.

    >>> sorted(rounded([29.409876]), key=len)
    ['29', '29.4', '29.41', '29.410', '29.4099', '29.40988']
    """
    return {f"{abs(value):.{digits}f}" for value in values if math.isfinite(value) for digits in range(6)}


def number(value: float | str) -> float:
    """A number of `cells.json`, which writes an infinite one as text."""
    return float(value)
