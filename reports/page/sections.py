"""The page's sections: for each task its datasets with tables and figures, its published tables and its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.tasks import TASKS
from reports.figures.charts import Plot
from reports.figures.comparisons import compare_runs, remaining_images
from reports.figures.efficiency import efficiency_plots
from reports.figures.insides import inside_sheet
from reports.figures.naming import FigureKey, by_key, dataset_title
from reports.figures.severity import severity_plots
from reports.page.parts import Part, Run, Section
from reports.published.printed import Published
from reports.scores.reading import Evaluation
from reports.tables import model
from reports.tables.runs import join_seeds

OVERVIEWS = (model.OVERVIEW, model.CONDITIONS)
"""The kinds of tables that show all runs of a dataset."""

LossPlots = tuple[list[Plot], dict[str, Plot]]
"""The figure of all runs' losses, if any, and each run's own, as `losses.loss_plots` returns them."""


def dataset_part(
    members: Sequence[Evaluation],
    key: FigureKey,
    tables: Sequence[model.Table],
    published: Published,
    links: Mapping[str, str],
    losses: LossPlots,
    folder: Path,
) -> tuple[Part, list[Run]]:
    """Draw the figures of one dataset and its runs.

    Args:
        members: the evaluations of this task, dataset and origin.
        tables: all tables of the report.
        links: evaluation to the address of its MLflow run.
        folder: takes the figures' files.
    """
    groups = join_seeds(members)
    comparisons, covered = compare_runs(members, key, folder)
    together, by_run = losses
    plots = [*together, *efficiency_plots(groups, key, published, folder), *severity_plots(groups, key, folder)]
    names = {run.name for run in members}
    overviews = [
        table
        for table in tables
        if table.kind in OVERVIEWS
        and any(line.group and line.group.evaluations[0].name in names for line in table.lines)
    ]
    runs = [
        Run(
            run,
            links[run.name],
            by_run.get(run.name),
            inside_sheet(run, members, folder),
            remaining_images(run, covered),
        )
        for run in members
    ]
    return Part(dataset_title(members[0]), key.dataset, overviews, comparisons, plots), runs


def build_sections(
    evaluations: Sequence[Evaluation],
    tables: Sequence[model.Table],
    published: Published,
    links: Mapping[str, str],
    losses: Mapping[FigureKey, LossPlots],
    folder: Path,
) -> list[Section]:
    """Draw the figures and sort everything by task, then by dataset.

    A published table without runs is in the section of its task, even when no run of this task exists.

    Args:
        links: evaluation to the address of its MLflow run.
        losses: the figures of losses, drawn before.
        folder: takes the figures' files.
    """
    sections = []
    for task in TASKS:
        of_task = [run for run in evaluations if run.record.task == task]
        parts, runs = [], []
        for key, members in by_key(of_task).items():
            part, added = dataset_part(members, key, tables, published, links, losses[key], folder)
            parts.append(part)
            runs += added
        custom_tables = [table for table in tables if table.kind == model.CUSTOM and table.task == task]
        others = (*OVERVIEWS, model.CUSTOM)
        published_tables = [table for table in tables if table.kind not in others and table.task == task]
        if of_task or custom_tables or published_tables:
            sections.append(Section(task, parts, custom_tables, published_tables, runs))
    return sections
