"""Overviews of all that was run: one table per task and dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.contracts import INPUTS
from reports.scores.measures import MEASURES, PSNR, overview_metrics
from reports.scores.reading import (
    CONDITION,
    ORIGINALS,
)
from reports.tables.filling import BASELINES, cell, mark_measured, measured_rank, run_notes
from reports.tables.model import (
    WIDEST,
    Group,
    Head,
    Line,
    Table,
    describe,
    name_among,
)

# Overviews ------------------------------------------------------------------------------------------------------------


def inputs_of(group: Group) -> list[str]:
    """The inputs that a run's images have: blurred, sharp, dual-pixel."""
    first = group.evaluations[0]
    return sorted(set(first.columns(PSNR)["input"]) - {""}) if PSNR in first.scores else []


def overview_heads(members: Sequence[Group], where: Mapping[str, str]) -> list[Head]:
    """The main metrics that any run has or says why not."""
    ran = [one for group in members for one in group.evaluations]
    return metric_heads(
        [
            name
            for name in overview_metrics()
            if any(name in one.scores or name in one.record["not_measured"] for one in ran)
        ],
        where,
    )


def metric_heads(metrics: Sequence[str], where: Mapping[str, str]) -> list[Head]:
    """Columns of measured values alone, one a metric, under one condition."""
    measures = [MEASURES[metric] for metric in metrics]
    found = [Head(one.id, one.title, "", one.unit or "1", one.better, one.id, where) for one in measures]
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
    *,
    by: bool = False,
) -> Table | None:
    """All runs of one dataset, task and input, the best PSNR first.

    Args:
        given: blurred, sharp or dual-pixel.
        by: PSNR by condition in place of the main metrics; None where the images have no conditions to tell apart.
    """
    where = {"input": given} if given else {}
    heads = condition_heads(members, where) if by else overview_heads(members, where)
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
        meanings(heads),
        notes=tuple(marks + ([("*", absent)] if absent else [])),
    )


def meanings(heads: Sequence[Head]) -> tuple[str, ...]:
    """What each metric of these columns means, a sentence each."""
    return tuple(f"{name}: {MEASURES[name].protocol}" for name in dict.fromkeys(head.metric for head in heads))


def overviews(runs: Sequence[Group]) -> list[Table]:
    """An overview of every dataset, task, input and origin, each followed by PSNR by condition where there are any."""
    found: dict[tuple[str, str, str, str], list[Group]] = {}
    for group in runs:
        record = group.record
        for given in inputs_of(group) or [""]:
            found.setdefault((record["task"], record["dataset"], record["origin"], given), []).append(group)
    tables = []
    for (task, dataset, origin, given), members in found.items():
        for by in (False, True):
            if table := overview(members, task, dataset, given, origin, by=by):
                tables.append(table)
    return tables
