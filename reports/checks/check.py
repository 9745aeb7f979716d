"""Walk a rendered report: every number leads to what made it, every link arrives, every file is there.

A report is checked against three things apart from it: the scores, the published numbers and the tracking store. Each
measured cell is computed again from its evaluation's rows; each text of a table is rendered again; each number in a
table is found among those that were measured, printed, or stand in the records and files that the texts come from.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np
import pandas as pd

from bench.contracts import DataError
from reports.checks.pages import NUMBER, Key, Page, number, numbers_in, rounded
from reports.published import printed
from reports.published.printed import Published
from reports.scores import reading
from reports.scores.measures import is_cost
from reports.scores.reading import CONDITION, LINKS, WITH_WEIGHTS, Evaluation
from reports.scores.statistics import FEWEST
from reports.tables import custom, formats
from reports.tables.all_tables import all_tables
from reports.tables.formats import NUMBERS, read_csv
from reports.tables.model import Table

ExperimentOf = Callable[[str], str | None]
"""The id of an MLflow run to the id of its experiment; None where the tracking store does not hold it."""
TEXTS = {"md": formats.markdown, "csv": formats.comma_separated, "tex": formats.latex}
RUN = re.compile(r"#/experiments/(\d+)(?:/runs/([0-9a-f]+))?(?:\?|$)")
SAID = f"95 5 {FEWEST} 2"
"""What a legend states in words: the intervals, the level of the test, its fewest images; a pair's two headings."""
TOLD = ("evaluation", "title", "network", "reduced", "missing_losses", "not_measured")
"""Fields of a record that a table's texts tell of."""
FAULTS = 10
"""So many faults are named; the rest are counted."""


@dataclass(frozen=True)
class Checked:
    """What was found to be right.

    Args:
        cells: measured cells, each an evaluation's number in a table.
        published: published cells.
        links: of all pages, to other parts, to files and to MLflow.
        numbers: in the tables of Markdown and of the pages.
        files: of the report.
    """

    cells: int
    published: int
    links: int
    numbers: int
    files: int

    def __str__(self) -> str:
        return (
            f"{self.cells} measured and {self.published} published cells, {self.links} links, {self.numbers} numbers "
            f"in tables, {self.files} files: 100 % resolve"
        )


def measured_again(entry: Mapping[str, Any], one: Evaluation) -> float:
    """Compute a cell's number from the rows of its evaluation, apart from how the report does it.

    Raises:
        DataError: no row of this metric under this condition, or several where there must be one.
    """
    rows = one.columns(entry["metric"])
    cost = is_cost(entry["metric"])
    kept = ~np.isnan(rows["value"])
    for name, value in ({"size": entry["size"]} if cost else entry["condition"]).items():
        kept &= rows[name] == value
    if not cost and (rows["image"][kept] == "").any():  # a metric of a set
        pooled = np.all([rows[name] == "" for name in CONDITION], axis=0)
        kept = kept & pooled if (kept & pooled).any() else kept
    values = rows["value"][kept]
    if not len(values) or (len(values) > 1 and (rows["image"][kept] == "").any()):
        raise DataError(f"{len(values)} rows of {entry['metric']} fit")
    return reading.convert(float(values.mean()), str(rows["unit"][0]), entry["unit"])


