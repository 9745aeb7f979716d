"""The check of measured cells: each is computed again from the scores, and has links to what made it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bench.contracts import DataError
from bench.contracts.errors import brief
from reports.checks.inspection import ExperimentOf, Inspection
from reports.checks.pages import number
from reports.scores.measures import is_cost
from reports.scores.reading import COMMIT, CONDITION, LINKS, WITH_WEIGHTS, Evaluation, convert

Entry = Mapping[str, Any]
"""An entry of `cells.json`: one evaluation's number in a table."""


TEXT, NUMBER = (str, type(None)), (int, float, str, type(None))
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "table": str, "row": str, "column": str, "evaluation": str, "metric": str, "metric_version": TEXT,
    "condition": dict, "size": TEXT, "unit": TEXT, "value": NUMBER, "mlflow_run": TEXT,
}  # fmt: skip
"""The keys of an entry that are checked, with the types of their values."""


def read_entries(inspection: Inspection) -> list[Entry]:
    """Read the entries of `cells.json`; one that lacks a key or has a value of another type is a fault and left out."""
    entries = []
    for entry in inspection.read_json("cells.json", list):
        wrong = [name for name, kinds in NEEDED.items() if not isinstance(entry, dict) or name not in entry
                 or not isinstance(entry[name], kinds)]  # fmt: skip
        if wrong:
            inspection.fault("cells.json", f"{brief(entry)}: {', '.join(wrong)}: missing or of another type")
        else:
            entries.append(entry)
    return entries


def recompute(entry: Entry, evaluation: Evaluation) -> float:
    """Compute the number of a cell from the scores of its evaluation, without the report's own code for it.

    Raises:
        DataError: no score of this metric under this condition, or several where there must be one.
    """
    rows = evaluation.columns(entry["metric"])
    cost = is_cost(entry["metric"])
    chosen = ~np.isnan(rows["value"])
    for name, value in ({"size": entry["size"]} if cost else entry["condition"]).items():
        chosen &= rows[name] == value
    if not cost and (rows["image"][chosen] == "").any():  # a metric of a set of images
        pooled = np.all([rows[name] == "" for name in CONDITION], axis=0)
        chosen = chosen & pooled if (chosen & pooled).any() else chosen
    values = rows["value"][chosen]
    if not len(values) or (len(values) > 1 and (rows["image"][chosen] == "").any()):
        raise DataError(f"{len(values)} rows of {entry['metric']} fit")
    return convert(float(values.mean()), str(rows["unit"][0]), entry["unit"])


def check_value(inspection: Inspection, place: str, entry: Entry, evaluation: Evaluation) -> None:
    """Compare the number of a cell with the scores of its evaluation."""
    try:
        expected = recompute(entry, evaluation)
    except (KeyError, DataError) as error:
        inspection.fault(place, f"cannot be computed from the scores of {evaluation.name} ({error})")
        return
    value = number(entry["value"])
    if not (expected == value or math.isclose(expected, value, rel_tol=1e-12)):
        inspection.fault(place, f"found {entry['value']}, the scores of {evaluation.name} give {expected}")


def check_provenance(inspection: Inspection, place: str, entry: Entry, evaluation: Evaluation) -> None:
    """Compare the links of a cell to code, data and weights with the record of its evaluation."""
    provenance = evaluation.record.provenance
    needed = (*LINKS, *(["weights_sha256"] if evaluation.record.kind in WITH_WEIGHTS else []))
    for name in (*COMMIT, *needed):
        expected = getattr(provenance, name)
        if (name in needed and expected in ("", {})) or (name in entry and entry[name] != expected):
            message = f"{name}: found {entry.get(name)!r}, the record of {evaluation.name} has {expected!r}"
            inspection.fault(place, message)


def check_cells(
    inspection: Inspection,
    entries: Iterable[Entry],
    evaluations: Mapping[str, Evaluation],
    experiment_of: ExperimentOf,
) -> None:
    """Check the value and the links of every measured cell.

    Args:
        entries: all entries of `cells.json`.
        evaluations: by name, those that the report was made from.
    """
    for entry in entries:
        place = f"cells.json: table {entry['table']}, row {entry['row']}, column {entry['column']}"
        evaluation = evaluations.get(entry["evaluation"])
        if evaluation is None:
            inspection.fault(place, f"evaluation {entry['evaluation']} is not among the scores")
            continue
        check_value(inspection, place, entry, evaluation)
        check_provenance(inspection, place, entry, evaluation)
        if not entry["metric_version"]:
            inspection.fault(place, "has no metric version")
        if experiment_of(entry["mlflow_run"]) is None:
            inspection.fault(place, f"MLflow run {entry['mlflow_run']} is not in the tracking store")
        inspection.counts["cells"] += 1
