"""Tables of your own: runs side by side that no paper prints as a table. Each is a file of `reports/tables/`.

A file has its `id` (the file's name), `title`, `task`, `dataset`, `columns` (our metric ids) and `rows`: a list of an
evaluation's name and a label each, or what all runs to be shown have in common (`{method: mrfnet}`,
`{run: "mrfnet-paths*"}`). For the tasks with a hole it has the `input` under which all is shown, sharp or blurred. An
optional `note` is printed below the table. It has no published cells, so it has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench import registry
from bench.contracts import DataError
from bench.contracts.errors import brief
from bench.names import check_name
from bench.registry import nearest
from bench.tasks import TASKS, find_task
from reports.published.printed import Published, read_yaml
from reports.scores.measures import MEASURES
from reports.tables.cells import mark_measured, measure_cell
from reports.tables.columns import conventions_of, metric_heads
from reports.tables.model import CUSTOM, Line, Measured, Notes, Table
from reports.tables.runs import Group, caveats, origin_text

FOLDER = Path(__file__).parent
REQUIRED: dict[str, tuple[type, ...]] = {
    "id": (str,), "title": (str,), "task": (str,), "dataset": (str,), "columns": (list,), "rows": (list, dict),
}  # fmt: skip
OPTIONAL: dict[str, tuple[type, ...]] = {"input": (str,), "note": (str,)}
INPUT_NAMES = ("sharp", "blurred")
SELECTORS = {"run": "evaluation", "method": "method", "dataset": "dataset", "kind": "kind", "title": "title"}
"""What rows can be selected by, and the field of an evaluation's record that it is compared with."""


@dataclass(frozen=True)
class CustomTable:
    """One file, checked.

    Args:
        id: the file's name.
        title: the beginning of the caption.
        task: the task of all its runs.
        dataset: the dataset of all its runs.
        columns: our metric ids.
        rows: evaluations' names to labels, in order; empty where `selected` takes their place.
        input: sharp or blurred, for a task with a hole; "" for the others.
        note: a text below the table, "" for none.
        selected: key of SELECTORS to the patterns of which one must fit; empty where the rows are listed.
    """

    id: str
    title: str
    task: str
    dataset: str
    columns: tuple[str, ...]
    rows: Mapping[str, str]
    input: str = ""
    note: str = ""
    selected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# Reading --------------------------------------------------------------------------------------------------------------


def load(published: Published, folder: Path = FOLDER) -> list[CustomTable]:
    """Read every table of `folder`, in the order of the files' names. Raises DataError for a faulty one."""
    return [read_file(path, published) for path in sorted(folder.glob("*.yaml"))]


def read_file(path: Path, published: Published) -> CustomTable:
    """Read one file.

    Raises:
        DataError: a field that is missing, unknown or of the wrong kind; an unknown task, dataset or metric.
    """
    raw = read_yaml(path)
    check_fields(path, raw)
    check_name(raw["id"], f"{path}: id")
    if raw["id"] != path.stem or raw["id"] in published.tables:
        raise DataError(f"{path}: id: found {raw['id']!r}, expected the file's name, and that of no published table")
    for name, value, expected in (
        ("task", raw["task"], TASKS),
        ("dataset", raw["dataset"], registry.names("datasets")),
        *(("columns", column, tuple(MEASURES)) for column in raw["columns"]),
    ):
        if value not in expected:
            raise DataError(f"{path}: {name}: no {value!r}; the nearest are: {nearest(str(value), expected)}")
    has_hole = find_task(raw["task"]).has_hole
    if raw.get("input", "") not in (INPUT_NAMES if has_hole else ("",)):
        expected_text = " or ".join(INPUT_NAMES) if has_hole else f"none: {raw['task']} has one input"
        raise DataError(f"{path}: input: found {raw.get('input', '')!r}, expected {expected_text}")
    fields = {**raw, "columns": tuple(raw["columns"])}
    if isinstance(raw["rows"], list):
        return CustomTable(**{**fields, "rows": listed_rows(path, raw["rows"])})
    return CustomTable(**{**fields, "rows": {}, "selected": selection(path, raw["rows"])})


def check_fields(path: Path, raw: object) -> None:
    """Raise DataError for a file with a field that is missing, unknown or of the wrong kind."""
    if not isinstance(raw, dict):
        raise DataError(f"{path}: found {type(raw).__name__}, expected the fields {', '.join(REQUIRED)}")
    known = REQUIRED | OPTIONAL
    for name, value in raw.items():
        if name not in known:
            raise DataError(f"{path}: {name}: unknown field; the nearest are: {nearest(str(name), known)}")
        if not isinstance(value, known[name]):
            kinds = " or ".join(kind.__name__ for kind in known[name])
            raise DataError(f"{path}: {name}: found {brief(value)}, expected {kinds}")
    if missing := [name for name in REQUIRED if name not in raw]:
        raise DataError(f"{path}: lacks {', '.join(missing)}")


