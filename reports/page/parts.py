"""The parts of the page: plots, pictures, runs and sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from bench.tasks import find_task
from reports.figures.comparisons import Comparison, data_uri
from reports.scores.reading import Evaluation
from reports.tables import model


@dataclass(frozen=True)
class Plot:
    """A drawn figure: its title and its SVG, a chart of `plots` or any other."""

    title: str
    svg: str

    @property
    def themed(self) -> bool:
        """Whether the page's own rules colour it."""
        return 'class="figure"' in self.svg.partition(">")[0]

    @property
    def address(self) -> str:
        """A foreign SVG as an address: inside the page its names could meet others'."""
        return data_uri(self.svg.encode(), "svg+xml")


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawn figure that holds photographs: its title, its pixels, and its file in `figures/` without the ending."""

    title: str
    image: Image
    file: str = ""


@dataclass(frozen=True)
class Part:
    """One dataset of a task: its overviews and its figures."""

    title: str
    dataset: str
    tables: Sequence[model.Table]
    comparisons: Sequence[Comparison]
    plots: Sequence[Plot]


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation's part of the page.

    Args:
        link: its MLflow run.
        plot: the losses of its training, None without training.
        inside: what happens inside its network, None where its method shows nothing.
        comparisons: its own images, where the part's comparison shows others.
    """

    evaluation: Evaluation
    link: str
    plot: Plot | None
    inside: Sheet | None
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Extra:
    """A further part: a title, what it says, and figures, with the evaluations that they come from.

    Args:
        task: the task after whose figures it stands; "" for a section of its own, under the heading `section`.
        missing: why it shows nothing, where it does not.
        head, rows: a small table of texts, the first column names.
    """

    title: str
    text: str = ""
    plots: Sequence[Plot | Sheet] = ()
    task: str = ""
    section: str = ""
    runs: Sequence[str] = ()
    missing: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Section:
    """One task: its datasets, its tables of one's own, those of the papers, further parts, and its runs."""

    task: str
    parts: Sequence[Part]
    own: Sequence[model.Table]
    published: Sequence[model.Table]
    runs: Sequence[Run]
    extras: Sequence[Extra] = ()

    @property
    def title(self) -> str:
        """The task's name as a heading."""
        return find_task(self.task).title

    @property
    def tables(self) -> list[model.Table]:
        """All its tables."""
        return [*(table for part in self.parts for table in part.tables), *self.own, *self.published]

    @property
    def datasets(self) -> dict[str, str]:
        """Its datasets by id, with the names that stand in their titles."""
        return {part.dataset: part.title for part in self.parts}
