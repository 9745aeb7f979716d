"""A table to show, before it is text: its columns, its lines, its measured and its published cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports.published.printed import Column, Protocol
from reports.scores.measures import MEASURES
from reports.scores.reading import Evaluation, Stat, convert

DECIMALS = 3
"""Digits after the point of a measure that no declaration is known of."""
ARROWS = {"higher": "↑", "lower": "↓"}
WIDEST = 12
"""Tables with more columns are split by metric into parts."""


@dataclass(frozen=True)
class Group:
    """The evaluations of one run under several seeds, in the order of their names."""

    evaluations: tuple[Evaluation, ...]

    @property
    def record(self) -> Mapping[str, Any]:
        """The first evaluation's record, which the others share but for the seed."""
        return self.evaluations[0].record


@dataclass(frozen=True)
class Head:
    """One column of a shown table.

    Args:
        id: the published column's id, or our metric id.
        name: the metric's name; `over` what stands above it (dataset, scene, mask).
        metric: our metric id; `condition` and `size` say which of its rows.
        printed: the published column, None where only measured values stand.
        marks: numbers of footnotes.
    """

    id: str
    name: str
    over: str
    unit: str
    better: str | None
    metric: str
    condition: Mapping[str, str] = field(default_factory=dict)
    size: str | None = None
    printed: Column | None = None
    protocol: Protocol | None = None
    marks: tuple[int, ...] = ()

    @property
    def heading(self) -> str:
        """The heading in one line: "GOPRO PSNR ↑ (dB)"."""
        unit = {"1": "", "percent": "%"}.get(self.unit, self.unit)
        parts = (self.over, self.name, ARROWS.get(self.better or "", ""), f"({unit})" if unit else "")
        return " ".join(part for part in parts if part)


@dataclass
class Measured:
    """One measured cell.

    Args:
        value: in the unit of its column, the mean over the seeds; None where it was not measured.
        low, high: the 95 % bootstrap interval over images; None for counts and for metrics of a set.
        images: by image and condition, the mean over the seeds.
        spread: the standard deviation over the seeds, None where there is one or all agree.
        detail: size and device of a cost.
        note: the letter of the note that says why it was not measured; "" with no value: the dataset was not run.
        best: the best of the column, which holds others; tie: not told apart from the best.
        p: Holm-corrected over the column, of the paired test against the best; None for the best itself, for a count,
            and where no image is common.
        difference: measured minus published, in the unit of the column; None where one of them is missing.
        verdict: reproduced, not reproduced or not comparable, `reason` in full; "" where there is no difference.
        parts: each evaluation's own number.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    images: pd.Series | None = None
    spread: float | None = None
    detail: str = ""
    note: str = ""
    best: bool = False
    tie: bool = False
    p: float | None = None
    difference: float | None = None
    verdict: str = ""
    reason: str = ""
    parts: tuple[tuple[Evaluation, Stat, float], ...] = ()


@dataclass
class Printed:
    """One published cell: the text as printed, its number, and the numbers of its footnotes."""

    text: str
    number: float | None
    marks: tuple[int, ...] = ()
    best: bool = False


@dataclass
class Line:
    """One line of a shown table: a published row with one run, or with none, or a further run of the row above.

    Args:
        first: whether it opens its row; only then the published values stand in it.
        flag: a warning ("below input by 0.42 dB").
        verdict: one of the words of `verdicts.judge_line`; `reason` in full.
    """

    row: str
    label: str
    detail: str
    group: Group | None
    first: bool = True
    measured: dict[str, Measured] = field(default_factory=dict)
    printed: dict[str, Printed] = field(default_factory=dict)
    marks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    flag: str = ""
    verdict: str = ""
    reason: str = ""


@dataclass
class Table:
    """A table to show.

    Args:
        conventions: a sentence a metric, which one is shown and which one the paper most likely used.
        remarks: number, kind and text of the published file's remarks.
        notes: letter and text of what concerns the measured numbers.
        marks: numbers of the remarks that concern the whole table.
    """

    id: str
    title: str
    task: str
    datasets: tuple[str, ...]
    heads: tuple[Head, ...]
    lines: list[Line]
    kind: str = "overview"
    conventions: tuple[str, ...] = ()
    remarks: tuple[tuple[int, str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    marks: tuple[int, ...] = ()
    verdict: str = ""
    reason: str = ""

    @property
    def short(self) -> str:
        """The title without what a published table shows, for a list of contents."""
        return self.title.partition(":")[0] if self.compares else self.title

    @property
    def compares(self) -> bool:
        """Whether it has published values."""
        return any(head.printed for head in self.heads)


def name_among(group: Group, members: Iterable[Group]) -> str:
    """A run's title, with its evaluation's name where another of the runs has the same title (sizes, ablations)."""
    title = str(group.record["title"])
    same = sum(other.record["title"] == title for other in members) > 1
    return f"{title}, {group.evaluations[0].name}" if same else title


def letter(notes: dict[str, str], text: str) -> str:
    """The letter of a note, a new one for a new text: a, b, ..., z, aa, ab, ..."""
    if text not in notes:
        number, name = len(notes), ""
        while number >= 0:
            number, rest = divmod(number, 26)
            name, number = chr(ord("a") + rest) + name, number - 1
        notes[text] = name
    return notes[text]


def number(value: float, head: Head) -> str:
    """A measured value with the digits that its metric declares, in the unit of the column."""
    digits = DECIMALS
    if measure := MEASURES.get(head.metric):
        digits = max(0, measure.decimals - round(math.log10(convert(1.0, measure.unit, head.unit))))
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def describe(group: Group) -> str:
    """The kind of a run and its seeds, for beside its name."""
    seeds = len(group.evaluations)
    return str(group.record["kind"]) + (f", {seeds} seeds" if seeds > 1 else "")


def parts(table: Table) -> list[tuple[str, tuple[Head, ...]]]:
    """The columns of a table in parts that can be read: all, or one part a metric where there are too many.

    A table of one column a metric stays whole: it scrolls.
    """
    names = list(dict.fromkeys(head.name for head in table.heads))
    if len(table.heads) <= WIDEST or len(names) == len(table.heads):
        return [("", table.heads)]
    return [(name, tuple(head for head in table.heads if head.name == name)) for name in names]
