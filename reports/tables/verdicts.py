"""Verdicts: whether a measured cell, row or table reproduces what is printed, or why that cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bench.record import Record
from reports.scores.reading import ORIGINALS, lacks_commit
from reports.scores.statistics import kendall
from reports.tables.model import Head, Line, Measured, Printed, Table, number

REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE, NOT_RUN = "reproduced", "not reproduced", "not comparable", "not run"
ORDER_REPRODUCED = "order reproduced"
"""The verdict of a table whose numbers differ while its rows have the printed order."""
LEAST_TAU = 0.8
"""Our reading: an order is reproduced from this mean Kendall tau on."""
LEAST_ROWS = 3
"""An order is judged from this number of rows on."""
COUNT_TOLERANCE = 0.01
"""Our reading: a count without an interval is reproduced within this share of the printed number."""
TRUST = ("trained", "chain", "no training", "authors' weights", "predictions")
"""The kinds of runs; of several runs of a row, the first in this order represents it."""


def obstacles(record: Record) -> list[str]:
    """Return what keeps an evaluation from being compared with a printed number at all."""
    texts = []
    if record.origin != ORIGINALS:
        texts.append(f"stand-in data ({record.origin})")
    elif any(entry.origin != ORIGINALS for entry in record.trained_on):
        texts.append("trained on stand-in data")
    if record.profile != "paper":
        shorter = record.kind in ("trained", "chain")
        texts.append(f"shorter training ({record.profile} profile)" if shorter else f"{record.profile} profile")
    if lacks_commit(record):
        texts.append("no commit of the code that made it")
    if record.partial:
        texts.append("partial data")
    if record.reduced:
        texts.append("reduced network")
    if record.missing_losses:
        texts.append("missing weights (loss terms left out)")
    if record.random_helpers:
        texts.append("losses through random weights")
    return texts


def obstacles_in(cells: Iterable[Measured]) -> list[str]:
    """Return the obstacles of all evaluations in some cells, each once."""
    return list(dict.fromkeys(text for cell in cells for member, *_ in cell.parts for text in obstacles(member.record)))


def last_digit(text: str) -> float:
    """Return the unit of the last digit of a printed number.

    >>> last_digit("31.54"), last_digit("34.52M"), last_digit("1,680")
    (0.01, 0.01, 1.0)
    """
    digits = "".join(sign for sign in text if sign.isdigit() or sign == ".").partition(".")[2]
    return 10.0 ** -len(digits)


def agrees(value: float, cell: Measured, text: str, printed: float) -> bool:
    """Return whether a measured value reproduces a printed one.

    Our reading, as no paper prints a tolerance: the printed number is in the 95 % interval over images, widened by the
    spread over seeds and half a unit of the last printed digit; a count, which has no interval, is within 1 %.

    Args:
        value: the cell's value.
        text: the printed number as text.
        printed: the printed number.
    """
    slack = 0.5 * last_digit(text) + (cell.spread or 0.0)
    if cell.low is None or cell.high is None:
        return abs(value - printed) <= slack + COUNT_TOLERANCE * abs(printed)
    return cell.low - slack <= printed <= cell.high + slack


def judge_cell(cell: Measured, printed: Printed, head: Head) -> None:
    """Set on a measured cell its difference from the printed number, the verdict and the reason in full."""
    if cell.value is None or printed.number is None:
        return
    cell.difference = cell.value - printed.number
    if texts := obstacles_in([cell]):
        cell.verdict, cell.reason = NOT_COMPARABLE, f"because of {', '.join(texts)}"
    elif not (head.protocol and head.protocol.comparable):
        used = (head.protocol.used if head.protocol else None) or "not known"
        cell.verdict = NOT_COMPARABLE
        cell.reason = f"because of another metric convention: shown is {head.metric}, the paper's is {used}"
    else:
        same = agrees(cell.value, cell, printed.text, printed.number)
        cell.verdict = REPRODUCED if same else NOT_REPRODUCED
        place = "inside" if same else "outside"
        interval = "the 95 % interval" if cell.low is not None else "1 % of the printed value"
        cell.reason = f"{number(cell.value, head)} against {printed.text}, {place} {interval}"


def judge_line(line: Line, printed: Mapping[str, Printed], heads: Sequence[Head]) -> tuple[str, str]:
    """Return the verdict on one row (reproduced, not reproduced, not comparable or not run) and its reason in full."""
    if line.group is None:
        return NOT_RUN, ""
    judged = [head for head in heads if head.id in printed and line.measured[head.id].verdict]
    if not judged:
        return NOT_COMPARABLE, "because no cell is both measured and printed"
    comparable = [head for head in judged if line.measured[head.id].verdict != NOT_COMPARABLE]
    if not comparable:
        texts = obstacles_in(line.measured.values()) or ["other metric conventions"]
        return NOT_COMPARABLE, f"because of {', '.join(texts)}"
    differing = [
        f"{head.over} {head.name} {measured_text(line, head)} against {printed[head.id].text}".strip()
        for head in comparable
        if line.measured[head.id].verdict == NOT_REPRODUCED
    ]
    return (NOT_REPRODUCED, "; ".join(differing)) if differing else (REPRODUCED, f"in {len(comparable)} columns")


def measured_text(line: Line, head: Head) -> str:
    """Return a measured cell's number as text, "" where there is none."""
    value = line.measured[head.id].value
    return "" if value is None else number(value, head)


