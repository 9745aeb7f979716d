"""Cells of the page's tables as HTML. Their attributes say what they are, so that they can be checked."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from reports.tables import model
from reports.tables.formats import VERDICT_SIGNS, signed


def merged(names: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Join equal neighbours of (text, columns), for headings over several columns.

    >>> merged([("GOPRO", 2), ("GOPRO", 1), ("VisDrone", 1)])
    [('GOPRO', 3), ('VisDrone', 1)]
    """
    joined: list[tuple[str, int]] = []
    for text, count in names:
        if joined and joined[-1][0] == text:
            joined[-1] = (text, joined[-1][1] + count)
        else:
            joined.append((text, count))
    return joined


def place(kind: str, line: model.Line, head: model.Head) -> str:
    """The attributes that say which cell of a table this is."""
    return f'data-kind="{kind}" data-row="{html.escape(line.row)}" data-column="{html.escape(head.id)}"'


def references(table: str, marks: Iterable[object]) -> Markup:
    """Links to footnotes of a table."""
    links = ",".join(f'<a href="#{table}-note-{mark}">{mark}</a>' for mark in marks)
    return Markup(f"<sup>{links}</sup>" if links else "")


def measured_cell(table: model.Table, line: model.Line, head: model.Head) -> Markup:
    """A measured cell: its value with its marks, interval, spread and size, and its difference with the verdict."""
    cell = line.measured.get(head.id)
    pair = " pair" if table.compares else ""
    if line.group is None or cell is None or (cell.value is None and not cell.note):
        return Markup(f'<td class="none{pair}"><small>not run</small></td>')
    if cell.value is None:
        return Markup(f'<td class="none{pair}"><small>not measured{references(table.id, [cell.note])}</small></td>')
    text = f'<a href="#run-{html.escape(cell.parts[0][0].name)}">{model.number(cell.value, head)}</a>'
    text = f"<b>{text}</b>" if cell.best else text
    if cell.tie:
        p = f' title="not distinguishable from the best, p = {cell.p:.2g}"' if cell.p is not None else ""
        text += f" <span{p}>≈</span>"
    if cell.low is not None and cell.high is not None:
        text += f"<small>{model.number(cell.low, head)} – {model.number(cell.high, head)}</small>"
    if cell.spread is not None:
        text += f"<small>± {model.number(cell.spread, head)} over seeds</small>"
    if cell.detail:
        text += f"<small>{html.escape(cell.detail)}</small>"
    if cell.difference is not None:
        reason = f"{cell.verdict}, {cell.reason}" if cell.reason else cell.verdict
        text += (
            f'<small class="apart {cell.verdict.replace(" ", "-")}" title="{html.escape(reason)}">'
            f"{signed(cell.difference, head)} {VERDICT_SIGNS.get(cell.verdict, '')}</small>"
        )
    kind = ' class="pair"' if pair else ""
    return Markup(f'<td{kind} {place("measured", line, head)} data-v="{cell.value!r}">{text}</td>')


def published_cell(table: model.Table, line: model.Line, head: model.Head) -> Markup:
    """A published cell, as printed, with its footnotes."""
    cell = line.printed.get(head.id)
    if cell is None:
        return Markup('<td class="pub"></td>')
    text = f"<b>{html.escape(cell.text)}</b>" if cell.best else html.escape(cell.text)
    number = "" if cell.number is None else f' {place("published", line, head)} data-v="{cell.number!r}"'
    return Markup(f'<td class="pub"{number}>{text}{references(table.id, cell.marks)}</td>')
