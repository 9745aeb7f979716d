"""Tables: what was measured beside what is printed, and overviews of all that was run.

A published table keeps its rows and columns; each column shows what was measured and, apart from it, what is printed.
An overview shows every run of one dataset and task, also those that no paper prints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import INPUTS, UserError
from reports.published import LAYERS, Column, Published
from reports.published import Row as PrintedRow
from reports.published import Table as PublishedTable
from reports.scores import (
    CONDITION,
    COSTS,
    ORIGINALS,
    Evaluation,
    Stat,
    convert,
    device,
    measure,
    missing_link,
    rows_of,
)
from reports.shown import (
    ARROWS,
    WIDEST,
    Group,
    Head,
    Line,
    Measured,
    Printed,
    Table,
    describe,
    letter,
    name_among,
    number,
    parts,
)
from reports.statistics import LEVEL, against, bootstrap
from reports.texts import comma_separated, latex, markdown
from reports.verdicts import IDLE, judge_cell, judge_line, judge_table

__all__ = [
    "ARROWS", "PSNR", "Group", "Head", "Line", "Measured", "Printed", "Table", "comma_separated", "describe", "groups",
    "inputs_of", "latex", "markdown", "measured_cells", "name_among", "number", "overviews", "parts",
    "published_table", "random_text",
]  # fmt: skip

PSNR = "psnr-rgb8"
MAIN = (
    PSNR, "psnr-rgb8-hole", "psnr-kohler", "ssim-gauss11", "mae", "params", "macs", "seconds", "ssim-uniform7",
    "ssim-matlab-rgb", "ssim-kohler", "memory", "file-size", "lpips-alex", "fid",
)  # fmt: skip
"""The metrics of an overview, in this order, where any run has them."""
BASELINES = {"deblur": "input", "dual-pixel": "input", "inpaint": "telea", "sharp-inpaint": "telea"}
"""By task, the method without training that every other has to beat."""


def groups(evaluations: Iterable[Evaluation]) -> list[Group]:
    """Put together the evaluations that differ in their seed alone; the same seed twice stays apart."""
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        record = evaluation.record
        recipe = {name: value for name, value in (record["train"] or {}).items() if name != "seed"}
        same = [record[name] for name in ("method", "kind", "dataset", "task", "origin", "partial", "network")]
        learnt = [(one["dataset"], one["origin"], one["partial"]) for one in record.get("trained_on", ())]
        key = json.dumps([rows_of(record), *same, learnt, record["reduced"], recipe], sort_keys=True, default=str)
        seeds = {other.record["seed"] for other in found.get(key, [])}
        if record["seed"] is None or record["seed"] in seeds:
            key += evaluation.name
        found.setdefault(key, []).append(evaluation)
    return [Group(tuple(members)) for members in found.values()]


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
    values = np.array([value for _, _, value in parts])
    spread = float(values.std(ddof=1)) if len(set(values.tolist())) > 1 else None
    found = Measured(float(values.mean()), spread=spread, parts=parts)
    series = [stat.images for _, stat, _ in parts if stat.images is not None]
    scale = convert(1.0, parts[0][1].unit, head.unit)
    if len(series) == 1 and (interval := parts[0][1].interval):
        found.images = series[0] if scale == 1 else series[0] * scale
        found.low, found.high = interval[0] * scale, interval[1] * scale
    elif series:
        if all(one.index is series[0].index for one in series):
            found.images = sum(series[1:], series[0]) * (scale / len(series))
        else:
            found.images = pd.concat(series).groupby(level=list(range(1 + len(CONDITION)))).mean() * scale
        found.low, found.high = bootstrap(found.images)
    if (size := parts[0][1].size) and head.metric in COSTS:
        found.detail = (
            size if head.metric.startswith("macs") else f"{size}, {device(parts[0][0].record).partition(' (')[0]}"
        )
    return found


def mark_measured(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best measured cells of a column, and those that a paired test cannot tell from the first of them.

    Where all are equal none is the best; runs of equal images are tied all the same. Doing nothing costs nothing: what
    was not trained takes no part where a cost is compared.
    """
    cells = [found for line in lines if (found := line.measured.get(head.id)) and found.value is not None]
    if head.metric in COSTS:
        cells = [found for found in cells if all(part[0].record["kind"] != "no training" for part in found.parts)]
    if head.better is None or len(cells) < 2:
        return
    pick: Callable[..., float] = max if head.better == "higher" else min
    top = pick(found.value for found in cells)
    winners = [found for found in cells if found.value == top]
    for found in winners:
        found.best = len(winners) < len(cells)
    first = winners[0]
    if first.images is None:
        return
    others = [(found, found.images) for found in cells if found is not first and found.images is not None]
    for (found, _), p in zip(others, against(first.images, [images for _, images in others]), strict=True):
        found.p, found.tie = p, p is not None and p >= LEVEL
    first.tie = any(found.tie for found in winners[1:])


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


