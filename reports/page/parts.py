"""The parts of the page: sections of tasks with their datasets and runs, and appendices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.tasks import find_task
from reports.figures.charts import Plot
from reports.figures.comparisons import Comparison
from reports.figures.sheets import Sheet
from reports.scores.reading import Evaluation
from reports.tables import model


@dataclass(frozen=True)
class Part:
    """One dataset of a task."""

    title: str
    """The dataset's title."""
    dataset: str
    """The dataset's id."""
    tables: Sequence[model.Table]
    """The overviews of all its runs."""
    comparisons: Sequence[Comparison]
    """The images that its runs share."""
    plots: Sequence[Plot]
    """Charts of all its runs."""


@dataclass(frozen=True, eq=False)
class Run:
    """The part of the page on one evaluation."""

    evaluation: Evaluation
    """The evaluated run."""
    link: str
    """The address of its MLflow run."""
    plot: Plot | None
    """The losses of its training; None without training."""
    inside: Sheet | None
    """The insides of its network; None where its method shows none."""
    comparisons: Sequence[Comparison]
    """Those of its images that no comparison of the dataset's runs shows."""


@dataclass(frozen=True)
class Appendix:
    """A part after the tasks: a text, figures and a small table."""

    heading: str
    """The heading of the section that holds it; appendices with the same heading share a section."""
    title: str
    """Its own title."""
    text: str = ""
    """A paragraph; "" for none."""
    plots: Sequence[Plot | Sheet] = ()
    """Its figures."""
    runs: Sequence[str] = ()
    """The evaluations that it was made from."""
    missing: str = ""
    """What it does not show, and why; "" for none."""
    head: Sequence[str] = ()
    """The headings of its table."""
    rows: Sequence[Sequence[str]] = ()
    """The rows of its table, each a name and values; empty for no table."""


@dataclass(frozen=True)
class Section:
    """One task."""

    task: str
    """The task's name."""
    parts: Sequence[Part]
    """Its datasets."""
    custom: Sequence[model.Table]
    """Its tables that no paper prints."""
    published: Sequence[model.Table]
    """The papers' tables of the task, with or without runs."""
    runs: Sequence[Run]
    """Its runs."""

    @property
    def title(self) -> str:
        """The task as a heading."""
        return find_task(self.task).title

    @property
    def datasets(self) -> dict[str, str]:
        """Its datasets: id to title."""
        return {part.dataset: part.title for part in self.parts}
