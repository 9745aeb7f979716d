"""Sources of a paper's figure: its entry in `published/figures.yaml`, and the runs of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from bench.contracts import DataError
from bench.record import KeptImage
from reports.published.printed import FOLDER, Published, read_yaml
from reports.scores.reading import ORIGINALS, Evaluation
from reports.tables.verdicts import TRUST

FILE = FOLDER / "figures.yaml"
"""What the papers' figures show."""


@dataclass(frozen=True)
class Entry:
    """One figure as it is in its paper."""

    id: str
    """The figure's id, also the name of its files: "mrfnet-fig5"."""
    paper: str
    """The paper's id: "mrfnet"."""
    number: str
    """As printed; "" where the paper gives none."""
    kind: str
    """What sort of figure it is: "visual-comparison", "architecture-diagram", ..."""
    shows: str
    """What it shows, in our words."""
    methods: tuple[str, ...]
    """The ids of the methods that it names; empty where it names none."""
    datasets: tuple[str, ...]
    """The ids of the datasets that it names; empty where it names none."""
    printed: str
    """Values that the paper states for it; "" for none."""
    remarks: str
    """Doubts about the paper's figure; "" for none."""


@dataclass(frozen=True)
class Sources:
    """Everything that a figure can be drawn from."""

    evaluations: Sequence[Evaluation]
    """All evaluated runs of the profile."""
    published: Published
    """The published tables."""
    data: Path
    """The folder of the profile's built datasets, one folder each."""


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn."""

    picture: Image | str
    """Its pixels; of a chart, its SVG."""
    text: str
    """What it shows of our runs: a part of the caption."""
    used: tuple[Evaluation, ...] = ()
    """The runs in it, in order."""
    absent: tuple[str, ...] = ()
    """Rows of the paper that have no run, in words."""
    origins: tuple[str, ...] = ()
    """The origin of the data, for figures without runs."""


def read_entries(path: Path = FILE) -> list[Entry]:
    """Read every figure of the papers. Raises DataError when the file is damaged or an entry lacks a field."""
    try:
        return [
            Entry(
                raw["id"], raw["paper"], raw["figure"] or "", raw["kind"], raw["shows"].strip(), tuple(raw["methods"]),
                tuple(raw["datasets"]), raw["data_in_paper"] or "", (raw["remarks"] or "").strip(),
            )
            for raw in read_yaml(path)["figures"]
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: does not have the fields of the papers' figures ({error}); restore it") from error


def rows_in(published: Published, tables: Iterable[str]) -> tuple[str, ...]:
    """The ids of the methods in the rows of some published tables, each once."""
    return tuple(dict.fromkeys(row.method for table in tables for row in published.tables[table].rows))


def datasets_in(published: Published, tables: Iterable[str]) -> tuple[str, ...]:
    """The datasets in the columns of some published tables, each once."""
    names = (column.dataset for table in tables for column in published.tables[table].columns)
    return tuple(dict.fromkeys(name for name in names if name))


def runs_of_rows(sources: Sources, task: str, rows: Sequence[str], dataset: str) -> dict[str, Evaluation]:
    """Choose the run of each row: of one task and dataset, and of the origin of data that most rows have.

    Of several runs of a row the tables' first choice is taken (`TRUST`), and of several seeds the lowest.

    Returns:
        row to evaluation, in the order of `rows`; rows without a run are absent.
    """
    pairs = [
        (row, run)
        for row in rows
        for run in sources.evaluations
        if run.record.task == task and run.record.dataset == dataset and row in run.record.rows
    ]
    origins = Counter(origin for _, origin in {(row, run.record.origin) for row, run in pairs})
    if not origins:
        return {}
    origin = max(sorted(origins), key=lambda name: (origins[name], name == ORIGINALS))
    pairs = [(row, run) for row, run in pairs if run.record.origin == origin]
    pairs.sort(key=lambda pair: (TRUST.index(pair[1].record.kind), pair[1].record.seed, pair[1].name))
    first = {row: run for row, run in reversed(pairs)}
    return {row: first[row] for row in rows if row in first}


def best_dataset(sources: Sources, task: str, rows: Sequence[str], datasets: Sequence[str]) -> str:
    """The dataset on which most rows were run, the first of equals: for a figure that names none."""
    return max(datasets, key=lambda name: len(runs_of_rows(sources, task, rows, name)))


def missing_rows(task: str, dataset: str, rows: Sequence[str]) -> tuple[str, ...]:
    """The rows without a run, as one text; no text where there are none.

    >>> missing_rows("deblur", "gopro", ["siun", "dmphn"])
    ('deblur on gopro: siun, dmphn',)
    """
    return (f"{task} on {dataset}: {', '.join(rows)}",) if rows else ()


def image_of(evaluation: Evaluation, rule: str) -> KeptImage | None:
    """The image that a rule chose; None where the run kept none."""
    return next((kept for kept in evaluation.record.images if kept.rule == rule), None)
