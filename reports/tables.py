"""Tables of measured and published numbers, their verdicts and their footnotes, as Markdown, CSV and LaTeX.

A published table keeps its rows and columns; each column shows what was measured and, apart from it, what is printed.
An overview shows every run of one dataset and task, also those that no paper prints.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from bench.contracts import INPUTS, UserError
from reports.published import LAYERS, Column, Protocol, Published
from reports.published import Row as PrintedRow
from reports.published import Table as PublishedTable
from reports.scores import (
    CONDITION,
    COSTS,
    ORIGINALS,
    Evaluation,
    Stat,
    bootstrap,
    convert,
    device,
    kendall,
    measure,
    missing_link,
    rows_of,
    tied,
)

PSNR = "psnr-rgb8"
MAIN = (
    PSNR, "psnr-rgb8-hole", "psnr-kohler", "ssim-gauss11", "mae", "params", "macs", "seconds", "ssim-uniform7",
    "ssim-matlab-rgb", "ssim-kohler", "memory", "file-size", "lpips-alex", "fid",
)  # fmt: skip
"""The metrics of an overview, in this order, where any run has them."""
BASELINES = {"deblur": "input", "dual-pixel": "input", "inpaint": "telea", "sharp-inpaint": "telea"}
"""By task, the method without training that every other has to beat."""
DECIMALS = {
    "psnr": 2, "ssim": 4, "mae": 4, "mse": 5, "l1": 4, "l2": 5, "lpips": 4, "fid": 2, "params": 3, "macs": 2,
    "seconds": 3, "memory": 0, "file": 2,
}  # fmt: skip
"""Digits after the point by the first word of a metric id."""
ARROWS = {"higher": "↑", "lower": "↓"}
ORDER = 0.8
"""Our reading: an order is reproduced from this mean Kendall tau on."""
COST_TOLERANCE = 0.01
"""Our reading: a count without an interval is reproduced within this share of the printed number."""
WIDEST = 12
"""Tables with more columns are split by metric into parts."""
TRUST = ("trained", "chain", "no training", "authors' weights", "predictions")
"""The kind of run that speaks for a row first."""


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
        verdict: one of the words of `judge_line`; `reason` in full.
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


def groups(evaluations: Iterable[Evaluation]) -> list[Group]:
    """Put together the evaluations that differ in their seed alone; the same seed twice stays apart."""
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        record = evaluation.record
        recipe = {name: value for name, value in (record["train"] or {}).items() if name != "seed"}
        same = [record[name] for name in ("method", "kind", "dataset", "task", "origin", "partial", "network")]
        key = json.dumps([rows_of(record), *same, record["reduced"], recipe], sort_keys=True, default=str)
        seeds = {other.record["seed"] for other in found.get(key, [])}
        if record["seed"] is None or record["seed"] in seeds:
            key += evaluation.name
        found.setdefault(key, []).append(evaluation)
    return [Group(tuple(members)) for members in found.values()]


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
    """A measured value with the digits of its metric."""
    digits = 2 if head.unit == "percent" else DECIMALS.get(head.metric.split("-")[0], 3)
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


# Cells ----------------------------------------------------------------------------------------------------------------


def check_links(table: str, row: str, column: str, evaluation: Evaluation, stat: Stat) -> None:
    """Raise UserError when a measured cell does not lead back to what made it."""
    if link := missing_link(evaluation, stat):
        raise UserError(
            f"table {table}, row {row}, column {column}: the measured cell of evaluation {evaluation.name} lacks its "
            f"{link}; evaluate that run again from a clean checkout"
        )


def cell(table: str, row: str, group: Group, head: Head, notes: dict[str, str]) -> Measured:
    """Measure one cell over the seeds of a run.

    Raises:
        UserError: a cell that does not lead back to its run, or a unit that cannot be turned into the printed one.
    """
    stats = [(one, measure(one, head.metric, head.condition, head.size)) for one in group.evaluations]
    parts = tuple(
        (one, stat, convert(stat.value, stat.unit, head.unit)) for one, stat in stats if stat.value is not None
    )
    if not parts:
        return Measured(None, note=letter(notes, f"{head.name}: {stats[0][1].reason}"))
    for one, stat, _ in parts:
        check_links(table, row, head.id, one, stat)
    values = pd.Series([value for _, _, value in parts])
    found = Measured(float(values.mean()), spread=float(values.std()) if values.nunique() > 1 else None, parts=parts)
    series = [stat.images for _, stat, _ in parts if stat.images is not None]
    if series:
        scale = convert(1.0, parts[0][1].unit, head.unit)
        found.images = (
            series[0] if len(series) == 1 else pd.concat(series).groupby(level=list(range(1 + len(CONDITION)))).mean()
        ) * scale
        found.low, found.high = bootstrap(found.images)
    if (size := parts[0][1].size) and head.metric in COSTS:
        found.detail = (
            size if head.metric.startswith("macs") else f"{size}, {device(parts[0][0].record).partition(' (')[0]}"
        )
    return found


def mark_measured(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best measured cell of a column and those that a paired test cannot tell from it; none if all equal."""
    cells = [line.measured[head.id] for line in lines if line.measured.get(head.id, Measured(None)).value is not None]
    if head.better is None or len(cells) < 2:
        return
    pick: Callable[..., float] = max if head.better == "higher" else min
    top = pick(found.value for found in cells)
    winners = [found for found in cells if found.value == top]
    if len(winners) == len(cells):
        return
    for found in winners:
        found.best = True
    for found in cells:
        if not found.best and found.images is not None and winners[0].images is not None:
            found.tie = tied(found.images, winners[0].images)


