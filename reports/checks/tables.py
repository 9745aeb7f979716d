"""The check of tables: their files are rendered again, and every number in them has a source."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.contracts.errors import brief
from reports.checks.cells import Entry
from reports.checks.inspection import Inspection
from reports.checks.pages import NUMBER, Key, number, numbers_in, rounded
from reports.published.printed import Published
from reports.scores.reading import Evaluation
from reports.scores.statistics import FEWEST
from reports.tables import formats
from reports.tables.formats import NUMBERS, read_csv
from reports.tables.model import Table

FORMATS = {"md": formats.markdown, "csv": formats.comma_separated, "tex": formats.latex}
"""The endings of a table's files, and the functions that write them."""
LEGEND_NUMBERS = f"95 5 {FEWEST} 2"
"""Numbers of the legends: the intervals, the level of the test, its fewest images; the columns of a pair."""
RECORD_TEXTS = ("evaluation", "title", "network", "reduced", "missing_losses", "not_measured")
"""Fields of a record whose texts a table may show."""


@dataclass(frozen=True)
class Sources:
    """What tables are made from."""

    evaluations: Mapping[str, Evaluation]
    """The evaluations by name."""
    published: Published
    """The published numbers."""


def measured_keys(frame: pd.DataFrame) -> list[Key]:
    """The measured cells of a table's CSV."""
    keys: list[Key] = []
    for title in frame.columns[frame.columns.str.endswith(".measured")]:
        column = title.removesuffix(".measured")
        cells = zip(frame["row"], frame[title], strict=True)
        keys += [(row, column, value) for row, value in cells if not math.isnan(value)]
    return keys


def check_measured(inspection: Inspection, place: str, keys: Iterable[Key], entries: Iterable[Entry]) -> None:
    """Compare the measured cells of a table's CSV with the entries of `cells.json`."""
    values: dict[Key, list[float]] = {}
    for entry in entries:
        key = (entry["row"], entry["column"], number(entry["cell"]))
        values.setdefault(key, []).append(number(entry["value"]))
    for row, column, cell in set(keys) ^ set(values):
        inspection.fault(place, f"row {row}, column {column}: {cell!r} is not in both this file and cells.json")
    for (row, column, cell), parts in values.items():
        means = (float(np.mean(parts)), parts[0])
        if math.isfinite(cell) and not any(math.isclose(cell, mean, rel_tol=1e-12) for mean in means):
            inspection.fault(place, f"row {row}, column {column}: {cell!r} is not the mean of {parts}")


def check_published(
    inspection: Inspection, place: str, table: Table, frame: pd.DataFrame, published: Published
) -> None:
    """Compare the published cells of a table's CSV with the published numbers."""
    printed = published.tables.get(table.id)
    first = frame.drop_duplicates("row").set_index("row")
    for row in printed.rows if printed else ():
        for name, text in row.values.items():
            value = first.at[row.row, f"{name}.published"] if row.row in first.index else None
            if value != (text or ""):
                inspection.fault(place, f"row {row.row}, column {name}: found {value!r}, published is {text!r}")
            inspection.counts["published"] += text is not None


def known_numbers(table: Table, frame: pd.DataFrame, sources: Sources) -> set[str]:
    """Every number that a table may show: measured, published, or in the texts that it is made from."""
    names = {name for names in frame["evaluations"] for name in names.split()}
    texts = [LEGEND_NUMBERS, table.title, table.reason, *table.conventions, *(line.label for line in table.lines)]
    texts += [text for line in table.lines for text in (line.reason, line.detail, line.flag)]
    texts += [text for _, text in table.notes] + [text for *_, text in table.remarks]
    texts += [head.heading for head in table.heads] + [str(mark) for mark, *_ in table.remarks]
    texts += [cell.detail for line in table.lines for cell in line.measured.values()]
    texts += [str(len(line.group.evaluations)) for line in table.lines if line.group]
    texts += [record_text(sources.evaluations[name]) for name in names]
    if printed := sources.published.tables.get(table.id):
        texts += [text for row in printed.rows for text in row.values.values() if text]
    numeric = [title for title in frame.columns if title.rpartition(".")[2] in NUMBERS]
    return numbers_in(" ".join(texts)) | rounded(frame[numeric].to_numpy(float).ravel())


def record_text(evaluation: Evaluation) -> str:
    """The texts of a record that a table may show."""
    return json.dumps([getattr(evaluation.record, name) for name in RECORD_TEXTS], default=str, ensure_ascii=False)


def check_numbers(inspection: Inspection, place: str, text: str, known: set[str]) -> None:
    """Find the numbers of a text that have no source."""
    for stray in sorted(numbers_in(text) - known):
        inspection.fault(place, f"the number {stray} comes from no measurement and from no published value")
    inspection.counts["numbers"] += len(NUMBER.findall(text))


def check_pages(inspection: Inspection, table: Table, measured: Sequence[Key], known: set[str]) -> None:
    """Compare the cells of a table on both its pages with its CSV, and find numbers without a source."""
    published = [
        (line.row, column, float(cell.number))
        for line in table.lines
        for column, cell in line.printed.items()
        if cell.number is not None
    ]
    for path in (inspection.report / "index.html", inspection.report / "tables" / f"{table.id}.html"):
        place = f"{inspection.name(path)}, table {table.id}"
        section = inspection.page(path).sections.get(table.id)
        if section is None:
            inspection.fault(place, "is not there")
            continue
        for kind, expected in (("measured", measured), ("published", published)):
            missing, unexpected = Counter(expected), Counter(section.cells[kind])
            for row, column, value in [*(missing - unexpected), *(unexpected - missing)]:
                message = f"row {row}, column {column}: the {kind} cell {value!r} is not in both page and CSV"
                inspection.fault(place, message)
        check_numbers(inspection, place, " ".join(section.texts), known)


def check_table(inspection: Inspection, table: Table, entries: Sequence[Entry], sources: Sources) -> None:
    """Check all files of a table.

    Args:
        table: made again from the sources.
        entries: its entries of `cells.json`.
    """
    for ending, text_of in FORMATS.items():
        name = f"tables/{table.id}.{ending}"
        if inspection.read(name) != text_of(table):
            inspection.fault(name, "is not what the scores and the published numbers give now")
    path = inspection.report / "tables" / f"{table.id}.csv"
    if not path.is_file():
        return
    try:
        frame = read_csv(path)
        measured = measured_keys(frame)
        check_measured(inspection, inspection.name(path), measured, entries)
        check_published(inspection, inspection.name(path), table, frame, sources.published)
        known = known_numbers(table, frame, sources)
    except (LookupError, TypeError, ValueError, StopIteration) as error:
        inspection.fault(inspection.name(path), f"cannot be read as the table's CSV ({brief(str(error))[1:-1]})")
        return
    markdown = f"tables/{table.id}.md"
    check_numbers(inspection, markdown, inspection.read(markdown), known)
    check_pages(inspection, table, measured, known)
