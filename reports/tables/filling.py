"""The cells of tables: measured and printed values, their notes and marks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import UserError
from bench.scoring.metrics.measure import Cost
from reports.published.printed import Column, Published
from reports.published.printed import Row as PrintedRow
from reports.published.printed import Table as PublishedTable
from reports.scores.measures import MEASURES, is_cost
from reports.scores.reading import (
    CONDITION,
    ORIGINALS,
    Evaluation,
    Stat,
    convert,
    device,
    measure,
    missing_link,
    rows_of,
)
from reports.scores.statistics import LEVEL, against, bootstrap
from reports.tables.model import (
    Group,
    Head,
    Line,
    Measured,
    Table,
    letter,
)

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
    measure_of = MEASURES.get(head.metric)
    if (size := parts[0][1].size) and isinstance(measure_of, Cost):
        where = device(parts[0][0].record).partition(" (")[0]
        found.detail = f"{size}, {where}" if measure_of.on_device else size
    return found


def mark_measured(head: Head, lines: Sequence[Line]) -> None:
    """Mark the best measured cells of a column, and those that a paired test cannot tell from the first of them.

    Where all are equal none is the best; runs of equal images are tied all the same. Doing nothing costs nothing: what
    was not trained takes no part where a cost is compared.
    """
    cells = [found for line in lines if (found := line.measured.get(head.id)) and found.value is not None]
    if is_cost(head.metric):
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


def heads_of(table: PublishedTable, published: Published) -> list[Head]:
    """The columns to show of a published table, with those that only our scores have."""
    several = len({column.dataset for column in table.columns}) > 1
    found = []
    for column in table.columns:
        protocol = published.protocols[table.id][column.metric]
        dataset = published.names[column.dataset] if several and column.dataset else ""
        mask = " ".join(part for part in (column.mask_type, column.mask_ratio and f"{column.mask_ratio}%") if part)
        over = ", ".join(part for part in (dataset, column.scene, mask) if part)
        marks = tuple(i for i, remark in enumerate(table.remarks, 1) if column.id in remark.columns and not remark.rows)
        head = Head(
            column.id, MEASURES[protocol.shown].title, over, column.unit, column.better, protocol.shown,
            condition(column), column.image_size or protocol.size, column, protocol, marks,
        )  # fmt: skip
        found.append(head)
        found += [
            replace(
                head, id=f"{column.id}-{metric}", name=MEASURES[metric].title, unit=MEASURES[metric].unit or "1",
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
        shown = "; ".join(f"{name}: {MEASURES[name].protocol}" for name in (protocol.shown, *protocol.also))
        used = protocol.used or "cannot be told"
        verb = "comparable" if protocol.comparable else "not comparable as numbers"
        found.append(f"{metric}, {verb}. Shown {shown}. The paper most likely used: {used}. {protocol.why}")
    return tuple(found)


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
