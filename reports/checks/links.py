"""The check of links: each leads to a part of the page, to a file of the report or to MLflow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote

from reports.checks.inspection import ExperimentOf, Inspection

RUN = re.compile(r"#/experiments/(\d+)(?:/runs/([0-9a-f]+))?(?:\?|$)")
"""The address of an MLflow experiment, or of a run in it."""
SHOWN = 100
"""Characters of a link that a fault names."""


def check_comparison(inspection: Inspection, place: str, address: str, experiment_of: ExperimentOf) -> None:
    """Check a link that compares MLflow runs: two or more runs, in the experiments that it names."""
    query = parse_qs(address.partition("?")[2])
    runs, experiments = (json.loads(query.get(name, ["[]"])[0]) for name in ("runs", "experiments"))
    actual = {experiment_of(run) for run in runs}
    if len(runs) < 2 or None in actual or actual != set(map(str, experiments)):
        inspection.fault(place, f"{len(runs)} runs of experiments {sorted(map(str, actual))} are compared")


def check_mlflow(inspection: Inspection, place: str, address: str, experiment_of: ExperimentOf) -> None:
    """Check a link out of the report, which must lead to MLflow."""
    if "#/compare-runs?" in address:
        check_comparison(inspection, place, address, experiment_of)
    elif match := RUN.search(address):
        experiment, run = match.groups()
        if run and experiment_of(run) != experiment:
            inspection.fault(place, "the tracking store has no such run in this experiment")
    else:
        inspection.fault(place, "leads neither into the report nor to MLflow")


def check_link(inspection: Inspection, path: Path, link: str, experiment_of: ExperimentOf) -> None:
    """Check one link of a page."""
    place = f"{inspection.name(path)}: link {link[:SHOWN]}"
    inspection.counts["links"] += 1
    if link.startswith(("http://", "https://")):
        check_mlflow(inspection, place, unquote(link), experiment_of)
        return
    name, _, part = unquote(link).partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.is_file() or not target.is_relative_to(inspection.report):
        inspection.fault(place, "the report has no such file")
    elif part not in ("", "top") and part not in inspection.page(target).ids:  # every page has a top
        inspection.fault(place, "nothing has this id")


def check_links(inspection: Inspection, experiment_of: ExperimentOf) -> None:
    """Check every link of every page, and that a page loads nothing from elsewhere."""
    for path in [inspection.report / "index.html", *sorted((inspection.report / "tables").glob("*.html"))]:
        page = inspection.page(path)
        for source in page.loads:
            if not source.startswith(("data:", "#")):
                inspection.fault(inspection.name(path), f"loads {source[:SHOWN]} from outside the page")
        for link in page.links:
            check_link(inspection, path, link, experiment_of)