def measured_rank(line: Line, column: str) -> float:
    """A sort key that puts the highest value of a column first and what was not measured last."""
    value = line.measured[column].value
    return math.inf if value is None else -value


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
    wanted = {metric for protocol in published.protocols[table.id].values() for metric in protocol.also}
    units = {metric: str(one.columns(metric)["unit"][0]) for one in evaluations for metric in wanted & set(one.scores)}
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
    fitting.sort(key=lambda group: bool(group.record.get("trained_on")))  # those trained there speak for the row
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
    texts += [f"trained on {one['dataset_title']} ({one['origin']})" for one in record.get("trained_on", ())]
    if record["reduced"]:
        texts.append(f"reduced network: {'; '.join(record['reduced'])}")
    texts += [f"loss {entry['loss']} left out: {entry['reason']}" for entry in record["missing_losses"]]
    texts += [random_text(entry) for entry in record.get("random_helpers", ())]
    return tuple(letter(notes, text) for text in texts)


def random_text(entry: Mapping[str, Any]) -> str:
    """What one must know of losses that looked through a helper without its own weights."""
    return f"losses through a network of random weights: {', '.join(entry['losses'])} ({entry['helper']})"


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


def published_line(
    line: Line, members: Sequence[Group], heads: Sequence[Head], table: str, notes: dict[str, str]
) -> None:
    """Measure and judge the cells of a published row's line; each column takes the run of its dataset."""
    for head in heads:
        wanted = head.printed.dataset if head.printed else None
        group = next((one for one in members if wanted in (None, one.record["dataset"])), None)
        line.measured[head.id] = cell(table, line.row, group, head, notes) if group else Measured(None)


def published_table(table: PublishedTable, runs: Sequence[Group], published: Published) -> Table:
    """Join a published table with the runs of its rows; without any, what is printed stands alone.

    Raises:
        UserError: a measured cell that does not lead back to its run.
    """
    layers = table.kind == LAYERS
    by_row = {row.row: [] if layers else runs_of(table, row, runs, published) for row in table.rows}
    everything = [group for found in by_row.values() for group in found]
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
        dealt = by_dataset(by_row[row.row])
        if not dealt:
            line.verdict = "" if layers else IDLE
            lines.append(line)
        for i, members in enumerate(dealt):
            run = replace(line, group=members[0], first=i == 0, printed=printed if i == 0 else {}, measured={})
            run.notes = tuple(dict.fromkeys(mark for one in members for mark in run_notes(one, notes, mixed)))
            published_line(run, members, heads, table.id, notes)
            for head in heads:
                if head.id in printed:
                    judge_cell(run.measured[head.id], printed[head.id], head)
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
        f"{title}; measured on {origin}" if origin else title,
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
    first = group.evaluations[0]
    return sorted(set(first.columns(PSNR)["input"]) - {""}) if PSNR in first.scores else []


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
        rows = next((one.columns(metric) for g in members for one in g.evaluations if metric in one.scores), None)
        unit, better = ("1", None) if rows is None else (rows["unit"][0] or "1", rows["better"][0] or None)
        name = published.metrics.get(metric, (metric, ""))[0]
        found.append(Head(metric, name, "", str(unit), better, metric, where))
    names = [head.name for head in found]  # two windows of SSIM need their ids
    return [
        replace(head, name=f"{head.name} {head.metric.partition('-')[2]}") if names.count(head.name) > 1 else head
        for head in found
    ]


def condition_heads(members: Sequence[Group], where: Mapping[str, str]) -> list[Head]:
    """PSNR by scene and by mask, each where the images have several, but not where almost each image has its own."""
    ran = [one.columns(PSNR) for group in members for one in group.evaluations if PSNR in one.scores]
    rows = {row for one in ran for row in zip(*(one[name] for name in ("image", *CONDITION)), strict=True)}
    place = {name: i for i, name in enumerate(CONDITION, 1)}
    rows = {row for row in rows if all(row[place[name]] == value for name, value in where.items())}
    found = []
    for names in (("scene",), ("mask_kind", "mask_band")):
        values = sorted({tuple(row[place[name]] for name in names) for row in rows} - {("",) * len(names)})
        if 1 < len(values) <= min(WIDEST, len(rows) // 2):
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
                        "condition": dict(head.condition), "size": stat.size,
                    }
                )  # fmt: skip
    return found
