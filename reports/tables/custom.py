"""Tables of one's own: runs side by side that no paper prints as a table. Each is a file of `reports/tables/`.

A file names its `id` (its own name), `title`, `task`, `dataset`, `columns` (our metric ids) and `rows`: an evaluation's
name and a label each, or what all runs to be shown have in common (`{method: mrfnet}`, `{run: "mrfnet-paths*"}`). For
the tasks with a hole it names the `input` under which all is shown, sharp or blurred; and, if there is something to
say, a `note` that stands below the table. No published cell stands in it, so it has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench import registry
from bench.contracts import INPUTS, TASKS, DataError
from bench.registry import nearest
from reports.published.printed import Published, read_yaml
from reports.scores.measures import MEASURES
from reports.scores.reading import Evaluation
from reports.tables.filling import cell, groups, mark_measured, origin_text, run_notes
from reports.tables.model import Group, Line, Measured, Table
from reports.tables.overview import meanings, metric_heads, overviews
from reports.tables.papers import published_table

FOLDER = Path(__file__).parent
KIND = "own"
REQUIRED: dict[str, tuple[type, ...]] = {
    "id": (str,), "title": (str,), "task": (str,), "dataset": (str,), "columns": (list,), "rows": (list, dict),
}  # fmt: skip
OPTIONAL: dict[str, tuple[type, ...]] = {"input": (str,), "note": (str,)}
INPUT_NAMES = ("sharp", "blurred")
SELECTORS = {"run": "evaluation", "method": "method", "dataset": "dataset", "kind": "kind", "title": "title"}
"""What rows can be selected by, and the field of an evaluation's record that it is compared with."""


@dataclass(frozen=True)
class Own:
    """One table of one's own.

    Args:
        columns: our metric ids.
        rows: evaluations' names to labels, in order; empty where `selected` takes their place.
        selected: what all runs to be shown have in common: of SELECTORS to the patterns of which one must fit.
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
    selected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
            kinds = " or ".join(kind.__name__ for kind in known[name])
            raise DataError(f"{path}: {name}: found {value!r}, expected {kinds}")
    if missing := [name for name in REQUIRED if name not in raw]:
        raise DataError(f"{path}: lacks {', '.join(missing)}")
    if raw["id"] != path.stem or raw["id"] in published.tables:
        raise DataError(f"{path}: id: found {raw['id']!r}, expected the file's name, and that of no published table")
    for name, value, expected in (
        ("task", raw["task"], TASKS),
        ("dataset", raw["dataset"], registry.names("datasets")),
        *(("columns", column, tuple(MEASURES)) for column in raw["columns"]),
    ):
        if value not in expected:
            raise DataError(f"{path}: {name}: no {value!r}; the nearest are: {nearest(str(value), expected)}")
    holes = "mask" in INPUTS[raw["task"]]
    if raw.get("input", "") not in (INPUT_NAMES if holes else ("",)):
        expected_text = " or ".join(INPUT_NAMES) if holes else f"none: {raw['task']} has one input"
        raise DataError(f"{path}: input: found {raw.get('input', '')!r}, expected {expected_text}")
    listed = isinstance(raw["rows"], list)
    rows = {"rows": _rows(path, raw["rows"])} if listed else {"rows": {}, "selected": _selected(path, raw["rows"])}
    return Own(**{**raw, "columns": tuple(raw["columns"]), **rows})


def _rows(path: Path, entries: Sequence[Any]) -> dict[str, str]:
    rows: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"run", "label"}:
            raise DataError(f"{path}: rows: found {entry!r}, expected run and label")
        if entry["run"] in rows:
            raise DataError(f"{path}: rows: {entry['run']} stands there twice")
        rows[str(entry["run"])] = str(entry["label"])
    return rows


def _selected(path: Path, wanted: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, value in wanted.items():
        if name not in SELECTORS:
            raise DataError(
                f"{path}: rows: cannot select by {name!r}; the nearest are: {nearest(str(name), SELECTORS)}"
            )
        patterns = value if isinstance(value, list) else [value]
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise DataError(f"{path}: rows: {name}: found {value!r}, expected a name, a pattern or a list of them")
        found[str(name)] = tuple(patterns)
    if not found:
        raise DataError(f"{path}: rows: selects by nothing; expected some of {', '.join(SELECTORS)}")
    return found


def select(own: Own, runs: Sequence[Group]) -> dict[str, str]:
    """The evaluations' names and labels of a table's rows: as listed, or of the runs that fit, in the order of names.

    A selected run is labelled by its title; where several have the same, by the arguments of the network in which they
    differ, and by the evaluation's name where these are equal too.
    """
    if not own.selected:
        return dict(own.rows)
    fitting = [
        group
        for group in runs
        if (group.record["task"], group.record["dataset"]) == (own.task, own.dataset)
        and all(
            any(fnmatchcase(str(group.record[SELECTORS[name]]), pattern) for pattern in patterns)
            for name, patterns in own.selected.items()
        )
    ]
    fitting.sort(key=lambda group: group.evaluations[0].name)
    labels = [label(group, fitting) for group in fitting]
    names = [group.evaluations[0].name for group in fitting]
    return {
        name: f"{text}, {name}" if labels.count(text) > 1 else text for name, text in zip(names, labels, strict=True)
    }


def label(group: Group, members: Sequence[Group]) -> str:
    """A run's title, with the arguments of its network that not all of its title share: "MRFNet, num_paths 2"."""
    title = str(group.record["title"])
    networks = [other.record["network"] or {} for other in members if other.record["title"] == title]
    names = dict.fromkeys(name for network in networks for name in network)
    differing = [name for name in names if len({str(network.get(name)) for network in networks}) > 1]
    mine = group.record["network"] or {}
    return ", ".join([title, *(f"{name} {mine[name]}" if name in mine else f"{name} default" for name in differing)])