class Checker:
    """Collects what is wrong with one report, and counts what is right.

    Args:
        report: the folder.
        evaluations: all that it was made of.
        known: the published numbers.
        shown: its tables, made anew.
        experiment_of: asks the tracking store.
    """

    def __init__(
        self,
        report: Path,
        evaluations: Sequence[Evaluation],
        known: Published,
        shown: Sequence[Table],
        experiment_of: ExperimentOf,
    ):
        self.report, self.known, self.shown = report, known, shown
        self.evaluations = {one.name: one for one in evaluations}
        self.experiment_of = experiment_of
        self.experiments: dict[str, str | None] = {}
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.pages: dict[Path, Page] = {}

    def fault(self, place: str, what: str) -> None:
        """Note what is wrong and where."""
        self.faults.append(f"{place}: {what}")

    def read(self, name: str) -> str:
        """The text of one of the report's files; a missing one is a fault."""
        try:
            return (self.report / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fault(name, f"cannot be read ({error})")
            return ""

    def page(self, path: Path) -> Page:
        """One of the report's pages, read once."""
        if path not in self.pages:
            self.pages[path] = Page(self.read(str(path.relative_to(self.report))))
        return self.pages[path]

    def experiment(self, run: str) -> str | None:
        """The experiment of an MLflow run, asked for once."""
        if run not in self.experiments:
            self.experiments[run] = self.experiment_of(run)
        return self.experiments[run]

    def check_cell(self, entry: Mapping[str, Any]) -> None:
        """A measured cell: its evaluation, its number, its links."""
        place = f"cells.json: table {entry['table']}, row {entry['row']}, column {entry['column']}"
        one = self.evaluations.get(entry["evaluation"])
        if one is None:
            self.fault(place, f"evaluation {entry['evaluation']} is not among the scores")
            return
        try:
            again = measured_again(entry, one)
        except (KeyError, DataError) as error:
            self.fault(place, f"cannot be computed from the scores of {one.name} ({error})")
            return
        if not (again == number(entry["value"]) or math.isclose(again, number(entry["value"]), rel_tol=1e-12)):
            self.fault(place, f"found {entry['value']}, the scores of {one.name} give {again}")
        made = one.record["provenance"]
        for name in (*LINKS, *(["weights_sha256"] if one.record["kind"] in WITH_WEIGHTS else [])):
            if made.get(name) in (None, "", {}) or (name in entry and entry[name] != made[name]):
                self.fault(place, f"{name}: found {entry.get(name)!r}, the record of {one.name} has {made.get(name)!r}")
        if not entry["metric_version"]:
            self.fault(place, "has no metric version")
        if self.experiment(entry["mlflow_run"]) is None:
            self.fault(place, f"MLflow run {entry['mlflow_run']} is not in the tracking store")
        self.counts["cells"] += 1

    def check_frame(self, table: Table, frame: pd.DataFrame, entries: Sequence[Mapping[str, Any]]) -> list[Key]:
        """A table's CSV against the measured cells and the published numbers. Returns its measured cells."""
        place = f"tables/{table.id}.csv"
        found: list[Key] = []
        values: dict[tuple[str, str, float], list[float]] = {}
        for entry in entries:
            key = (entry["row"], entry["column"], number(entry["cell"]))
            values.setdefault(key, []).append(number(entry["value"]))
        for title in frame.columns[frame.columns.str.endswith(".measured")]:
            column = title.removesuffix(".measured")
            found += [
                (row, column, value)
                for row, value in zip(frame["row"], frame[title], strict=True)
                if not math.isnan(value)
            ]
        for key in set(found) ^ set(values):
            self.fault(place, f"row {key[0]}, column {key[1]}: {key[2]!r} is not in both this file and cells.json")
        for (row, column, cell), parts in values.items():
            if math.isfinite(cell) and not any(
                math.isclose(cell, float(np.mean(some)), rel_tol=1e-12) for some in (parts, parts[:1])
            ):
                self.fault(place, f"row {row}, column {column}: {cell!r} is not the mean of {parts}")
        printed = self.known.tables.get(table.id)
        first = frame.drop_duplicates("row").set_index("row")
        for given in printed.rows if printed else ():
            for name, text in given.values.items():
                there = first.at[given.row, f"{name}.published"] if given.row in first.index else None
                if there != (text or ""):
                    self.fault(place, f"row {given.row}, column {name}: found {there!r}, published is {text!r}")
                self.counts["published"] += text is not None
        return found

    def sources(self, table: Table, frame: pd.DataFrame) -> set[str]:
        """Every number that a table may show: measured, published, or of the texts that it is made of."""
        bare = [title for title in frame.columns if title.rpartition(".")[2] in NUMBERS]
        printed, records = self.known.tables.get(table.id), []
        for name in {name for names in frame["evaluations"] for name in names.split()}:
            record = self.evaluations[name].record
            records.append(json.dumps([record[part] for part in TOLD], default=str, ensure_ascii=False))
        texts = [SAID, table.title, table.reason, *table.conventions, *(line.label for line in table.lines)]
        texts += [text for line in table.lines for text in (line.reason, line.detail, line.flag)]
        texts += [text for _, text in table.notes] + [text for *_, text in table.remarks]
        texts += [head.heading for head in table.heads] + [str(mark) for mark, *_ in table.remarks]
        texts += [found.detail for line in table.lines for found in line.measured.values()]
        texts += [str(len(line.group.evaluations)) for line in table.lines if line.group] + records
        texts += [text for row in printed.rows for text in row.values.values() if text] if printed else []
        return numbers_in(" ".join(texts)) | rounded(frame[bare].to_numpy(float).ravel())

    def check_numbers(self, place: str, text: str, sources: set[str]) -> None:
        """Every number of a text has a source."""
        found = numbers_in(text)
        for stray in sorted(found - sources):
            self.fault(place, f"the number {stray} comes from no measurement and from no published value")
        self.counts["numbers"] += len(NUMBER.findall(text))

    def check_table(self, table: Table, entries: Sequence[Mapping[str, Any]]) -> None:
        """All files of a table."""
        for ending, text in TEXTS.items():
            if self.read(f"tables/{table.id}.{ending}") != text(table):
                self.fault(f"tables/{table.id}.{ending}", "is not what the scores and the published numbers give now")
        path = self.report / "tables" / f"{table.id}.csv"
        if not path.is_file():
            return
        frame = read_csv(path)
        measured = self.check_frame(table, frame, entries)
        sources = self.sources(table, frame)
        self.check_numbers(f"tables/{table.id}.md", self.read(f"tables/{table.id}.md"), sources)
        printed = [
            (line.row, column, float(found.number))
            for line in table.lines
            for column, found in line.printed.items()
            if found.number is not None
        ]
        pages = [self.report / "index.html", self.report / "tables" / f"{table.id}.html"]
        for page in pages:
            place = f"{page.relative_to(self.report)}, table {table.id}"
            if (section := self.page(page).sections.get(table.id)) is None:
                self.fault(place, "is not there")
                continue
            for kind, expected in (("measured", measured), ("published", printed)):
                missing, strange = (Counter(expected), Counter(section.cells[kind]))
                for row, column, value in list((missing - strange) | (strange - missing)):
                    self.fault(
                        place, f"row {row}, column {column}: the {kind} cell {value!r} is not in both page and CSV"
                    )
            self.check_numbers(place, " ".join(section.texts), sources)

    def check_link(self, path: Path, link: str) -> None:
        """A link of a page: to one of its parts, to another file, to an MLflow run or to a comparison of several."""
        place = f"{path.relative_to(self.report)}: link {link[:100]}"
        self.counts["links"] += 1
        if link.startswith(("http://", "https://")):
            address = unquote(link)
            if "#/compare-runs?" in address:
                asked = parse_qs(address.partition("?")[2])
                runs, experiments = (json.loads(asked.get(name, ["[]"])[0]) for name in ("runs", "experiments"))
                found = {self.experiment(run) for run in runs}
                if len(runs) < 2 or None in found or found != set(map(str, experiments)):
                    self.fault(place, f"{len(runs)} runs of experiments {sorted(map(str, found))} are compared")
            elif wanted := RUN.search(address):
                experiment, run = wanted.groups()
                if run and self.experiment(run) != experiment:
                    self.fault(place, "the tracking store has no such run in this experiment")
            else:
                self.fault(place, "leads neither into the report nor to MLflow")
            return
        name, _, part = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_file() or not target.is_relative_to(self.report):
            self.fault(place, "there is no such file in the report")
        elif part not in ("", "top") and part not in self.page(target).ids:  # every page has a top
            self.fault(place, "nothing has this id")

    def check_files(self, summary: Mapping[str, Any]) -> None:
        """The figures as PNG and vector, what the pages load, and what the summary counts."""
        figures: dict[str, set[str]] = {}
        for path in sorted((self.report / "figures").iterdir()):
            figures.setdefault(path.stem, set()).add(path.suffix)
            if not path.stat().st_size:
                self.fault(f"figures/{path.name}", "is empty")
        for name, endings in figures.items():
            if endings != {".png", ".svg"}:
                self.fault(f"figures/{name}", f"found {', '.join(sorted(endings))}, expected .png and .svg")
        for path in [self.report / "index.html", *sorted((self.report / "tables").glob("*.html"))]:
            page = self.page(path)
            for source in page.loads:
                if not source.startswith(("data:", "#")):
                    self.fault(str(path.relative_to(self.report)), f"loads {source[:100]} from outside the page")
            for link in page.links:
                self.check_link(path, link)
        for name, count in (
            ("cells", self.counts["cells"]), ("evaluations", len(self.evaluations)), ("figures", len(figures)),
        ):  # fmt: skip
            if summary.get(name) != count:
                self.fault("summary.json", f"{name}: found {summary.get(name)}, expected {count}")
        if set(summary.get("tables", ())) != {table.id for table in self.shown}:
            self.fault("summary.json", "tables: not those that the scores and the published numbers give")

    def run(self) -> Checked:
        """Check everything. Raises DataError naming the first faults."""
        summary, cells = (json.loads(self.read(name) or "{}") for name in ("summary.json", "cells.json"))
        by_table: dict[str, list[Mapping[str, Any]]] = {}
        for entry in cells:
            by_table.setdefault(entry["table"], []).append(entry)
            self.check_cell(entry)
        for table in self.shown:
            self.check_table(table, by_table.get(table.id, []))
        self.check_files(summary)
        files = sum(path.is_file() for path in self.report.rglob("*"))
        if self.faults:
            more = len(self.faults) - FAULTS
            raise DataError(
                f"{self.report}: {len(self.faults)} faults; render the report again (python -m bench report):\n  "
                + "\n  ".join(self.faults[:FAULTS] + [f"and {more} more"] * (more > 0))
            )
        count = self.counts
        return Checked(count["cells"], count["published"], count["links"], count["numbers"], files)


def need_report(report: Path) -> None:
    """Raise DataError for a folder that holds no report."""
    if not (report / "summary.json").is_file():
        raise DataError(f"{report}: holds no report (no summary.json); run: python -m bench report")


def check(report: Path, scores_root: Path, *, profile: str, experiment_of: ExperimentOf) -> Checked:
    """Check a rendered report.

    Args:
        report: its folder.
        scores_root: the evaluations that it was made of, a folder each.
        experiment_of: asks the tracking store for the experiment of an MLflow run.

    Raises:
        DataError: no report there, or one with a cell, a number, a link or a file that does not resolve.
    """
    need_report(report)
    known = printed.load()
    evaluations = reading.read(scores_root, profile)
    shown = all_tables(evaluations, known, custom.load(known))
    return Checker(report.resolve(), evaluations, known, shown, experiment_of).run()
