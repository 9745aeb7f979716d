"""The printed numbers of the papers, typed: what `published/` holds, and `protocols.yaml` beside it.

The files stay as printed: nothing is repaired here, every doubt is a remark (see published/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.contracts import TASKS, DataError
from bench.registry import nearest
from reports.scores.measures import MEASURES

FOLDER = Path(__file__).parent
PROTOCOLS = Path(__file__).parents[1] / "protocols.yaml"
OTHER_FILES = ("ids.yaml", "figures.yaml", "stated-numbers.yaml")
PLAIN = ("id", "paper", "table", "section", "title", "task", "kind", "printed_layout")
LAYERS = "architecture"
"""The kind of the tables that list layers: their rows are measured by no run."""


@dataclass(frozen=True)
class Column:
    """One number column as printed; None where the paper does not say, or where it does not apply.

    Args:
        input: sharp, blurred, deblurred or dual-pixel.
        mask_ratio: a band in percent, "20-30".
        better: higher, lower, or None for layers.
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
class Row:
    """One printed row; `values` as printed, `numbers` the same in the unit of the column, None where empty.

    Args:
        row: the layer's name in a table of layers, else the method's id.
    """

    row: str
    method: str
    label: str
    values: Mapping[str, str | None]
    numbers: Mapping[str, Any]
    switches: Mapping[str, bool | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Remark:
    """A doubt about a table; the cells are the product of rows and columns, an empty tuple means all."""

    kind: str
    text: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    see: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One published table."""

    id: str
    paper: str
    table: str
    section: str
    title: str
    task: str
    kind: str
    printed_layout: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class Protocol:
    """Which metric id is shown for a printed metric.

    Args:
        shown: our metric id.
        used: the paper's convention as far as it can be told; None where it cannot.
        comparable: whether the two are comparable as numbers, not only in the order of the rows.
        why: one sentence.
        also: metric ids in columns of their own, without a printed value.
        size: "1680x1120", the size of a cost for which the paper names none.
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
    """All of it.

    Args:
        tables: by id, in the order of the files' names.
        same_as: an ablation's row to the method that it equals.
        names: datasets by id, as the papers spell them first.
        protocols: by table and printed metric.
        readings: by table, for those that are filled by runs of another task than the file says.
    """

    tables: Mapping[str, Table]
    same_as: Mapping[str, str]
    names: Mapping[str, str]
    protocols: Mapping[str, Mapping[str, Protocol]]
    readings: Mapping[str, Reading]

    def task(self, table: Table) -> str:
        """The task of the runs that fill a table."""
        return self.readings[table.id].task if table.id in self.readings else table.task


def read_yaml(path: Path) -> Any:
    """Read one file. Raises DataError when it is missing or no YAML."""
    try:  # the C reader is ten times faster where PyYAML was built with it
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({error}); restore the file from the repository") from error


def read_table(path: Path) -> Table:
    """Read one table file. Raises DataError naming the file and the field that does not fit."""
    raw = read_yaml(path)
    try:
        return Table(
            **{name: raw[name] for name in PLAIN},
            columns=tuple(Column(**column) for column in raw["columns"]),
            rows=tuple(
                Row(row.get("row", row["method"]), row["method"], row["label"], row["values"], row["numbers"],
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
    """Read `protocols.yaml`: the protocols by table and printed metric, and the readings by table."""
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
                    raise DataError(
                        f"{path}: protocols.{name}.{metric}: no metric {shown!r}; the nearest are: "
                        f"{nearest(shown, MEASURES)}"
                    )
    return by_table, readings


def load(folder: Path = FOLDER, protocols: Path = PROTOCOLS) -> Published:
    """Read every table of `folder` with its ids and its protocols.

    Raises:
        DataError: a file that cannot be read, or a printed metric that has no protocol.
    """
    ids = read_yaml(folder / "ids.yaml")
    tables = {path.stem: read_table(path) for path in sorted(folder.glob("*.yaml")) if path.name not in OTHER_FILES}
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