def representatives(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """Return for each row that was run the line that represents it and the line with its published values."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        rows.setdefault(line.row, []).append(line)
    return [
        (min(run, key=lambda line: TRUST.index(line.group.record.kind) if line.group else len(TRUST)), members[0])
        for members in rows.values()
        if (run := [line for line in members if line.group])
    ]


def orders(pairs: Sequence[tuple[Line, Line]], heads: Sequence[Head]) -> list[tuple[Head, float, int]]:
    """Return Kendall's tau between the measured and the printed order of each column, and its number of rows.

    Args:
        pairs: as `representatives`.

    Returns:
        only the columns with LEAST_ROWS rows or more that are measured and printed, and that are not constant.
    """
    taus = []
    for head in heads:
        both = [
            (value, cell.number)
            for run, first in pairs
            if (cell := first.printed.get(head.id))
            and cell.number is not None
            and (value := run.measured[head.id].value) is not None
        ]
        if len(both) >= LEAST_ROWS:
            tau = kendall([value for value, _ in both], [printed for _, printed in both])
            if not math.isnan(tau):
                taus.append((head, tau, len(both)))
    return taus


def judge_table(table: Table) -> tuple[str, str]:
    """Return the verdict on a table and its reason in full: that of a row, or that its order is reproduced."""
    pairs = representatives(table.lines)
    count = sum(line.first for line in table.lines)
    if not pairs:
        return NOT_RUN, f"none of its {count} rows has a run"
    taus = orders(pairs, table.heads)
    mean = sum(tau for _, tau, _ in taus) / len(taus) if taus else math.nan
    order = (
        f"Kendall tau of the measured and the printed order: mean {round(mean, 2) + 0.0:.2f} over {len(taus)} columns "
        f"of {min(n for *_, n in taus)} to {max(n for *_, n in taus)} rows"
        if taus
        else "no order to compare: fewer than three rows are both measured and printed, or all are equal"
    )
    if texts := obstacles_in(cell for run, _ in pairs for cell in run.measured.values()):
        return NOT_COMPARABLE, f"because of {', '.join(texts)}; {order}"
    verdicts = [run.verdict for run, _ in pairs]
    if all(verdict == REPRODUCED for verdict in verdicts):
        return REPRODUCED, f"{len(pairs)} of {count} rows were run; {order}"
    if mean >= LEAST_TAU:
        return ORDER_REPRODUCED, order
    if NOT_REPRODUCED in verdicts or REPRODUCED in verdicts:
        differing = verdicts.count(NOT_REPRODUCED)
        return NOT_REPRODUCED, f"{differing} of {len(pairs)} rows that were run differ; {order}"
    reasons = list(dict.fromkeys(run.reason for run, _ in pairs))
    return NOT_COMPARABLE, f"{'; '.join(reasons)}; {order}"
