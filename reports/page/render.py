"""Render the report: the scores of one profile next to the published numbers, as tables, figures and one page."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.contracts import UserError
from bench.files import swap_folder
from bench.record import Record
from reports.figures.losses import loss_plots
from reports.figures.naming import by_key
from reports.figures.rasterising import rasters
from reports.page import templates
from reports.page.appendices import Appendices
from reports.page.links import run_address
from reports.page.sections import build_sections
from reports.published import printed
from reports.scores import reading
from reports.scores.reading import Evaluation
from reports.tables import custom, formats, model
from reports.tables.all_tables import all_tables
from reports.tables.cells import cell_records

Resolve = Callable[[Record], Mapping[str, str] | None]
"""A record to its MLflow run (run_id, experiment_id, and server where it is not the dashboard); None if unknown."""
FORMATS = (("md", formats.markdown), ("csv", formats.comma_separated), ("tex", formats.latex))
"""The endings of a table's files, and the functions that write them."""
PARTS = {"tables": (*(f".{ending}" for ending, _ in FORMATS), ".html"), "figures": (".svg", ".png")}
"""The folders of a report, and the endings of the files in them."""


@dataclass(frozen=True)
class Summary:
    """What a report holds: `summary.json`, apart from the time."""

    profile: str
    """The profile of its runs."""
    evaluations: int
    """How many evaluations it was made from."""
    tables: Mapping[str, str]
    """The verdict of each table by id; "" for overviews."""
    verdicts: Mapping[str, int]
    """How many tables have each verdict."""
    cells: int
    """How many measured cells it has, one per evaluation and cell."""
    below_baseline: Mapping[str, Mapping[str, str]]
    """By overview: the evaluations that are not better than the baseline, and by how much."""
    figures: int
    """How many figures it has."""
    page_bytes: int
    """Size of the page."""
    seconds: float = 0.0
    """Time taken; not in the file, so that the same scores give the same files."""


def resolve_cells(
    tables: Sequence[model.Table], resolve: Resolve
) -> tuple[dict[str, Mapping[str, str]], list[dict[str, Any]]]:
    """Find the MLflow run of every measured cell.

    Returns:
        the MLflow run of each evaluation that has a cell, and the entries of `cells.json`.

    Raises:
        UserError: a cell whose run the tracking store does not have.
    """
    mlflow_runs: dict[str, Mapping[str, str]] = {}
    cells = []
    for table in tables:
        members = {run.name: run for line in table.lines if line.group for run in line.group.evaluations}
        members |= {
            run.name: run for line in table.lines for cell in line.measured.values() for run, _, _ in cell.parts
        }
        for entry in cell_records(table):
            name = entry["evaluation"]
            if name not in mlflow_runs:
                mlflow_run = resolve(members[name].record)
                if mlflow_run is None or not mlflow_run.get("run_id"):
                    raise UserError(
                        f"table {table.id}, row {entry['row']}, column {entry['column']}: the measured cell of "
                        f"evaluation {name} lacks its MLflow run, which is not in the tracking store; evaluate that "
                        "run again, or use the store that holds it"
                    )
                mlflow_runs[name] = mlflow_run
            cells.append({**entry, "mlflow_run": mlflow_runs[name]["run_id"]})
    return mlflow_runs, cells


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON: one line per key of a mapping, or per entry of a list (full indenting is slow)."""
    if isinstance(value, Mapping):
        text = json.dumps(value, indent=1, ensure_ascii=False)
    else:
        text = "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n]"
    path.write_text(text + "\n", encoding="utf-8")


def refuse_other_files(out: Path) -> None:
    """Raise UserError when `out` holds anything but a report, because rendering deletes it.

    What is left of a report that was half deleted, as by a `dvc repro` that was killed, is replaced.
    """
    if not out.exists() or (out / "summary.json").is_file():
        return
    if not out.is_dir() or not all(_is_part(path, out) for path in out.rglob("*")):
        raise UserError(f"{out}: is not a report (no summary.json); choose an empty or a new folder")


def _is_part(path: Path, out: Path) -> bool:
    """Return whether a path below `out` has the name of a report's file or folder."""
    if path.parent == out:
        return path.name in ("index.html", "cells.json") if path.is_file() else path.name in PARTS
    return path.parent.parent == out and path.is_file() and path.suffix in PARTS.get(path.parent.name, ())


