"""Read a rendered page: its links, texts and numbers."""

from __future__ import annotations

import html.parser
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, float]
"""A cell: its row, its column and its value."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass
class Section:
    """What a page shows of a table: its marked cells by kind, and the texts of all its cells and headings."""

    cells: dict[str, list[Key]] = field(default_factory=lambda: {"measured": [], "published": []})
    texts: list[str] = field(default_factory=list)


class Page(html.parser.HTMLParser):
    """Reads a page: its ids, what it links to, what it loads, and the tables in its sections."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.sections: dict[str, Section] = {}
        self.open: list[str] = []
        self.cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if "id" in found:
            self.ids.add(found["id"])
        if link := found.get("href", found.get("xlink:href")):
            (self.links if tag in ("a", "use") else self.loads).append(link)
        if "src" in found:
            self.loads.append(found["src"])
        if tag == "section":
            self.open.append(found.get("id", ""))
            self.sections.setdefault(self.open[-1], Section())
        if tag in ("td", "th") and self.open:
            self.cell = []
            if (kind := found.get("data-kind", "")) in self.sections[self.open[-1]].cells and "data-v" in found:
                key = (found.get("data-row", ""), found.get("data-column", ""), float(found["data-v"]))
                self.sections[self.open[-1]].cells[kind].append(key)

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
    """The numbers of a text, without their signs."""
    return set(NUMBER.findall(text))


def rounded(values: Iterable[float]) -> set[str]:
    """Every way in which a table may write these values: with none to five digits after the point."""
    return {f"{abs(value):.{digits}f}" for value in values if math.isfinite(value) for digits in range(6)}


def number(value: Any) -> float:
    """A number of `cells.json`, which writes an infinite one as text."""
    return float(value)
