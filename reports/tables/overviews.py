"""Overviews of all runs: one table per task, dataset, origin and input, and PSNR by scene and by mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.tasks import find_task
from reports.scores.measures import MEASURES, PSNR, overview_metrics
from reports.scores.reading import CONDITION, ORIGINALS
from reports.tables.cells import mark_measured, measure_cell, rank_of
from reports.tables.columns import conventions_of, metric_heads
from reports.tables.model import CONDITIONS, OVERVIEW, WIDEST, Head, Line, Notes, Table
from reports.tables.runs import Group, caveats, describe, name_among


class Subject(NamedTuple):
    """What the runs of one overview have in common.

    Args:
        task: the task.
        dataset: the dataset on which they were scored.
        origin: "originals", or where the stand-ins come from.
        input: "blurred", "sharp" or "dual-pixel"; "" where PSNR was not measured.
    """

    task: str
    dataset: str
    origin: str
    input: str


def inputs_of(group: Group) -> list[str]:
    """Return the inputs under which a run's images were scored: blurred, sharp, dual-pixel."""
    first = group.evaluations[0]
    return sorted(set(first.columns(PSNR)["input"]) - {""}) if PSNR in first.scores else []


def overview_heads(members: Sequence[Group], condition: Mapping[str, str]) -> list[Head]:
    """Return the columns of an overview: the metrics that any run has, or has a reason not to have."""
    ran = [evaluation for group in members for evaluation in group.evaluations]
    known = {name for evaluation in ran for name in (*evaluation.scores, *evaluation.record.not_measured)}
    return metric_heads([name for name in overview_metrics() if name in known], condition)


def condition_heads(members: Sequence[Group], condition: Mapping[str, str]) -> list[Head]:
    """Return PSNR by scene and by mask, each where the images have several of them, but not almost one per image."""
    evaluations = [member for group in members for member in group.evaluations if PSNR in member.scores]
    scores = [evaluation.columns(PSNR) for evaluation in evaluations]
    rows = {row for columns in scores for row in zip(*(columns[name] for name in ("image", *CONDITION)), strict=True)}
    place = {name: i for i, name in enumerate(CONDITION, 1)}
    rows = {row for row in rows if all(row[place[name]] == value for name, value in condition.items())}
    psnr = MEASURES[PSNR]
    heads = []
    for names in (("scene",), ("mask_kind", "mask_band")):
        values = sorted({tuple(row[place[name]] for name in names) for row in rows} - {("",) * len(names)})
        if 1 < len(values) <= min(WIDEST, len(rows) // 2):
            heads += [
                Head(
                    "-".join((PSNR, *value)), psnr.title, " ".join(value), psnr.unit, psnr.better, PSNR,
                    {**condition, **dict(zip(names, value, strict=True))},
                )
                for value in values
            ]  # fmt: skip
    return heads


def flag_below_baseline(lines: Sequence[Line], task: str, head: Head) -> str:
    """Flag every line whose PSNR is not above the baseline's. Returns a sentence where the baseline was not run."""
    name = find_task(task).floor
    base = next((line for line in lines if line.group and line.group.record.method == name), None)
    if base is None or base.measured[head.id].value is None:
        return f"{name} was not run here, so it is not known which methods fail to beat it"
    floor = base.measured[head.id].value
    for line in lines:
        value = line.measured[head.id].value
        if line is not base and value is not None and floor is not None and value <= floor:
            line.flag = f"below {name} by {floor - value:.2f} dB" if value < floor else f"equal to {name}"
    return ""


def sort_key(line: Line, column: str) -> tuple[float, ...]:
    """Return a key that sorts the highest value of a column first and what was not measured last."""
    cell = line.measured[column]
    return (1,) if cell.value is None else (0, *(-part for part in rank_of(cell)))


def table_of(subject: Subject, members: Sequence[Group], kind: str, heads: Sequence[Head]) -> Table:
    """Return one table of runs, those with the highest value of the first column first.

    Args:
        kind: OVERVIEW or CONDITIONS.
    """
    task, dataset, origin, given = subject
    with_input = find_task(task).has_hole  # the hole is put into the sharp or into the blurred image
    name = "-".join([task, dataset] + [given] * with_input + [origin.replace(" ", "-")] * (origin != ORIGINALS))
    identity = f"{kind}-{name}"
    notes = Notes()
    lines = []
    for group in members:
        first_name = group.evaluations[0].name
        letters = tuple(notes.letter(text) for text in caveats(group))
        line = Line(first_name, name_among(group, members), describe(group), group, notes=letters)
        line.measured = {head.id: measure_cell(identity, first_name, group, head, notes) for head in heads}
        lines.append(line)
    lines.sort(key=lambda line: sort_key(line, heads[0].id))
    for head in heads:
        mark_measured(head, lines)
    psnr = next((head for head in heads if head.id == PSNR), None)
    missing = flag_below_baseline(lines, task, psnr) if psnr else ""
    place = members[0].record.dataset_title + (f" ({origin})" if origin != ORIGINALS else "")
    subtitle = "PSNR by condition" if kind == CONDITIONS else "all runs"
    return Table(
        identity,
        f"{place}: {subtitle}, {task}" + (f" of {given} images" if with_input else ""),
        task,
        (dataset,),
        tuple(heads),
        lines,
        kind,
        conventions_of(heads),
        notes=notes.entries() + ((("*", missing),) if missing else ()),
    )


def overviews(runs: Sequence[Group]) -> list[Table]:
    """Return an overview per dataset, task, input and origin, each followed by PSNR by condition where that varies."""
    members_of: dict[Subject, list[Group]] = {}
    for group in runs:
        record = group.record
        for given in inputs_of(group) or [""]:
            subject = Subject(record.task, record.dataset, record.origin, given)
            members_of.setdefault(subject, []).append(group)
    tables = []
    for subject, members in members_of.items():
        condition = {"input": subject.input} if subject.input else {}
        for kind, heads in (
            (OVERVIEW, overview_heads(members, condition)), (CONDITIONS, condition_heads(members, condition)),
        ):  # fmt: skip
            if heads:
                tables.append(table_of(subject, members, kind, heads))
    return tables
