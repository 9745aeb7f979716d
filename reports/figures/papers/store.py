"""What a paper's figure is drawn from: its entry in `published/figures.yaml`, and the runs that stand for its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from bench.contracts import DataError
from reports.figures import comparisons
from reports.published.printed import FOLDER, Published, read_yaml
from reports.scores.reading import ORIGINALS, Evaluation, rows_of
from reports.tables.verdicts import TRUST

FILE = FOLDER / "figures.yaml"


@dataclass(frozen=True)
class Entry:
    """One figure as the papers have it.

    Args:
        number: as printed; "" where the paper gives none.
        shows: what it shows, in our words.
        printed: values that the paper states for it; "" for none.
    """

    id: str
    paper: str
    number: str
    kind: str
    shows: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    printed: str
    remarks: str


@dataclass(frozen=True)
class Store:
    """What there is to draw from.

    Args:
        data: the folder of the built sets of the profile, one folder a dataset.
    """

    evaluations: Sequence[Evaluation]
    known: Published
    data: Path


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn.

    Args:
        picture: its pixels, or its chart where it is a plot.
        text: what it shows of our runs.
        used: the runs in it, in order.
        absent: rows of the paper that no run stands for.
        origins: where the data of each came from, for figures without runs.
    """

    picture: Image | str
    text: str
    used: tuple[Evaluation, ...] = ()
    absent: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


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


def rows_in(known: Published, tables: Iterable[str]) -> tuple[str, ...]:
    """The ids of the methods in the rows of some published tables, each once."""
    return tuple(dict.fromkeys(row.method for table in tables for row in known.tables[table].rows))


def datasets_in(known: Published, tables: Iterable[str]) -> tuple[str, ...]:
    """The datasets in the columns of some published tables, each once."""
    found = (column.dataset for table in tables for column in known.tables[table].columns)
    return tuple(dict.fromkeys(name for name in found if name))


def standing(store: Store, task: str, rows: Sequence[str], dataset: str) -> dict[str, Evaluation]:
    """The run of each row on one dataset, of one task and one origin of the data: that which most rows have.

    Of several runs of a row the one that speaks for it first in the tables is taken, then that of the lowest seed.

    Returns:
        row to evaluation, in the order of `rows`, only those that were run.
    """
    found = [
        (row, one)
        for row in rows
        for one in store.evaluations
        if one.record["task"] == task and one.record["dataset"] == dataset and row in rows_of(one.record)
    ]
    origins = Counter(origin for _, origin in {(row, one.record["origin"]) for row, one in found})
    if not origins:
        return {}
    origin = max(sorted(origins), key=lambda name: (origins[name], name == ORIGINALS))
    found = [pair for pair in found if pair[1].record["origin"] == origin]
    found.sort(key=lambda pair: (TRUST.index(pair[1].record["kind"]), pair[1].record["seed"] or 0, pair[1].name))
    best = {row: one for row, one in reversed(found)}
    return {row: best[row] for row in rows if row in best}


def best_dataset(store: Store, task: str, rows: Sequence[str], datasets: Sequence[str]) -> str:
    """The dataset on which most rows were run, the first of equals: for a figure that names none."""
    return max(datasets, key=lambda name: len(standing(store, task, rows, name)))


def lacking(task: str, dataset: str, rows: Sequence[str]) -> tuple[str, ...]:
    """The rows that no run stands for, in one text; none where there are none."""
    return (f"{task} on {dataset}: {', '.join(rows)}",) if rows else ()


def title_of(evaluation: Evaluation) -> str:
    """A run's dataset for a title; a stand-in says that it is one."""
    record = evaluation.record
    return str(record["dataset_title"]) + (f" ({record['origin']})" if record["origin"] != ORIGINALS else "")


def image_of(evaluation: Evaluation, rule: str) -> Mapping[str, Any] | None:
    """The entry of a run's kept image by its rule, None where it kept none."""
    return next((entry for entry in evaluation.record["images"] if entry["rule"] == rule), None)


def insides_of(evaluation: Evaluation) -> dict[str, Image | list[float]]:
    """What happens inside a run's network, by name: images or weights. Raises DataError for a damaged image."""
    return {
        entry["name"]: comparisons.read_image(evaluation.folder / entry["file"]) if "file" in entry else entry["values"]
        for entry in evaluation.record.get("insides") or ()
    }