def write_tables(
    folder: Path, tables: Sequence[model.Table], mlflow_runs: Mapping[str, Mapping[str, str]]
) -> dict[str, Markup]:
    """Write every table in each format and as a page. Returns each table as HTML."""
    for table in tables:
        for ending, text_of in FORMATS:
            (folder / f"{table.id}.{ending}").write_text(text_of(table), encoding="utf-8")
    return templates.write_tables(folder, tables, mlflow_runs)


def render(
    scores_root: Path, out: Path, *, profile: str, resolve: Resolve, appendices: Sequence[Appendices] = ()
) -> Summary:
    """Render the tables, the figures and the page of one profile into `out`, inside `bench.files.only_writer`.

    Args:
        scores_root: one folder per evaluation.
        out: replaced as a whole when everything is written.
        resolve: finds the MLflow run of a record.
        appendices: functions that make further parts of the page.

    Raises:
        UserError: no evaluation, a damaged one, or a measured cell without a link to what made it.
    """
    started = time.perf_counter()
    refuse_other_files(out)
    summaries: list[Summary] = []
    swap_folder(out, lambda folder: summaries.append(render_into(folder, scores_root, profile, resolve, appendices)))
    return replace(summaries[0], seconds=round(time.perf_counter() - started, 2))


def render_into(
    folder: Path, scores_root: Path, profile: str, resolve: Resolve, appendices: Sequence[Appendices]
) -> Summary:
    """Render into an empty folder; arguments and errors as in `render`."""
    published = printed.load()
    custom_tables = custom.load(published)
    evaluations = reading.read(scores_root, profile)
    figures = folder / "figures"
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    with rasters(figures) as drawing:
        parts = [part for make in appendices for part in make(evaluations, published, figures)]
        losses = {key: loss_plots(members, key, figures) for key, members in by_key(evaluations).items()}
        drawing.start()  # most of the charts: they become pixels while the tables are made
        tables = all_tables(evaluations, published, custom_tables)
        mlflow_runs, cells = resolve_cells(tables, resolve)
        links = {name: run_address(run) for name, run in mlflow_runs.items()}
        if unmeasured := [run.name for run in evaluations if run.name not in links]:
            raise UserError(f"{scores_root}: nothing was measured in {', '.join(unmeasured)}; evaluate them again")
        sections = build_sections(evaluations, tables, published, links, losses, figures)
        drawing.start()
        bodies = write_tables(folder / "tables", tables, mlflow_runs)
        templates.write_page(folder / "index.html", sections, evaluations, bodies, profile, parts)
        write_json(folder / "cells.json", cells)
    summary = summarise(folder, evaluations, tables, profile, len(cells))
    write_json(folder / "summary.json", {name: value for name, value in asdict(summary).items() if name != "seconds"})
    return summary


def summarise(
    folder: Path, evaluations: Sequence[Evaluation], tables: Sequence[model.Table], profile: str, cells: int
) -> Summary:
    """Count what a rendered report holds."""
    flags = {table.id: {line.row: line.flag for line in table.lines if line.flag} for table in tables}
    return Summary(
        profile=profile,
        evaluations=len(evaluations),
        tables={table.id: table.verdict for table in tables},
        verdicts=dict(Counter(table.verdict for table in tables if table.verdict)),
        cells=cells,
        below_baseline={table: rows for table, rows in flags.items() if rows},
        figures=len(list((folder / "figures").glob("*.png"))),
        page_bytes=(folder / "index.html").stat().st_size,
    )
