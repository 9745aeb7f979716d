"""The check of files: every figure is there as PNG and as SVG, and the summary counts what the report holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reports.checks.inspection import Inspection


def check_figures(inspection: Inspection) -> int:
    """Check that every figure has both files, none empty. Returns the number of figures."""
    endings: dict[str, set[str]] = {}
    for path in sorted((inspection.report / "figures").iterdir()):
        endings.setdefault(path.stem, set()).add(path.suffix)
        if not path.stat().st_size:
            inspection.fault(inspection.name(path), "is empty")
    for name, suffixes in endings.items():
        if suffixes != {".png", ".svg"}:
            inspection.fault(f"figures/{name}", f"found {', '.join(sorted(suffixes))}, expected .png and .svg")
    return len(endings)


def check_summary(
    inspection: Inspection, summary: Mapping[str, Any], counts: Mapping[str, int], tables: Collection[str]
) -> None:
    """Compare `summary.json` with what the report holds.

    Args:
        counts: by field of the summary.
        tables: the ids of all tables.
    """
    for name, count in counts.items():
        if summary.get(name) != count:
            inspection.fault("summary.json", f"{name}: found {summary.get(name)}, expected {count}")
    listed = summary.get("tables")
    if not isinstance(listed, dict) or set(listed) != set(tables):
        inspection.fault("summary.json", "tables: not those that the scores and the published numbers give")
