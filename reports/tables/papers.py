"""The tables of the papers: each measured value next to the printed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.published.printed import LAYERS, Published
from reports.published.printed import Row as PrintedRow
from reports.published.printed import Table as PublishedTable
from reports.tables.filling import (
    by_dataset,
    cell,
    conventions,
    heads_of,
    mark_measured,
    mark_printed,
    origin_text,
    paper_name,
    run_notes,
    runs_of,
    switches,
)
from reports.tables.model import (
    Group,
    Head,
    Line,
    Measured,
    Printed,
    Table,
)
from reports.tables.verdicts import IDLE, judge_cell, judge_line, judge_table


def printed_cells(table: PublishedTable, row: PrintedRow) -> dict[str, Printed]:
    """The published values of a row with the footnotes that name the very cell."""
    return {
        name: Printed(
            text,
            row.numbers[name] if isinstance(row.numbers[name], (int, float)) else None,
            tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and name in remark.columns),
        )
        for name, text in row.values.items()
        if text is not None
    }


def published_line(
    line: Line, members: Sequence[Group], heads: Sequence[Head], table: str, notes: dict[str, str]
) -> None:
    """Measure and judge the cells of a published row's line; each column takes the run of its dataset."""
    for head in heads:
        wanted = head.printed.dataset if head.printed else None
        group = next((one for one in members if wanted in (None, one.record["dataset"])), None)
        line.measured[head.id] = cell(table, line.row, group, head, notes) if group else Measured(None)


def published_table(table: PublishedTable, runs: Sequence[Group], published: Published) -> Table:
    """Join a published table with the runs of its rows; without any, what is printed stands alone.

    Raises:
        UserError: a measured cell that does not lead back to its run.
    """
    layers = table.kind == LAYERS
    by_row = {row.row: [] if layers else runs_of(table, row, runs, published) for row in table.rows}
    everything = [group for found in by_row.values() for group in found]
    if layers:
        heads = [Head(c.id, c.metric, "", c.unit, None, "", printed=c) for c in table.columns]
    else:
        heads = heads_of(table, published)
    notes: dict[str, str] = {}
    mixed = len({group.record["origin"] for group in everything}) > 1
    lines = []
    for row in table.rows:
        marks = tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and not remark.columns)
        printed = printed_cells(table, row)
        detail = ", ".join(part for part in (row.method if not layers else "", switches(row)) if part)
        line = Line(row.row, row.label, detail, None, printed=printed, marks=marks)
        dealt = by_dataset(by_row[row.row])
        if not dealt:
            line.verdict = "" if layers else IDLE
            lines.append(line)
        for i, members in enumerate(dealt):
            run = replace(line, group=members[0], first=i == 0, printed=printed if i == 0 else {}, measured={})
            run.notes = tuple(dict.fromkeys(mark for one in members for mark in run_notes(one, notes, mixed)))
            published_line(run, members, heads, table.id, notes)
            for head in heads:
                if head.id in printed:
                    judge_cell(run.measured[head.id], printed[head.id], head)
            run.verdict, run.reason = judge_line(run, printed, heads)
            lines.append(run)
    for head in heads:
        mark_measured(head, lines)
        mark_printed(head, lines)
    origin = origin_text(everything)
    datasets = tuple(dict.fromkeys(str(column.dataset) for column in table.columns if column.dataset))
    reading = (("*", published.readings[table.id].why),) if table.id in published.readings else ()
    title = f"{paper_name(table.paper)}, table {table.table} (section {table.section}): {table.title}"
    shown = Table(
        table.id,
        f"{title}; measured on {origin}" if origin else title,
        published.task(table),
        datasets,
        tuple(heads),
        lines,
        table.kind,
        () if layers else conventions(table, published),
        tuple((i, remark.kind, remark.text) for i, remark in enumerate(table.remarks, 1)),
        tuple((mark, text) for text, mark in notes.items()) + reading,
        tuple(i for i, remark in enumerate(table.remarks, 1) if not remark.rows and not remark.columns),
    )
    if not layers:
        shown.verdict, shown.reason = judge_table(shown)
    return shown