def listed_rows(path: Path, entries: Sequence[Any]) -> dict[str, str]:
    """Return the evaluations' names and labels of listed rows."""
    rows: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"run", "label"}:
            raise DataError(f"{path}: rows: found {brief(entry)}, expected run and label")
        if (run := str(entry["run"])) in rows:
            raise DataError(f"{path}: rows: {brief(run)} is listed twice")
        rows[run] = str(entry["label"])
    return rows


def selection(path: Path, raw: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the patterns by selector of rows that are not listed."""
    patterns_of = {}
    for name, value in raw.items():
        if name not in SELECTORS:
            raise DataError(
                f"{path}: rows: cannot select by {brief(name)}; the nearest are: {nearest(str(name), SELECTORS)}"
            )
        patterns = value if isinstance(value, list) else [value]
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise DataError(f"{path}: rows: {name}: found {brief(value)}, expected a name, a pattern or a list of them")
        patterns_of[str(name)] = tuple(patterns)
    if not patterns_of:
        raise DataError(f"{path}: rows: selects by nothing; expected some of {', '.join(SELECTORS)}")
    return patterns_of


# Rows -----------------------------------------------------------------------------------------------------------------


def select(custom: CustomTable, runs: Sequence[Group]) -> dict[str, str]:
    """Return the evaluations' names and labels of a table's rows: as listed, or of the runs that fit, sorted by name.

    A selected run is labelled by its title; where several have the same title, by the arguments of the network in which
    they differ, and by the evaluation's name where these are equal too.
    """
    if not custom.selected:
        return dict(custom.rows)
    fitting = sorted((group for group in runs if fits(custom, group)), key=lambda group: group.evaluations[0].name)
    labels = [label_of(group, fitting) for group in fitting]
    names = [group.evaluations[0].name for group in fitting]
    return {
        name: f"{text}, {name}" if labels.count(text) > 1 else text for name, text in zip(names, labels, strict=True)
    }


def fits(custom: CustomTable, group: Group) -> bool:
    """Return whether a run is of the table's task and dataset and fits its selection."""
    record = group.record
    return (record.task, record.dataset) == (custom.task, custom.dataset) and all(
        any(fnmatchcase(str(getattr(record, SELECTORS[name])), pattern) for pattern in patterns)
        for name, patterns in custom.selected.items()
    )


def label_of(group: Group, members: Sequence[Group]) -> str:
    """Return a run's title, with the network arguments in which runs of that title differ: "MRFNet, num_paths 2"."""
    title = group.record.title
    networks = [other.record.network for other in members if other.record.title == title]
    names = dict.fromkeys(name for network in networks for name in network)
    differing = [name for name in names if len({str(network.get(name)) for network in networks}) > 1]
    network = group.record.network
    return ", ".join([title, *(f"{name} {network.get(name, 'default')}" for name in differing)])


# The table ------------------------------------------------------------------------------------------------------------


def custom_table(custom: CustomTable, runs: Sequence[Group]) -> Table | None:
    """Join a table with its runs, each with all its seeds; None where none of them was run.

    Raises:
        UserError: a measured cell that does not lead back to what made it.
        DataError: an evaluation of another task or dataset than the table's.
    """
    by_name = {member.name: group for group in runs for member in group.evaluations}
    rows = select(custom, runs)
    members = [by_name[name] for name in rows if name in by_name]
    if not members:
        return None
    check_runs(custom, {name: by_name[name] for name in rows if name in by_name})
    heads = metric_heads(custom.columns, {"input": custom.input} if custom.input else {})
    notes = Notes()
    several_origins = len({group.record.origin for group in members}) > 1
    lines = []
    for name, text in rows.items():
        line = Line(name, text, "", by_name.get(name))
        if line.group:
            line.notes = tuple(notes.letter(caveat) for caveat in caveats(line.group, several_origins))
            line.measured = {head.id: measure_cell(custom.id, name, line.group, head, notes) for head in heads}
        else:
            line.measured = {head.id: Measured(None) for head in heads}
        lines.append(line)
    for head in heads:
        mark_measured(head, lines)
    place = members[0].record.dataset_title + (f" of {custom.input} images" if custom.input else "")
    origin = origin_text(members)
    return Table(
        custom.id,
        f"{custom.title}: {custom.task} on {place}" + (f"; measured on {origin}" if origin else ""),
        custom.task,
        (custom.dataset,),
        tuple(heads),
        lines,
        CUSTOM,
        conventions_of(heads),
        notes=notes.entries() + ((("*", custom.note),) if custom.note else ()),
    )


def check_runs(custom: CustomTable, runs: Mapping[str, Group]) -> None:
    """Raise DataError for a run of another task or dataset than the table's."""
    for name, group in runs.items():
        record = group.record
        if (record.task, record.dataset) != (custom.task, custom.dataset):
            raise DataError(
                f"reports/tables/{custom.id}.yaml: rows: {name} is {record.task} on {record.dataset}, expected "
                f"{custom.task} on {custom.dataset}, as the other rows"
            )
