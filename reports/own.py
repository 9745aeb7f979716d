"""Tables of one's own: runs side by side that no paper prints as a table. Each is a file of `reports/tables/`.

A file names its `id` (its own name), `title`, `task`, `dataset`, `columns` (our metric ids) and `rows` (an evaluation's
name and a label each); for the tasks with a hole also the `input` under which all is shown, sharp or blurred; and, if
there is something to say, a `note` that stands below the table. No published cell stands in it, so it has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.contracts import INPUTS, TASKS, DataError
from bench.registry import nearest
from reports.published import Published, read_yaml
from reports.tables import (
    Group,
    Line,
    Measured,
    Table,
    cell,
    mark_measured,
    meanings,
    metric_heads,
    origin_text,
    run_notes,
)

FOLDER = Path(__file__).with_name("tables")
KIND = "own"
REQUIRED = {"id": str, "title": str, "task": str, "dataset": str, "columns": list, "rows": list}
OPTIONAL = {"input": str, "note": str}
INPUT_NAMES = ("sharp", "blurred")


@dataclass(frozen=True)
class Own:
    """One table of one's own.

    Args:
        columns: our metric ids.
        rows: evaluations' names to labels, in order.
        input: sharp or blurred, for a task with a hole; "" for the others.
        note: what stands below it.
    """

    id: str
    title: str
    task: str
    dataset: str
    columns: tuple[str, ...]
    rows: Mapping[str, str]
    input: str = ""
    note: str = ""


def load(published: Published, folder: Path = FOLDER) -> list[Own]:
    """Read every table of `folder`, in the order of the files' names. Raises DataError for one that is not right."""
    return [read_own(path, published) for path in sorted(folder.glob("*.yaml"))]


def read_own(path: Path, published: Published) -> Own:
    """Read one file.

    Raises:
        DataError: a field that is missing, unknown or of the wrong kind; an unknown task, dataset or metric.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: found {type(raw).__name__}, expected the fields {', '.join(REQUIRED)}")
    known = REQUIRED | OPTIONAL
    for name, value in raw.items():
        if name not in known:
            raise DataError(f"{path}: {name}: unknown field; the nearest are: {nearest(str(name), known)}")
        if not isinstance(value, known[name]):
            raise DataError(f"{path}: {name}: found {value!r}, expected {known[name].__name__}")
    if missing := [name for name in REQUIRED if name not in raw]:
        raise DataError(f"{path}: lacks {', '.join(missing)}")
    if raw["id"] != path.stem or raw["id"] in published.tables:
        raise DataError(f"{path}: id: found {raw['id']!r}, expected the file's name, and that of no published table")
    for name, value, expected in (
        ("task", raw["task"], TASKS),
        ("dataset", raw["dataset"], registry.names("datasets")),
        *(("columns", column, tuple(published.metrics)) for column in raw["columns"]),
    ):
        if value not in expected:
            raise DataError(f"{path}: {name}: no {value!r}; the nearest are: {nearest(str(value), expected)}")
    holes = "mask" in INPUTS[raw["task"]]
    if raw.get("input", "") not in (INPUT_NAMES if holes else ("",)):
        expected_text = " or ".join(INPUT_NAMES) if holes else f"none: {raw['task']} has one input"
        raise DataError(f"{path}: input: found {raw.get('input', '')!r}, expected {expected_text}")
    return Own(**{**raw, "columns": tuple(raw["columns"]), "rows": _rows(path, raw["rows"])})


def _rows(path: Path, entries: Sequence[Any]) -> dict[str, str]:
    rows: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"run", "label"}:
            raise DataError(f"{path}: rows: found {entry!r}, expected run and label")
        if entry["run"] in rows:
            raise DataError(f"{path}: rows: {entry['run']} stands there twice")
        rows[str(entry["run"])] = str(entry["label"])
    return rows


def own_table(own: Own, runs: Sequence[Group], published: Published) -> Table | None:
    """Join a table with its runs, each with all its seeds; None where none of them was run.

    Raises:
        UserError: a measured cell that does not lead back to its run.
        DataError: an evaluation of another task or dataset than the table's.
    """
    by_name = {one.name: group for group in runs for one in group.evaluations}
    members = [by_name[name] for name in own.rows if name in by_name]
    if not members:
        return None
    for name in own.rows:
        record = by_name[name].record if name in by_name else {"task": own.task, "dataset": own.dataset}
        if (record["task"], record["dataset"]) != (own.task, own.dataset):
            raise DataError(
                f"reports/tables/{own.id}.yaml: rows: {name} is {record['task']} on {record['dataset']}, expected "
                f"{own.task} on {own.dataset}, as the other rows"
            )
    heads = metric_heads(own.columns, members, {"input": own.input} if own.input else {}, published)
    notes: dict[str, str] = {}
    mixed = len({group.record["origin"] for group in members}) > 1
    lines = []
    for name, label in own.rows.items():
        line = Line(name, label, "", by_name.get(name))
        if line.group:
            line.notes = run_notes(line.group, notes, mixed)
            line.measured = {head.id: cell(own.id, name, line.group, head, notes) for head in heads}
        else:
            line.measured = {head.id: Measured(None) for head in heads}
        lines.append(line)
    for head in heads:
        mark_measured(head, lines)
    first = members[0].record
    place = str(first["dataset_title"]) + (f" of {own.input} images" if own.input else "")
    origin = origin_text(members)
    title = f"{own.title}: {own.task} on {place}" + (f"; measured on {origin}" if origin else "")
    letters = [(mark, text) for text, mark in notes.items()]
    return Table(
        own.id, title, own.task, (own.dataset,), tuple(heads), lines, KIND, meanings(heads, published),
        notes=tuple(letters + ([("*", own.note)] if own.note else [])),
    )  # fmt: skip
