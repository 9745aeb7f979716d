"""The printed numbers of the papers, typed: the files of `published/`, and how ours are read next to them.

The files are as printed: nothing is repaired here, every doubt is a remark (see published/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import yaml_input
from bench.contracts import DataError, ParamsError
from bench.registry import nearest
from bench.tasks import TASKS
from reports.scores.measures import MEASURES

FOLDER = Path(__file__).parent
PROTOCOLS = FOLDER / "protocols.yaml"
OTHER_FILES = ("ids.yaml", "figures.yaml", "stated-numbers.yaml", "protocols.yaml")
TEXT_FIELDS = ("id", "paper", "table", "section", "title", "task", "kind", "printed_layout")
LAYERS = "architecture"
"""The kind of the tables that list layers: no run measures their rows."""


@dataclass(frozen=True)
class PrintedColumn:
    """One number column as printed; None where the paper is silent, or where the field does not apply.

    Args:
        id: unique in its table.
        dataset: the id of the dataset.
        split: train, val or test.
        input: sharp, blurred, deblurred or dual-pixel.
        mask_type: irregular or square.
        mask_ratio: the share of the hole, a band in percent, "20-30".
        scene: indoor, outdoor or combined.
        metric: the printed metric's id in ids.yaml.
        unit: the unit of the numbers.
        better: higher, lower, or None for layers.
        batch_size: of a cost, in images.
        image_size: of a cost, "1680x1120".
        device: of a cost, the card or processor.
    """

    id: str
    dataset: str | None
    split: str | None
    input: str | None
    mask_type: str | None
    mask_ratio: str | None
    scene: str | None
    metric: str
    unit: str
    better: str | None
    batch_size: int | None = None
    image_size: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class PrintedRow:
    """One printed row.

    Args:
        row: the layer's name in a table of layers, else the method's id.
        method: the method's id in ids.yaml.
        label: the name as printed.
        values: texts as printed, by column; None where the cell is empty.
        numbers: the same in the unit of the column.
        switches: what an ablation row has on or off.
    """

    row: str
    method: str
    label: str
    values: Mapping[str, str | None]
    numbers: Mapping[str, Any]
    switches: Mapping[str, bool | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Remark:
    """A doubt about a table. It concerns the cells of its rows and columns.

    Args:
        kind: contradiction, misprint, repeat, ... (see README.md).
        text: the doubt.
        rows: the rows concerned; empty for all.
        columns: the columns concerned; empty for all.
        see: other tables to compare with.
    """

    kind: str
    text: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    see: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrintedTable:
    """One published table.

    Args:
        id: the name of its file.
        paper: the paper's id.
        table: its number as printed.
        section: the section in which it is printed.
        title: our title.
        task: the task that its section is about.
        kind: comparison, ablation, efficiency or architecture.
        printed_layout: how the paper lays it out, where that differs.
        columns: in printed order.
        rows: in printed order.
        remarks: the doubts; a footnote's number is the place in this list, from 1.
    """

    id: str
    paper: str
    table: str
    section: str
    title: str
    task: str
    kind: str
    printed_layout: str
    columns: tuple[PrintedColumn, ...]
    rows: tuple[PrintedRow, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class Protocol:
    """Which metric id is shown for a printed metric.

    Args:
        shown: our metric id.
        used: the paper's convention as far as it can be told; None where it cannot.
        comparable: whether the two are comparable as numbers; if not, only the order of the rows is.
        why: one sentence.
        also: metric ids in further columns, without a printed value.
        size: "1680x1120", the image size of a cost for which the paper names none; None without one.
    """

    shown: str
    used: str | None
    comparable: bool
    why: str
    also: tuple[str, ...] = ()
    size: str | None = None


@dataclass(frozen=True)
class Reading:
    """Our reading of a table whose section names another task than its rows solve.

    Args:
        task: the task of the runs that fill it.
        why: one sentence, printed below the table.
    """

    task: str
    why: str


@dataclass(frozen=True)
class Published:
    """All published tables and how ours are read next to them.

    Args:
        tables: by id, in the order of the files' names.
        same_as: an ablation's row to the method that it equals.
        names: dataset ids to the papers' first spelling.
        protocols: by table and printed metric.
        readings: by table, for those that are filled by runs of another task than their section's.
    """

    tables: Mapping[str, PrintedTable]
    same_as: Mapping[str, str]
    names: Mapping[str, str]
    protocols: Mapping[str, Mapping[str, Protocol]]
    readings: Mapping[str, Reading]

    def task(self, table: PrintedTable) -> str:
        """Return the task of the runs that fill a table."""
        return self.readings[table.id].task if table.id in self.readings else table.task


def read_yaml(path: Path) -> Any:
    """Read one file. Raises DataError when it is missing or no YAML."""
    try:
        return yaml_input.read(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; restore it from the repository") from None
    except ParamsError as error:
        raise DataError(str(error)) from error


def table_files(folder: Path = FOLDER) -> list[Path]:
    """Return the files of the published tables, sorted by name."""
    return [path for path in sorted(folder.glob("*.yaml")) if path.name not in OTHER_FILES]


def read_table(path: Path) -> PrintedTable:
    """Read one table file. Raises DataError naming the file and the field that does not fit."""
    raw = read_yaml(path)
    try:
        return PrintedTable(
            **{name: raw[name] for name in TEXT_FIELDS},
            columns=tuple(PrintedColumn(**column) for column in raw["columns"]),
            rows=tuple(
                PrintedRow(row.get("row", row["method"]), row["method"], row["label"], row["values"], row["numbers"],
                           row.get("switches", {}))
                for row in raw["rows"]
            ),
            remarks=tuple(
                Remark(entry["kind"], entry["text"], *(tuple(entry.get(key, ())) for key in ("rows", "columns", "see")))
                for entry in raw["remarks"]
            ),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: does not have the fields of a published table ({error}); see README.md there"
        ) from error


def read_protocols(path: Path) -> tuple[dict[str, dict[str, Protocol]], dict[str, Reading]]:
    """Read `protocols.yaml`: the protocols by table and printed metric, and the readings by table.

    Raises:
        DataError: a missing field, an unknown metric or an unknown task.
    """
    raw = read_yaml(path)
    try:
        sets = {
            name: {
                metric: Protocol(**{**entry, "also": tuple(entry.get("also", ()))}) for metric, entry in group.items()
            }
            for name, group in raw["protocols"].items()
        }
        by_table = {table: sets[name] for table, name in raw["tables"].items()}
        readings = {table: Reading(**entry) for table, entry in raw["readings"].items()}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: does not have the fields of the protocols ({error})") from error
    for table, reading in readings.items():
        if reading.task not in TASKS:
            raise DataError(f"{path}: readings.{table}: task {reading.task!r}, expected one of {', '.join(TASKS)}")
    for name, group in sets.items():
        for metric, protocol in group.items():
            for shown in (protocol.shown, *protocol.also):
                if shown not in MEASURES:
                    place = f"{path}: protocols.{name}.{metric}"
                    raise DataError(f"{place}: no metric {shown!r}; the nearest are: {nearest(shown, MEASURES)}")
    return by_table, readings


def load(folder: Path = FOLDER, protocols: Path = PROTOCOLS) -> Published:
    """Read every table of `folder` with its ids and its protocols.

    Raises:
        DataError: a file that cannot be read, or a printed metric that has no protocol.
    """
    ids = read_yaml(folder / "ids.yaml")
    tables = {path.stem: read_table(path) for path in table_files(folder)}
    by_table, readings = read_protocols(protocols)
    if unknown := sorted(set(readings) - set(tables)):
        raise DataError(
            f"{protocols}: readings.{unknown[0]}: no such table; the nearest are: {nearest(unknown[0], tables)}"
        )
    for table in tables.values():
        for column in table.columns:
            if table.kind != LAYERS and column.metric not in by_table.get(table.id, {}):
                raise DataError(f"{protocols}: table {table.id} prints {column.metric}, which has no protocol; add one")
    return Published(
        tables,
        {entry["id"]: entry["same_as"] for entry in ids["methods"] if entry["same_as"]},
        {entry["id"]: entry["labels"][0] for entry in ids["datasets"]},
        by_table,
        readings,
    )