def mark_printed(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best published cells of a column, none where all are equal."""
    cells = [found for line in lines if (found := line.printed.get(head.id)) and found.number is not None]
    if head.better is None or len(cells) < 2:
        return
    pick: Callable[..., float] = max if head.better == "higher" else min
    top = pick(found.number for found in cells)
    if any(found.number != top for found in cells):
        for found in cells:
            found.best = found.number == top


def measured_number(line: Line, head: Head) -> str:
    """A measured cell's number alone, "" where there is none."""
    value = line.measured[head.id].value
    return "" if value is None else number(value, head)


def measured_rank(line: Line, column: str) -> float:
    """A sort key that puts the highest value of a column first and what was not measured last."""
    value = line.measured[column].value
    return math.inf if value is None else -value


# Verdicts -------------------------------------------------------------------------------------------------------------


def obstacles(group: Group) -> list[str]:
    """What keeps a run from being compared with a printed number at all."""
    record, found = group.record, []
    if record["origin"] != ORIGINALS:
        found.append(str(record["origin"]))
    if record["profile"] != "paper":
        found.append(f"{record['profile']} profile")
    if record["partial"]:
        found.append("partial data")
    if record["reduced"]:
        found.append("reduced network")
    if record["missing_losses"]:
        found.append("missing loss terms")
    if record.get("random_helpers"):
        found.append("losses through random weights")
    return found


def agrees(found: Measured, printed: Printed) -> bool:
    """Whether a measured value reproduces a printed one.

    Our reading, as no paper prints a tolerance: the printed number lies in the 95 % interval over images, widened by
    the spread over seeds and half a unit of the last printed digit; a count, which has no interval, within 1 %.
    """
    assert found.value is not None and printed.number is not None
    digits = "".join(sign for sign in printed.text if sign.isdigit() or sign == ".").partition(".")[2]
    slack = 0.5 * 10 ** -len(digits) + (found.spread or 0.0)
    if found.low is None or found.high is None:
        return abs(found.value - printed.number) <= slack + COST_TOLERANCE * abs(printed.number)
    return found.low - slack <= printed.number <= found.high + slack


def judge_line(line: Line, printed: Mapping[str, Printed], heads: Sequence[Head]) -> tuple[str, str]:
    """The verdict on one row: reproduced, not reproduced, not comparable or not run; and its reason in full."""
    if line.group is None:
        return "not run", ""
    both = [
        head
        for head in heads
        if head.id in printed and printed[head.id].number is not None and line.measured[head.id].value is not None
    ]
    if not both:
        return "not comparable", "because no cell is both measured and printed"
    if found := obstacles(line.group):
        return "not comparable", f"because of {', '.join(found)}"
    comparable = [head for head in both if head.protocol and head.protocol.comparable]
    if not comparable:
        return "not comparable", "because of other metric conventions"
    apart = [
        f"{head.over} {head.name} {measured_number(line, head)} against {printed[head.id].text}".strip()
        for head in comparable
        if not agrees(line.measured[head.id], printed[head.id])
    ]
    return ("not reproduced", "; ".join(apart)) if apart else ("reproduced", f"in {len(comparable)} columns")


def spokesmen(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """For each row that was run, the line that speaks for it and the line with its published values."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        rows.setdefault(line.row, []).append(line)
    return [
        (min(run, key=lambda line: TRUST.index(line.group.record["kind"]) if line.group else len(TRUST)), members[0])
        for members in rows.values()
        if (run := [line for line in members if line.group])
    ]


def orders(pairs: Sequence[tuple[Line, Line]], heads: Sequence[Head]) -> list[tuple[Head, float, int]]:
    """Kendall's tau between the measured and the printed order, and its number of rows, by column of three or more."""
    found = []
    for head in heads:
        both = [
            (run.measured[head.id].value, first.printed[head.id].number)
            for run, first in pairs
            if head.id in first.printed and first.printed[head.id].number is not None
            and run.measured[head.id].value is not None
        ]  # fmt: skip
        if len(both) >= 3:
            tau = kendall([one for one, _ in both if one is not None], [two for _, two in both if two is not None])
            if not math.isnan(tau):
                found.append((head, tau, len(both)))
    return found


def judge_table(table: Table) -> tuple[str, str]:
    """The verdict on a table (reproduced, order reproduced, not reproduced, not comparable) and its reason in full."""
    pairs = spokesmen(table.lines)
    taus = orders(pairs, table.heads)
    mean = sum(tau for _, tau, _ in taus) / len(taus) if taus else math.nan
    order = (
        f"Kendall tau of the measured and the printed order: mean {round(mean, 2) + 0.0:.2f} over {len(taus)} columns "
        f"of {min(n for *_, n in taus)} to {max(n for *_, n in taus)} rows"
        if taus
        else "no order to compare: fewer than three rows are both measured and printed, or all are equal"
    )
    if found := list(dict.fromkeys(text for run, _ in pairs if run.group for text in obstacles(run.group))):
        return "not comparable", f"because of {', '.join(found)}; {order}"
    verdicts = [run.verdict for run, _ in pairs]
    if verdicts and all(verdict == "reproduced" for verdict in verdicts):
        return "reproduced", f"{len(pairs)} of {sum(line.first for line in table.lines)} rows were run; {order}"
    if mean >= ORDER:
        return "order reproduced", order
    if "not reproduced" in verdicts or "reproduced" in verdicts:
        apart = sum(verdict == "not reproduced" for verdict in verdicts)
        return "not reproduced", f"{apart} of {len(pairs)} rows that were run differ; {order}"
    reasons = list(dict.fromkeys(run.reason for run, _ in pairs))
    return "not comparable", f"{'; '.join(reasons)}; {order}"


# Published tables -----------------------------------------------------------------------------------------------------


def paper_name(paper: str) -> str:
    """The paper's short name as its text writes it: mrfnet is MRFNet, lmfn is LMFN."""
    return paper.upper().replace("NET", "Net")


def origin_text(runs: Iterable[Group]) -> str:
    """Where the measured images come from, for a title: nothing for originals."""
    return ", ".join(sorted({str(group.record["origin"]) for group in runs} - {ORIGINALS}))


def condition(column: Column) -> dict[str, str]:
    """Which rows of the scores a published column means.

    Our reading of dffnet's "deblurred" input: the sharp originals with a hole (sections 4.3.2 and 4.4 are silent).
    """
    found = {}
    if column.input:
        found["input"] = {"deblurred": "sharp"}.get(column.input, column.input)
    if column.scene and column.scene != "combined":
        found["scene"] = column.scene
    if column.mask_type:
        found["mask_kind"] = column.mask_type
    if column.mask_ratio:
        found["mask_band"] = column.mask_ratio
    return found


def heads_of(table: PublishedTable, published: Published, evaluations: Iterable[Evaluation]) -> list[Head]:
    """The columns to show of a published table, with those that only our scores have."""
    several = len({column.dataset for column in table.columns}) > 1
    units = {
        metric: str(rows["unit"].iloc[0]) for one in evaluations for metric, rows in one.scores.items() if len(rows)
    }
    found = []
    for column in table.columns:
        protocol = published.protocols[table.id][column.metric]
        dataset = published.names[column.dataset] if several and column.dataset else ""
        mask = " ".join(part for part in (column.mask_type, column.mask_ratio and f"{column.mask_ratio}%") if part)
        over = ", ".join(part for part in (dataset, column.scene, mask) if part)
        marks = tuple(i for i, remark in enumerate(table.remarks, 1) if column.id in remark.columns and not remark.rows)
        head = Head(
            column.id, published.metrics[protocol.shown][0], over, column.unit, column.better, protocol.shown,
            condition(column), column.image_size or protocol.size, column, protocol, marks,
        )  # fmt: skip
        found.append(head)
        found += [
            replace(
                head, id=f"{column.id}-{metric}", name=published.metrics[metric][0], unit=units.get(metric, "1"),
                metric=metric, printed=None, protocol=None, marks=(),
            )
            for metric in protocol.also
        ]  # fmt: skip
    return found


def runs_of(table: PublishedTable, row: PrintedRow, runs: Sequence[Group], published: Published) -> list[Group]:
    """The runs of a published row: those of its id, else those of the method that the row equals."""
    datasets = {column.dataset for column in table.columns} - {None}
    task = published.task(table)
    fitting = [
        group
        for group in runs
        if group.record["task"] == task and (not datasets or group.record["dataset"] in datasets)
    ]
    own = [group for group in fitting if row.method in rows_of(group.record)]
    whole = published.same_as.get(row.method, row.method)
    return own or [group for group in fitting if whole in rows_of(group.record)]


def by_dataset(found: Sequence[Group]) -> list[list[Group]]:
    """Lay a row's runs out in lines: the first run of each dataset in the first line, and so on.

    A line must not mix kinds, so runs are dealt by (kind, network, reduced) before the dataset.
    """
    lines: dict[str, dict[str, list[Group]]] = {}
    for group in found:
        record = group.record
        key = json.dumps(
            [record[name] for name in ("kind", "method", "origin", "network")], sort_keys=True, default=str
        )
        lines.setdefault(key, {}).setdefault(record["dataset"], []).append(group)
    out = []
    for datasets in lines.values():
        deepest = max(len(members) for members in datasets.values())
        out += [[members[i] for members in datasets.values() if i < len(members)] for i in range(deepest)]
    return out


def run_notes(group: Group, notes: dict[str, str], mixed: bool = False) -> tuple[str, ...]:
    """The letters of what one must know of a run: partial data, a reduced network, losses left out or as random.

    Args:
        mixed: whether the table has runs of several origins, so that its title cannot say it for all.
    """
    record = group.record
    texts = [f"measured on {record['origin']}"] if mixed else []
    texts += ["partial data: fewer images than the official split"] if record["partial"] else []
    if record["reduced"]:
        texts.append(f"reduced network: {'; '.join(record['reduced'])}")
    texts += [f"loss {entry['loss']} left out: {entry['reason']}" for entry in record["missing_losses"]]
    texts += [random_text(entry) for entry in record.get("random_helpers", ())]
    return tuple(letter(notes, text) for text in texts)


def random_text(entry: Mapping[str, Any]) -> str:
    """What one must know of losses that looked through a helper without its own weights."""
    return f"losses through a network of random weights: {', '.join(entry['losses'])} ({entry['helper']})"


def describe(group: Group) -> str:
    """The kind of a run and its seeds, for beside its name."""
    seeds = len(group.evaluations)
    return str(group.record["kind"]) + (f", {seeds} seeds" if seeds > 1 else "")


def switches(row: PrintedRow) -> str:
    """What an ablation row has on or off, in words."""
    words = {True: "with {}", False: "without {}"}
    return ", ".join(
        words[value].format(name.replace("_", " ")) if isinstance(value, bool) else f"{name.replace('_', ' ')} {value}"
        for name, value in row.switches.items()
    )


def conventions(table: PublishedTable, published: Published) -> tuple[str, ...]:
    """A sentence a printed metric: which of ours is shown, which one the paper most likely used, and why."""
    found = []
    for metric in dict.fromkeys(column.metric for column in table.columns):
        protocol = published.protocols[table.id][metric]
        shown = "; ".join(f"{name}: {published.metrics[name][1]}" for name in (protocol.shown, *protocol.also))
        used = protocol.used or "cannot be told"
        verb = "comparable" if protocol.comparable else "not comparable as numbers"
        found.append(f"{metric}, {verb}. Shown {shown}. The paper most likely used: {used}. {protocol.why}")
    return tuple(found)


def printed_cells(table: PublishedTable, row: PrintedRow) -> dict[str, Printed]:
    """The published values of a row with the footnotes that name the very cell."""
    return {
        name: Printed(
            text,
            row.numbers[name] if isinstance(row.numbers[name], (int, float)) else None,
            tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and name in remark.columns),
        )
        for name, text in row.values.items()
        if text is not None
    }


def published_table(table: PublishedTable, runs: Sequence[Group], published: Published) -> Table | None:
    """Join a published table with the runs of its rows; None where no row was run.

    Raises:
        UserError: a measured cell that does not lead back to its run.
    """
    layers = table.kind == LAYERS
    by_row = {row.row: runs_of(table, row, runs, published) for row in table.rows}
    everything = [group for found in by_row.values() for group in found]
    if not everything:
        return None
    if layers:
        heads = [Head(c.id, c.metric, "", c.unit, None, "", printed=c) for c in table.columns]
    else:
        heads = heads_of(table, published, [one for group in everything for one in group.evaluations])
    notes: dict[str, str] = {}
    mixed = len({group.record["origin"] for group in everything}) > 1
    lines = []
    for row in table.rows:
        marks = tuple(i for i, remark in enumerate(table.remarks, 1) if row.row in remark.rows and not remark.columns)
        printed = printed_cells(table, row)
        detail = ", ".join(part for part in (row.method if not layers else "", switches(row)) if part)
        line = Line(row.row, row.label, detail, None, printed=printed, marks=marks)
        dealt = [] if layers else by_dataset(by_row[row.row])
        if not dealt:
            line.verdict = "" if layers else "not run"
            lines.append(line)
        for i, members in enumerate(dealt):
            run = replace(line, group=members[0], first=i == 0, printed=printed if i == 0 else {}, measured={})
            run.notes = tuple(dict.fromkeys(mark for one in members for mark in run_notes(one, notes, mixed)))
            for head in heads:
                wanted = head.printed.dataset if head.printed else None
                group = next((one for one in members if wanted in (None, one.record["dataset"])), None)
                run.measured[head.id] = cell(table.id, row.row, group, head, notes) if group else Measured(None)
            run.verdict, run.reason = judge_line(run, printed, heads)
            lines.append(run)
    for head in heads:
        mark_measured(head, lines)
        mark_printed(head, lines)
    origin = origin_text(everything)
    datasets = tuple(dict.fromkeys(str(column.dataset) for column in table.columns if column.dataset))
    reading = (("*", published.readings[table.id].why),) if table.id in published.readings else ()
    title = f"{paper_name(table.paper)}, table {table.table} (section {table.section}): {table.title}"
    shown = Table(
        table.id,
        f"{title}; measured on {origin}" if origin and not layers else title,
        published.task(table),
        datasets,
        tuple(heads),
        lines,
        table.kind,
        () if layers else conventions(table, published),
        tuple((i, remark.kind, remark.text) for i, remark in enumerate(table.remarks, 1)),
        tuple((mark, text) for text, mark in notes.items()) + reading,
        tuple(i for i, remark in enumerate(table.remarks, 1) if not remark.rows and not remark.columns),
    )
    if not layers:
        shown.verdict, shown.reason = judge_table(shown)
    return shown


# Overviews ------------------------------------------------------------------------------------------------------------


def inputs_of(group: Group) -> list[str]:
    """The inputs that a run's images have: blurred, sharp, dual-pixel."""
    rows = group.evaluations[0].scores.get(PSNR)
    return [] if rows is None else sorted(set(rows["input"]) - {""})


def overview_heads(members: Sequence[Group], where: Mapping[str, str], published: Published) -> list[Head]:
    """The main metrics that any run has or says why not."""
    ran = [one for group in members for one in group.evaluations]
    wanted = [name for name in MAIN if any(name in one.scores or name in one.record["not_measured"] for one in ran)]
    return metric_heads(wanted, members, where, published)


def metric_heads(
    metrics: Sequence[str], members: Sequence[Group], where: Mapping[str, str], published: Published
) -> list[Head]:
    """Columns of measured values alone, one a metric, under one condition."""
    found = []
    for metric in metrics:
        rows = next((one.scores[metric] for g in members for one in g.evaluations if metric in one.scores), None)
        unit, better = ("1", None) if rows is None else (rows["unit"].iloc[0] or "1", rows["better"].iloc[0] or None)
        name = published.metrics.get(metric, (metric, ""))[0]
        found.append(Head(metric, name, "", str(unit), better, metric, where))
    names = [head.name for head in found]  # two windows of SSIM need their ids
    return [
        replace(head, name=f"{head.name} {head.metric.partition('-')[2]}") if names.count(head.name) > 1 else head
        for head in found
    ]


def condition_heads(members: Sequence[Group], where: Mapping[str, str]) -> list[Head]:
    """PSNR by scene and by mask, each where the images have several, but not where almost each image has its own."""
    frames = [one.scores[PSNR] for group in members for one in group.evaluations if PSNR in one.scores]
    rows = pd.concat([frame[["image", *CONDITION]] for frame in frames]).drop_duplicates()
    for name, value in where.items():
        rows = rows[rows[name] == value]
    found, images = [], len(rows)
    for names in (("scene",), ("mask_kind", "mask_band")):
        values = sorted({tuple(row) for row in rows[list(names)].itertuples(index=False)} - {("",) * len(names)})
        if 1 < len(values) <= min(WIDEST, images // 2):
            found += [
                Head(
                    "-".join((PSNR, *value)), "PSNR", " ".join(value), "dB", "higher", PSNR,
                    {**where, **dict(zip(names, value, strict=True))},
                )
                for value in values
            ]  # fmt: skip
    return found


def flag_losers(lines: Sequence[Line], task: str, head: Head) -> str:
    """Flag every line whose PSNR is not above the baseline's. Returns a sentence where there is no baseline."""
    name = BASELINES[task]
    base = next((line for line in lines if line.group and line.group.record["method"] == name), None)
    if base is None or base.measured[head.id].value is None:
        return f"{name} was not run here, so it is not known which methods fail to beat it"
    floor = base.measured[head.id].value
    for line in lines:
        value = line.measured[head.id].value
        if line is not base and value is not None and floor is not None and value <= floor:
            line.flag = f"below {name} by {floor - value:.2f} dB" if value < floor else f"equal to {name}"
    return ""


def overview(
    members: Sequence[Group],
    task: str,
    dataset: str,
    given: str,
    origin: str,
    published: Published,
    *,
    by: bool = False,
) -> Table | None:
    """All runs of one dataset, task and input, the best PSNR first.

    Args:
        given: blurred, sharp or dual-pixel.
        by: PSNR by condition in place of the main metrics; None where the images have no conditions to tell apart.
    """
    where = {"input": given} if given else {}
    heads = condition_heads(members, where) if by else overview_heads(members, where, published)
    if not heads or not members:
        return None
    record = members[0].record
    several = "mask" in INPUTS[task]  # a hole is put into the sharp or into the blurred image
    slug = "-".join([task, dataset] + [given] * several + [origin.replace(" ", "-")] * (origin != ORIGINALS))
    identity = f"{'conditions' if by else 'overview'}-{slug}"
    notes: dict[str, str] = {}
    lines = []
    for group in members:
        line = Line(
            group.evaluations[0].name,
            name_among(group, members),
            describe(group),
            group,
            notes=run_notes(group, notes),
        )
        line.measured = {head.id: cell(identity, line.row, group, head, notes) for head in heads}
        lines.append(line)
    first = heads[0].id
    lines.sort(key=lambda line: measured_rank(line, first))
    for head in heads:
        mark_measured(head, lines)
    psnr = next((head for head in heads if head.id == PSNR), None)
    absent = flag_losers(lines, task, psnr) if psnr else ""
    marks = [(mark, text) for text, mark in notes.items()]
    what = "PSNR by condition" if by else "all runs"
    name = str(record["dataset_title"]) + (f" ({origin})" if origin != ORIGINALS else "")
    return Table(
        identity,
        f"{name}: {what}, {task}" + (f" of {given} images" if several else ""),
        task,
        (dataset,),
        tuple(heads),
        lines,
        "conditions" if by else "overview",
        meanings(heads, published),
        notes=tuple(marks + ([("*", absent)] if absent else [])),
    )


def meanings(heads: Sequence[Head], published: Published) -> tuple[str, ...]:
    """What each metric of these columns means, a sentence each."""
    shown = dict.fromkeys(head.metric for head in heads)
    return tuple(f"{name}: {published.metrics[name][1]}" for name in shown if name in published.metrics)


def overviews(runs: Sequence[Group], published: Published) -> list[Table]:
    """An overview of every dataset, task, input and origin, each followed by PSNR by condition where there are any."""
    found: dict[tuple[str, str, str, str], list[Group]] = {}
    for group in runs:
        record = group.record
        for given in inputs_of(group) or [""]:
            found.setdefault((record["task"], record["dataset"], record["origin"], given), []).append(group)
    tables = []
    for (task, dataset, origin, given), members in found.items():
        for by in (False, True):
            if table := overview(members, task, dataset, given, origin, published, by=by):
                tables.append(table)
    return tables


def parts(table: Table) -> list[tuple[str, tuple[Head, ...]]]:
    """The columns of a table in parts that can be read: all, or one part a metric where there are too many.

    A table of one column a metric stays whole: it scrolls.
    """
    names = list(dict.fromkeys(head.name for head in table.heads))
    if len(table.heads) <= WIDEST or len(names) == len(table.heads):
        return [("", table.heads)]
    return [(name, tuple(head for head in table.heads if head.name == name)) for name in names]


def plain(value: float | None) -> float | str | None:
    """A number for JSON, which knows no infinity: that becomes the text "inf"."""
    return value if value is None or math.isfinite(value) else str(value)


def measured_cells(table: Table) -> list[dict[str, Any]]:
    """Every measured cell with what made it, an entry an evaluation; plain values for `cells.json`."""
    found = []
    for line in table.lines:
        for head in table.heads:
            measured = line.measured.get(head.id)
            for one, stat, value in measured.parts if measured else ():
                provenance = one.record["provenance"]
                found.append(
                    {
                        "table": table.id, "row": line.row, "column": head.id, "value": plain(value),
                        "cell": plain(measured.value) if measured else None, "unit": head.unit, "evaluation": one.name,
                        "seed": one.record["seed"],
                        "git_commit": provenance["git_commit"], "git_dirty": provenance["git_dirty"],
                        "manifest_sha256": provenance["manifest_sha256"],
                        "weights_sha256": provenance.get("weights_sha256"), "metric": head.metric,
                        "metric_version": stat.version, "origin": one.record["origin"],
                    }
                )  # fmt: skip
    return found


# Texts ----------------------------------------------------------------------------------------------------------------


def measured_text(found: Measured | None, head: Head, bold: str = "**{}**", tie: str = "≈") -> str:
    """A measured cell as text: the value, its mark, its interval, the spread over seeds, size and device."""
    if found is None:
        return ""
    if found.value is None:
        return f"not measured ({found.note})" if found.note else "not run"
    text = number(found.value, head)
    text = bold.format(text) if found.best else f"{text} {tie}" if found.tie else text
    if found.low is not None and found.high is not None:
        text += f" [{number(found.low, head)}, {number(found.high, head)}]"
    if found.spread is not None:
        text += f" ± {number(found.spread, head)}"
    return f"{text} ({found.detail})" if found.detail else text


def label_text(line: Line) -> str:
    """A line's name as text, with its run, its letters and its warning."""
    run = describe(line.group) if line.group and line.detail != describe(line.group) else ""
    text = " · ".join(part for part in (line.label, line.detail, run, line.flag) if part)
    return text + "".join(f" ({mark})" for mark in line.notes)


def legend(table: Table) -> list[str]:
    """What the marks of a table mean, its verdict, its conventions, notes and footnotes, a line each."""
    found = []
    if table.verdict:
        found.append(f"Verdict: {table.verdict}, {table.reason}.")
    if table.kind != LAYERS:
        found.append(
            "Bold: the best in the column, among measured and among published values apart. ≈: not told apart from the "
            "best measured one by a paired Wilcoxon test over the images (5 %). [ ]: 95 % bootstrap interval over "
            "images. ±: standard deviation over seeds."
        )
    found += [f"Convention: {text}" for text in table.conventions]
    found += [f"({mark}) {text}" for mark, text in table.notes]
    whole = ", ".join(str(mark) for mark in table.marks)
    found += [f"Footnotes {whole} concern the whole table."] if whole else []
    return found + [f"[{mark}] {kind}: {text}" for mark, kind, text in table.remarks]


def grid(table: Table, heads: Sequence[Head], bold: str, tie: str) -> tuple[list[str], list[list[str]]]:
    """A part of a table as texts: headings, and a row of texts for each line."""
    titles = ["method"]
    for head in heads:
        marks = "".join(f" [{mark}]" for mark in head.marks)
        measured = [] if table.kind == LAYERS else [head.heading + (", measured" if table.compares else "")]
        titles += measured + ([f"{head.heading}, published{marks}"] if head.printed else [])
    titles += ["verdict"] * bool(table.verdict)
    rows = []
    for line in table.lines:
        row = [label_text(line) + "".join(f" [{mark}]" for mark in line.marks)]
        for head in heads:
            if table.kind != LAYERS:
                row.append(measured_text(line.measured.get(head.id), head, bold, tie) if line.group else "not run")
            if head.printed:
                found = line.printed.get(head.id)
                text = (bold.format(found.text) if found.best else found.text) if found else ""
                row.append(text + "".join(f" [{mark}]" for mark in found.marks) if found else "")
        rows.append(row + [line.verdict] * bool(table.verdict))
    return titles, rows


def markdown(table: Table) -> str:
    """The table as Markdown."""
    out = [f"# {table.title}", ""]
    for name, heads in parts(table):
        titles, rows = grid(table, heads, "**{}**", "≈")
        out += [f"## {name}", ""] if name else []
        cells = [titles, ["---"] * len(titles), *rows]
        out += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells] + [""]
    return "\n".join(out) + "\n".join(f"- {text}" for text in legend(table)) + "\n"


def comma_separated(table: Table) -> str:
    """The table as CSV, numbers bare: a line a run, four columns a measured metric and one a published."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = ["row", "label", "evaluations", "kind", "origin", "verdict"]
    for head in table.heads:
        if table.kind != LAYERS:
            titles += [f"{head.id}.{part}" for part in ("measured", "low", "high", "spread")]
        titles += [f"{head.id}.published"] * bool(head.printed)
    writer.writerow(titles)
    for line in table.lines:
        group = line.group
        names = " ".join(one.name for one in group.evaluations) if group else ""
        row: list[Any] = [line.row, line.label, names]
        row += [group.record["kind"], group.record["origin"]] if group else ["", ""]
        row.append(line.verdict)
        for head in table.heads:
            if table.kind != LAYERS:
                found = line.measured.get(head.id, Measured(None))
                row += ["" if x is None else x for x in (found.value, found.low, found.high, found.spread)]
            if head.printed:
                row.append(line.printed[head.id].text if head.id in line.printed else "")
        writer.writerow(row)
    return out.getvalue()


def escape(text: str) -> str:
    """Text for LaTeX: its special signs escaped, arrows and the like as commands."""
    signs = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
        "≈": r"$\approx$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "✓": r"$\checkmark$",
        "<": r"\textless{}", ">": r"\textgreater{}", "→": r"$\to$",
    }  # fmt: skip
    return "".join(signs.get(sign, sign) for sign in text)


def latex(table: Table) -> str:
    """The table as LaTeX (booktabs, amssymb; a `table*` a part)."""
    out = []
    for name, heads in parts(table):
        titles, rows = grid(table, heads, "\x01{}\x02", "≈")  # marks that survive escaping
        body = [[escape(text).replace("\x01", r"\textbf{").replace("\x02", "}") for text in row] for row in rows]
        # a row that begins with "[" would be read as the argument of the line break before it
        body = [[f"{{}}{row[0]}" if row[0].startswith("[") else row[0], *row[1:]] for row in body]
        caption = escape(table.title + (f": {name}" if name else ""))
        out += [
            r"\begin{table*}", r"\centering\footnotesize", rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}", r"\toprule",
            " & ".join(escape(text) for text in titles) + r" \\", r"\midrule",
            *(" & ".join(row) + r" \\" for row in body), r"\bottomrule", r"\end{tabular}", r"\end{table*}", "",
        ]  # fmt: skip
    return "\n".join([*out, *(f"% {text}" for text in legend(table))]) + "\n"
