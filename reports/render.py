"""Render the report: the scores of one profile beside the published numbers, as tables, figures and one page."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.contracts import UserError
from reports.figures.charts import Rasters
from reports.page import write
from reports.page.parts import Extra
from reports.page.write import address
from reports.published import printed
from reports.scores import reading
from reports.scores.reading import Evaluation
from reports.sections import Resolve, Summary, by_key, loss_plots, sections_of
from reports.tables import custom, formats, model
from reports.tables.all_tables import all_tables
from reports.tables.cells import cell_records

Further = Callable[[Sequence[Evaluation], Path], Sequence[Extra]]
"""Draws further parts of the page from the evaluations, and writes their files (PNG and SVG) into a folder."""


def resolve_all(
    shown: Sequence[model.Table], resolve: Resolve
) -> tuple[dict[str, Mapping[str, str]], list[dict[str, Any]]]:
    """Link every measured cell to its MLflow run.

    Returns:
        the MLflow run of each evaluation that has a cell, and all cells.

    Raises:
        UserError: a cell whose run the tracking store does not know.
    """
    found: dict[str, Mapping[str, str]] = {}
    cells = []
    for table in shown:
        members = {one.name: one for line in table.lines if line.group for one in line.group.evaluations}
        members |= {
            one.name: one for line in table.lines for cell in line.measured.values() for one, _, _ in cell.parts
        }
        for entry in cell_records(table):
            name = entry["evaluation"]
            if name not in found:
                run = resolve(members[name].record)
                if run is None or not run.get("run_id"):
                    raise UserError(
                        f"table {table.id}, row {entry['row']}, column {entry['column']}: the measured cell of "
                        f"evaluation {name} lacks its MLflow run, which is not in the tracking store; evaluate that "
                        "run again, or point to the store that holds it"
                    )
                found[name] = run
            cells.append({**entry, "mlflow_run": found[name]["run_id"]})
    return found, cells


def write_json(path: Path, value: Any) -> None:
    """Write plain values: a mapping a key a line, a list an entry a line, however deep (indenting is slow)."""
    if isinstance(value, Mapping):
        text = json.dumps(value, indent=1, ensure_ascii=False)
    else:
        text = "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n]"
    path.write_text(text + "\n", encoding="utf-8")


def refuse_other_files(out: Path) -> None:
    """Raise UserError when `out` holds files that are no report, which are not to be deleted."""
    if out.exists() and not (out / "summary.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something that is no report (no summary.json); name an empty or a new folder")


def render(scores_root: Path, out: Path, *, profile: str, resolve: Resolve, extras: Sequence[Further] = ()) -> Summary:
    """Render the tables, the figures and the page of one profile into `out`.

    Args:
        scores_root: a folder an evaluation.
        out: replaced as a whole once everything is written.
        resolve: a record to its MLflow run; None where the tracking store does not know it.
        extras: what draws further parts of the page; each writes its files into the folder of figures.

    Raises:
        UserError: no evaluation, a damaged one, or a measured cell that does not lead back to what made it.
    """
    started = time.perf_counter()
    refuse_other_files(out)
    known = printed.load()
    further = custom.load(known)
    evaluations = reading.read(scores_root, profile)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in ("tables", "figures"):
            (partial / name).mkdir(parents=True)
        with Rasters(partial / "figures") as rasters:
            drawn = [extra for draw in extras for extra in draw(evaluations, partial / "figures")]
            losses = {key: loss_plots(mine, key, partial / "figures") for key, mine in by_key(evaluations).items()}
            rasters.start()  # most of the charts: they become pixels while the tables are made
            shown = all_tables(evaluations, known, further)
            mlflow_runs, cells = resolve_all(shown, resolve)
            links = {name: address(run) for name, run in mlflow_runs.items()}
            if silent := [one.name for one in evaluations if one.name not in links]:
                raise UserError(f"{scores_root}: nothing was measured in {', '.join(silent)}; evaluate them again")
            sections = sections_of(evaluations, shown, known, links, losses, partial / "figures", drawn)
            rasters.start()
            for table in shown:
                for ending, text in (
                    ("md", formats.markdown),
                    ("csv", formats.comma_separated),
                    ("tex", formats.latex),
                ):
                    (partial / "tables" / f"{table.id}.{ending}").write_text(text(table), encoding="utf-8")
            bodies = write.write_tables(partial / "tables", shown, mlflow_runs)
            alone = [extra for extra in drawn if not extra.task]
            write.write(partial / "index.html", sections, evaluations, bodies, profile, alone)
            write_json(partial / "cells.json", cells)
        summary = Summary(
            profile,
            len(evaluations),
            {table.id: table.verdict for table in shown},
            dict(Counter(table.verdict for table in shown if table.verdict)),
            len(cells),
            {
                table.id: flags
                for table in shown
                if (flags := {line.row: line.flag for line in table.lines if line.flag})
            },
            len(list((partial / "figures").glob("*.png"))),
            (partial / "index.html").stat().st_size,
            round(time.perf_counter() - started, 2),
        )
        write_json(
            partial / "summary.json", {name: value for name, value in asdict(summary).items() if name != "seconds"}
        )
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return summary