def own_table(own: Own, runs: Sequence[Group]) -> Table | None:
    """Join a table with its runs, each with all its seeds; None where none of them was run.

    Raises:
        UserError: a measured cell that does not lead back to its run.
        DataError: an evaluation of another task or dataset than the table's.
    """
    by_name = {one.name: group for group in runs for one in group.evaluations}
    rows = select(own, runs)
    members = [by_name[name] for name in rows if name in by_name]
    if not members:
        return None
    for name in rows:
        record = by_name[name].record if name in by_name else {"task": own.task, "dataset": own.dataset}
        if (record["task"], record["dataset"]) != (own.task, own.dataset):
            raise DataError(
                f"reports/tables/{own.id}.yaml: rows: {name} is {record['task']} on {record['dataset']}, expected "
                f"{own.task} on {own.dataset}, as the other rows"
            )
    heads = metric_heads(own.columns, {"input": own.input} if own.input else {})
    notes: dict[str, str] = {}
    mixed = len({group.record["origin"] for group in members}) > 1
    lines = []
    for name, text in rows.items():
        line = Line(name, text, "", by_name.get(name))
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
        own.id, title, own.task, (own.dataset,), tuple(heads), lines, KIND, meanings(heads),
        notes=tuple(letters + ([("*", own.note)] if own.note else [])),
    )  # fmt: skip


def all_tables(evaluations: Sequence[Evaluation], published: Published, further: Sequence[Own]) -> list[Table]:
    """Every table of a report: the overviews, the published tables, and those of one's own that have a run.

    Raises:
        UserError: a measured cell that does not lead back to its run.
        DataError: a table of one's own that names a run of another task or dataset.
    """
    runs = groups(evaluations)
    shown = overviews(runs)
    shown += [published_table(table, runs, published) for table in published.tables.values()]
    return shown + [found for entry in further if (found := own_table(entry, runs))]
