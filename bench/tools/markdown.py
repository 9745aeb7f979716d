"""Markdown for the pages that are made from the sources."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

import yaml

WIDTH = 120
"""Characters per line."""


def escaped(text: str) -> str:
    """Keep signs of Markdown outside code from acting.

    >>> print(escaped("`a*b` and x*y"))
    `a*b` and x\\*y
    """
    parts = re.split(r"(`[^`]*`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"[*<\\]|(?<!\w)_|_(?!\w)", r"\\\g<0>", parts[i])
    return "".join(parts)


def wrapped(text: str, bullet: str = "") -> str:
    """Fold a paragraph, or an item of a list; no line after the first can be taken for a list or a heading.

    Args:
        text: Markdown without line breaks.
        bullet: what the item begins with, "- "; empty for a paragraph.
    """
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join([*lines[:1], *(re.sub(r"^( *\d*)([-+>#=.)])(?= |$)", r"\1\\\2", line) for line in lines[1:])])


def prose(text: str) -> str:
    """Write plain text of paragraphs, and of lists whose items begin with "- ", as Markdown.

    >>> print(prose("Two things:\\n- one that is\\n  long\\n- x*y"))
    Two things:
    <BLANKLINE>
    - one that is long
    - x\\*y
    """
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        first, *items = re.split(r"(?:\n|^)- ", paragraph)
        if first.strip():
            blocks.append(wrapped(escaped(_one_line(first))))
        if items:
            blocks.append(listing(_one_line(item) for item in items))
    return "\n\n".join(blocks)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def listing(items: Iterable[str]) -> str:
    """Write plain sentences as a list."""
    return "\n".join(wrapped(escaped(item), "- ") for item in items)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a bar within a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """Write code within a line."""
    return f"`{text}`"


def flow(value: object) -> str:
    """Write a value as YAML in one line; nothing for an empty one.

    >>> flow({"lr": 0.1}), flow({})
    ('{lr: 0.1}', '')
    """
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip() if value else ""
