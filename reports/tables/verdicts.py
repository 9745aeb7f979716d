"""Verdicts: whether a measured cell, row or table reproduces what is printed, or why that cannot be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.scores.reading import ORIGINALS
from reports.scores.statistics import kendall
from reports.tables.model import Head, Line, Measured, Printed, Table, number

REPRODUCED, APART, BARRED, IDLE = "reproduced", "not reproduced", "not comparable", "not run"
IN_ORDER = "order reproduced"
"""The verdict of a table whose numbers differ while its rows stand in the printed order."""
ORDER = 0.8
"""Our reading: an order is reproduced from this mean Kendall tau on."""
COST_TOLERANCE = 0.01
"""Our reading: a count without an interval is reproduced within this share of the printed number."""
TRUST = ("trained", "chain", "no training", "authors' weights", "predictions")
"""The kind of run that speaks for a row first."""


def obstacles(record: Mapping[str, Any]) -> list[str]:
    """What keeps an evaluation from being compared with a printed number at all."""
    found = []
    if record["origin"] != ORIGINALS:
        found.append(f"stand-in data ({record['origin']})")
    elif any(one["origin"] != ORIGINALS for one in record.get("trained_on", ())):
        found.append("trained on stand-in data")
    if record["profile"] != "paper":
        shorter = record["kind"] in ("trained", "chain")
        found.append(f"shorter training ({record['profile']} profile)" if shorter else f"{record['profile']} profile")
    if record["partial"]:
        found.append("partial data")
    if record["reduced"]:
        found.append("reduced network")
    if record["missing_losses"]:
        found.append("missing weights (loss terms left out)")
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


def measured_number(line: Line, head: Head) -> str:
    """A measured cell's number alone, "" where there is none."""
    value = line.measured[head.id].value
    return "" if value is None else number(value, head)


def judge_cell(found: Measured, printed: Printed, head: Head) -> None:
    """Note on a measured cell how far it is from the printed number, the verdict and the reason in full."""
    if found.value is None or printed.number is None:
        return
    found.difference = found.value - printed.number
    if barred := list(dict.fromkeys(text for one, *_ in found.parts for text in obstacles(one.record))):
        found.verdict, found.reason = BARRED, f"because of {', '.join(barred)}"
    elif not (head.protocol and head.protocol.comparable):
        used = head.protocol.used if head.protocol else None
        found.verdict = BARRED
        found.reason = f"because of another metric convention: shown is {head.metric}, the paper's is " + (
            used or "not known"
        )
    else:
        found.verdict = REPRODUCED if agrees(found, printed) else APART
        place = "inside" if found.verdict == REPRODUCED else "outside"
        interval = "the 95 % interval" if found.low is not None else "1 % of the printed value"
        found.reason = f"{number(found.value, head)} against {printed.text}, {place} {interval}"


def judge_line(line: Line, printed: Mapping[str, Printed], heads: Sequence[Head]) -> tuple[str, str]:
    """The verdict on one row: reproduced, not reproduced, not comparable or not run; and its reason in full."""
    if line.group is None:
        return IDLE, ""
    judged = [head for head in heads if head.id in printed and line.measured[head.id].verdict]
    if not judged:
        return BARRED, "because no cell is both measured and printed"
    comparable = [head for head in judged if line.measured[head.id].verdict != BARRED]
    if not comparable:
        return BARRED, f"because of {', '.join(barriers([line]) or ['other metric conventions'])}"
    apart = [
        f"{head.over} {head.name} {measured_number(line, head)} against {printed[head.id].text}".strip()
        for head in comparable
        if line.measured[head.id].verdict == APART
    ]
    return (APART, "; ".join(apart)) if apart else (REPRODUCED, f"in {len(comparable)} columns")


def barriers(lines: Iterable[Line]) -> list[str]:
    """All obstacles of the runs in these lines."""
    records = [one.record for line in lines for found in line.measured.values() for one, *_ in found.parts]
    return list(dict.fromkeys(text for record in records for text in obstacles(record)))


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
    """The verdict on a table and its reason in full: that of a row, or that its order is reproduced."""
    pairs = spokesmen(table.lines)
    count = sum(line.first for line in table.lines)
    if not pairs:
        return IDLE, f"none of its {count} rows has a run"
    taus = orders(pairs, table.heads)
    mean = sum(tau for _, tau, _ in taus) / len(taus) if taus else math.nan
    order = (
        f"Kendall tau of the measured and the printed order: mean {round(mean, 2) + 0.0:.2f} over {len(taus)} columns "
        f"of {min(n for *_, n in taus)} to {max(n for *_, n in taus)} rows"
        if taus
        else "no order to compare: fewer than three rows are both measured and printed, or all are equal"
    )
    if found := barriers(run for run, _ in pairs):
        return BARRED, f"because of {', '.join(found)}; {order}"
    verdicts = [run.verdict for run, _ in pairs]
    if all(verdict == REPRODUCED for verdict in verdicts):
        return REPRODUCED, f"{len(pairs)} of {count} rows were run; {order}"
    if mean >= ORDER:
        return IN_ORDER, order
    if APART in verdicts or REPRODUCED in verdicts:
        return APART, f"{verdicts.count(APART)} of {len(pairs)} rows that were run differ; {order}"
    reasons = list(dict.fromkeys(run.reason for run, _ in pairs))
    return BARRED, f"{'; '.join(reasons)}; {order}"
