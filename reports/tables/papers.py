"""The tables of the papers: each measured value next to the printed one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from reports.published.printed import LAYERS, PrintedColumn, PrintedRow, PrintedTable, Published
from reports.scores.measures import MEASURES
from reports.tables.cells import mark_measured, mark_printed, measure_cell
from reports.tables.model import Head, Line, Measured, Notes, Printed, Table
from reports.tables.runs import Group, caveats, origin_text
from reports.tables.verdicts import NOT_RUN, judge_cell, judge_line, judge_table


def paper_name(paper: str) -> str:
    """Return a paper's short name as its text writes it.

    >>> paper_name("mrfnet"), paper_name("lmfn")
    ('MRFNet', 'LMFN')
    """
    return paper.upper().replace("NET", "Net")


# Columns --------------------------------------------------------------------------------------------------------------


def condition_of(column: PrintedColumn) -> dict[str, str]:
    """Return which rows of the scores a published column means.

    Our reading of dffnet's "deblurred" input: the sharp originals with a hole (sections 4.3.2 and 4.4 are silent).
    """
    condition = {}
    if column.input:
        condition["input"] = {"deblurred": "sharp"}.get(column.input, column.input)
    if column.scene and column.scene != "combined":
        condition["scene"] = column.scene
    if column.mask_type:
        condition["mask_kind"] = column.mask_type
    if column.mask_ratio:
        condition["mask_band"] = column.mask_ratio
    return condition


def heads_of(table: PrintedTable, published: Published) -> list[Head]:
    """Return the columns of a published table, each followed by those that only our scores have."""
    if table.kind == LAYERS:
        return [Head(column.id, column.metric, "", column.unit, None, "", printed=column) for column in table.columns]
    several = len({column.dataset for column in table.columns}) > 1
    heads = []
    for column in table.columns:
        protocol = published.protocols[table.id][column.metric]
        dataset = published.names[column.dataset] if several and column.dataset else ""
        mask = " ".join(part for part in (column.mask_type, column.mask_ratio and f"{column.mask_ratio}%") if part)
        over = ", ".join(part for part in (dataset, column.scene, mask) if part)
        marks = tuple(i for i, remark in enumerate(table.remarks, 1) if column.id in remark.columns and not remark.rows)
        head = Head(
            column.id, MEASURES[protocol.shown].title, over, column.unit, column.better, protocol.shown,
            condition_of(column), column.image_size or protocol.size, column, protocol, marks,
        )  # fmt: skip
        heads.append(head)
        for measure in (MEASURES[metric] for metric in protocol.also):
            further = replace(head, id=f"{column.id}-{measure.id}", name=measure.title, unit=measure.unit or "1")
            heads.append(replace(further, metric=measure.id, printed=None, protocol=None, marks=()))
    return heads


def conventions_of(table: PrintedTable, published: Published) -> tuple[str, ...]:
    """Return for each printed metric which of ours is shown, which one the paper most likely used, and why."""
    if table.kind == LAYERS:
        return ()
    texts = []
    for metric in dict.fromkeys(column.metric for column in table.columns):
        protocol = published.protocols[table.id][metric]
        shown = "; ".join(f"{name}: {MEASURES[name].protocol}" for name in (protocol.shown, *protocol.also))
        used = protocol.used or "cannot be told"
        verb = "comparable" if protocol.comparable else "not comparable as numbers"
        texts.append(f"{metric}, {verb}. Shown {shown}. The paper most likely used: {used}. {protocol.why}")
    return tuple(texts)


# Rows -----------------------------------------------------------------------------------------------------------------


def runs_of(table: PrintedTable, row: PrintedRow, runs: Sequence[Group], published: Published) -> list[Group]:
    """Return the runs of a published row: those of its id, else those of the method that the row equals."""
    if table.kind == LAYERS:
        return []
    datasets = {column.dataset for column in table.columns} - {None}
    task = published.task(table)
    fitting = [
        group for group in runs if group.record.task == task and (not datasets or group.record.dataset in datasets)
    ]
    fitting.sort(key=lambda group: bool(group.record.trained_on))  # runs trained on this dataset come first
    same_id = [group for group in fitting if row.method in group.record.rows]
    equal = published.same_as.get(row.method, row.method)
    return same_id or [group for group in fitting if equal in group.record.rows]


def lines_of_runs(runs: Sequence[Group]) -> list[list[Group]]:
    """Lay a row's runs out in lines: the first run of each dataset in the first line, and so on.

    A line holds runs of one kind, method, origin and network only.
    """
    by_kind: dict[str, dict[str, list[Group]]] = {}
    for group in runs:
        record = group.record
        key = json.dumps([record.kind, record.method, record.origin, record.network], sort_keys=True, default=str)
        by_kind.setdefault(key, {}).setdefault(record.dataset, []).append(group)
    lines = []
    for by_dataset in by_kind.values():
        longest = max(len(members) for members in by_dataset.values())
        lines += [[members[i] for members in by_dataset.values() if i < len(members)] for i in range(longest)]
    return lines


def switches_text(row: PrintedRow) -> str:
    """Return what an ablation row has on or off, in words."""
    texts = []
    for name, value in row.switches.items():
        words = name.replace("_", " ")
        texts.append(f"{words} {value}" if not isinstance(value, bool) else f"{'with' if value else 'without'} {words}")
    return ", ".join(texts)


def printed_cells(table: PrintedTable, row: PrintedRow) -> dict[str, Printed]:
    """Return the published values of a row with the footnotes that name the very cell."""
    return {
        name: Printed(
            text,
            row.numbers[name] if isinstance(row.numbers[name], (int, float)) else None,
            tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and name in remark.columns),
        )
        for name, text in row.values.items()
        if text is not None
    }


def empty_line(table: PrintedTable, row: PrintedRow) -> Line:
    """Return the line of a published row without a run."""
    marks = tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and not remark.columns)
    layers = table.kind == LAYERS
    detail = ", ".join(part for part in ("" if layers else row.method, switches_text(row)) if part)
    verdict = "" if layers else NOT_RUN
    return Line(row.row, row.label, detail, None, printed=printed_cells(table, row), marks=marks, verdict=verdict)


def filled_line(
    line: Line, members: Sequence[Group], heads: Sequence[Head], table: str, notes: Notes, several_origins: bool
) -> Line:
    """Return a row's line with its measured cells, judged; each column takes the run of its dataset."""
    texts = [text for group in members for text in caveats(group, several_origins)]
    letters = tuple(dict.fromkeys(notes.letter(text) for text in texts))
    filled = replace(line, group=members[0], measured={}, notes=letters)
    for head in heads:
        dataset = head.printed.dataset if head.printed else None
        group = next((member for member in members if dataset in (None, member.record.dataset)), None)
        filled.measured[head.id] = measure_cell(table, line.row, group, head, notes) if group else Measured(None)
        if head.id in line.printed:
            judge_cell(filled.measured[head.id], line.printed[head.id], head)
    filled.verdict, filled.reason = judge_line(filled, line.printed, heads)
    return filled


