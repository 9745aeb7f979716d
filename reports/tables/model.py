"""A table before it becomes text: its columns, its lines, its measured and published cells, its notes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from reports.published.printed import PrintedColumn, Protocol
from reports.scores.measures import MEASURES
from reports.scores.reading import Evaluation, Stat, convert
from reports.tables.runs import Group

DECIMALS = 3
"""Digits after the point of a value whose metric has no declaration."""
ARROWS = {"higher": "↑", "lower": "↓"}
WIDEST = 12
"""Tables with more columns are split by metric into parts."""
OVERVIEW, CONDITIONS, CUSTOM = "overview", "conditions", "custom"
"""The kinds of tables that no paper prints; a published table has the kind that its file names."""


class Notes:
    """The lettered notes of a table, in the order in which they come up."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def letter(self, text: str) -> str:
        """Return the letter of a note, a new one for a new text: a, b, ..., z, aa, ab, ...

        >>> notes = Notes()
        >>> [notes.letter(text) for text in ("partial data", "reduced network", "partial data")]
        ['a', 'b', 'a']
        """
        if text not in self.letters:
            number, name = len(self.letters), ""
            while number >= 0:
                number, rest = divmod(number, 26)
                name, number = chr(ord("a") + rest) + name, number - 1
            self.letters[text] = name
        return self.letters[text]

    def entries(self) -> tuple[tuple[str, str], ...]:
        """Return letter and text of every note."""
        return tuple((letter, text) for text, letter in self.letters.items())


@dataclass(frozen=True)
class Head:
    """One column of a table.

    Args:
        id: the published column's id, or our metric id.
        name: the metric's title.
        over: what the heading shows above the name: dataset, scene, mask; "" for nothing.
        unit: the unit of the cells, as the published tables spell it ("1", "percent", "dB").
        better: "higher", "lower", or None where no value is better.
        metric: our metric id; "" in a table of layers.
        condition: which of the metric's scores count, as column and value of the scores.
        size: the image size of a cost, "1680x1120"; None takes the smallest.
        printed: the published column; None where only measured values are shown.
        protocol: the paper's protocol for that column; None without one.
        marks: numbers of the footnotes of the heading.
    """

    id: str
    name: str
    over: str
    unit: str
    better: str | None
    metric: str
    condition: Mapping[str, str] = field(default_factory=dict)
    size: str | None = None
    printed: PrintedColumn | None = None
    protocol: Protocol | None = None
    marks: tuple[int, ...] = ()

    @property
    def heading(self) -> str:
        """The heading in one line: "GOPRO PSNR ↑ (dB)"."""
        unit = {"1": "", "percent": "%"}.get(self.unit, self.unit)
        words = (self.over, self.name, ARROWS.get(self.better or "", ""), f"({unit})" if unit else "")
        return " ".join(word for word in words if word)


@dataclass
class Measured:
    """One measured cell.

    Args:
        value: in the unit of its column, the mean over the seeds; None where it was not measured.
        low: the lower end of the 95 % bootstrap interval over images; None for counts and for metrics of a set.
        high: its upper end.
        images: values by image and condition, the mean over the seeds; None for counts and for metrics of a set.
        spread: the standard deviation over the seeds, None where there is one or all agree.
        detail: size and device of a cost.
        note: the letter of the note with the reason why it was not measured; "" without a value: no run on its dataset.
        best: whether it is the best of a column that has worse ones too.
        tie: whether a test cannot tell it from the best.
        p: Holm-corrected over the column, of the paired test against the best; None for the best itself, for a count,
            and where no image is common.
        difference: measured minus published, in the unit of the column; None where one of them is missing.
        verdict: reproduced, not reproduced or not comparable; "" without a difference.
        reason: of the verdict, in full.
        parts: each evaluation with its own score and its value in the unit of the column.
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
    """One published cell.

    Args:
        text: as printed.
        number: the same as a number in the unit of the column; None where the text is none.
        marks: numbers of its footnotes.
        best: whether it is the best of a column that has worse ones too.
    """

    text: str
    number: float | None
    marks: tuple[int, ...] = ()
    best: bool = False


@dataclass
class Line:
    """One line of a table: a row with one of its runs, or with none.

    Args:
        row: the id of the row; a row with several runs has several lines.
        label: the name of the row as it is shown.
        detail: what is shown behind the label.
        group: the run; None where none fills the row.
        first: whether it is the first line of its row; only this one shows the published values.
        measured: the measured cells by column id.
        printed: the published cells by column id.
        marks: numbers of the footnotes of the row.
        notes: letters of the notes on the run.
        flag: a warning ("below input by 0.42 dB"), or "".
        verdict: a word of `verdicts`, "" where nothing is published.
        reason: of the verdict, in full.
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
        id: the name of its files.
        title: its caption; it names the origin of the measured data where that is not the originals.
        task: the task of its runs.
        datasets: the datasets of its columns.
        heads: the columns.
        lines: the lines in order.
        kind: OVERVIEW, CONDITIONS, CUSTOM, or the kind of a published table.
        conventions: what its metrics mean, one entry per metric.
        remarks: number, kind and text of the published file's remarks.
        notes: letter and text of what concerns the measured numbers.
        marks: numbers of the remarks that concern the whole table.
        verdict: a word of `verdicts`, "" where nothing is published.
        reason: of the verdict, in full.
    """

    id: str
    title: str
    task: str
    datasets: tuple[str, ...]
    heads: tuple[Head, ...]
    lines: list[Line]
    kind: str = OVERVIEW
    conventions: tuple[str, ...] = ()
    remarks: tuple[tuple[int, str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    marks: tuple[int, ...] = ()
    verdict: str = ""
    reason: str = ""

    @property
    def short(self) -> str:
        """The title up to its colon for a published table, whole for others: for a list of contents."""
        return self.title.partition(":")[0] if self.compares else self.title

    @property
    def compares(self) -> bool:
        """Whether it has published values."""
        return any(head.printed for head in self.heads)


def number(value: float, head: Head) -> str:
    """Return a measured value with the digits that its metric declares, in the unit of the column.

    >>> number(0.98765, Head("ssim", "SSIM", "", "1", "higher", "ssim-gauss11"))
    '0.9877'
    >>> number(1.23456, Head("mae", "MAE", "", "percent", "lower", "mae"))  # declared with 4 digits, in units of 1
    '1.23'
    """
    digits = DECIMALS
    if measure := MEASURES.get(head.metric):
        digits = max(0, measure.decimals - round(math.log10(convert(1.0, measure.unit, head.unit))))
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def split_columns(table: Table) -> list[tuple[str, tuple[Head, ...]]]:
    """Split the columns of a table into named parts that can be read: all of them, or one part per metric if too many.

    A table with one column per metric is not split: it scrolls.
    """
    names = list(dict.fromkeys(head.name for head in table.heads))
    if len(table.heads) <= WIDEST or len(names) == len(table.heads):
        return [("", table.heads)]
    return [(name, tuple(head for head in table.heads if head.name == name)) for name in names]
