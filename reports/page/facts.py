"""Facts of runs that the page lists: settings, durations, packages, and what all runs of a report share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.scores.reading import Evaluation, device, lacks_commit


def header(evaluations: Sequence[Evaluation], profile: str) -> dict[str, Any]:
    """What was run: profile, origins of images, commits, dates of training (where there was one) and devices."""
    provenances = [run.record.provenance for run in evaluations]

    def all_of(name: str) -> list[str]:
        return sorted({value for provenance in provenances if (value := str(getattr(provenance, name)))})

    dates = [date[:10] for date in all_of("finished")]
    return {
        "profile": profile,
        "origins": sorted({run.record.origin for run in evaluations}),
        "commits": all_of("git_commit"),
        "without_commit": sum(lacks_commit(run.record) for run in evaluations),
        "dirty": any(provenance.git_dirty for provenance in provenances),
        "dates": list(dict.fromkeys([min(dates), max(dates)])) if dates else [],
        "devices": sorted({device(run.record) for run in evaluations}),
        "count": len(evaluations),
    }


def settings(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs.

    >>> settings({"lr": 1, "losses": {"l1": 2}}, "train")
    [('train.lr', '1'), ('train.losses.l1', '2')]
    """
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in settings(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, str(value))]


def duration(seconds: float | None) -> str:
    """Seconds in words; "" for None.

    >>> duration(12), duration(312), duration(12_000)
    ('12 s', '5 min', '3 h 20 min')
    """
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


Packages = tuple[tuple[str, str], ...]
"""(name, version) of the Python and of every package of a run."""


def packages(evaluation: Evaluation) -> Packages:
    """The Python and the packages of a run."""
    provenance = evaluation.record.provenance
    return (("python", str(provenance.python)), *settings(provenance.packages))


def environments(evaluations: Iterable[Evaluation]) -> dict[str, Packages]:
    """The sets of packages of all runs, each once, by the id under which the page lists it."""
    names: dict[Packages, str] = {}
    for evaluation in evaluations:
        names.setdefault(packages(evaluation), f"environment-{len(names) + 1}")
    return {name: entries for entries, name in names.items()}