# The table ------------------------------------------------------------------------------------------------------------


def published_table(table: PrintedTable, runs: Sequence[Group], published: Published) -> Table:
    """Join a published table with the runs of its rows; rows without one show what is printed only.

    Raises:
        UserError: a measured cell that does not lead back to what made it.
    """
    by_row = {row.row: runs_of(table, row, runs, published) for row in table.rows}
    members = [group for fitting in by_row.values() for group in fitting]
    several_origins = len({group.record.origin for group in members}) > 1
    heads = heads_of(table, published)
    notes = Notes()
    lines = []
    for row in table.rows:
        empty = empty_line(table, row)
        filled = [
            filled_line(empty, together, heads, table.id, notes, several_origins)
            for together in lines_of_runs(by_row[row.row])
        ]
        for further in filled[1:]:
            further.first, further.printed = False, {}
        lines += filled or [empty]
    for head in heads:
        mark_measured(head, lines)
        mark_printed(head, lines)
    origin = origin_text(members)
    title = f"{paper_name(table.paper)}, table {table.table} (section {table.section}): {table.title}"
    reading = published.readings.get(table.id)
    shown = Table(
        table.id,
        f"{title}; measured on {origin}" if origin else title,
        published.task(table),
        tuple(dict.fromkeys(str(column.dataset) for column in table.columns if column.dataset)),
        tuple(heads),
        lines,
        table.kind,
        conventions_of(table, published),
        tuple((i, remark.kind, remark.text) for i, remark in enumerate(table.remarks, 1)),
        notes.entries() + ((("*", reading.why),) if reading else ()),
        tuple(i for i, remark in enumerate(table.remarks, 1) if not remark.rows and not remark.columns),
    )
    if table.kind != LAYERS:
        shown.verdict, shown.reason = judge_table(shown)
    return shown
