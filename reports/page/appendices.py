"""Appendices of the page: the searches of loss weights, and the figures of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL.Image import Image

from reports.figures import searches
from reports.figures.charts import Plot
from reports.figures.papers.builders import PaperFigure, draw_figures
from reports.figures.sheets import Sheet
from reports.page.parts import Appendix
from reports.published.printed import Published
from reports.scores.reading import Evaluation

SEARCHES, FIGURES = "Searches of loss weights", "Figures of the papers"
"""The headings of the appendices."""

Appendices = Callable[[Sequence[Evaluation], Published, Path], Sequence[Appendix]]
"""Makes appendices from the evaluations and the published tables, and writes their figures into a folder."""


def search_appendices(root: Path) -> Appendices:
    """Return a function that draws every search under `root`. It raises DataError for one that cannot be read."""

    def draw(evaluations: Sequence[Evaluation], published: Published, folder: Path) -> list[Appendix]:
        names = {run.name for run in evaluations}
        return [search_appendix(study, folder, names) for study in searches.read(root)]

    return draw


def search_appendix(study: searches.Study, folder: Path, evaluated: set[str]) -> Appendix:
    """Draw one search.

    Args:
        folder: takes the figures' files.
        evaluated: the names of all evaluations.
    """
    about, trials = study.about, study.trials
    counts = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    held_out = ", ".join(about["held_out_first"]) + ", ..." * (about["held_out"] > len(about["held_out_first"]))
    text = (
        f"{len(trials)} trials of {about['steps']} steps ({counts}), scored by {about['metric']} on "
        f"{about['held_out']:,} training photographs that no trial trained on ({held_out}). "
        f"The best is trial {about['winner']['number']}; "
        f"the run {about['winner_run']} was trained with its numbers in full, on all training photographs."
    )
    missing = [f"{name} is not searched: {reason}." for name, reason in about["not_searched"].items()]
    if about["importances_missing"]:
        missing.append(f"No figure of what matters: {about['importances_missing']}.")
    rows = [
        (str(row["name"]), *(four_digits(float(row[key])) for key in ("default", "winner", "importance")))
        for row in searches.numbers(study).to_dict("records")
    ]
    return Appendix(
        SEARCHES,
        study.title,
        text,
        searches.plots(study, folder),
        runs=[name for name in (study.name, about["winner_run"]) if name in evaluated],
        missing=" ".join(missing),
        head=("number", "default", "winner", "importance"),
        rows=rows,
    )


def four_digits(value: float) -> str:
    """A number with four significant digits; "" for NaN.

    >>> four_digits(0.123456), four_digits(math.nan)
    ('0.1235', '')
    """
    return "" if math.isnan(value) else f"{value:.4g}"


def figure_appendices(data: Path) -> Appendices:
    """Return a function that draws the papers' figures, and lists those that cannot be drawn.

    Args:
        data: the built datasets of the profile.
    """

    def draw(evaluations: Sequence[Evaluation], published: Published, folder: Path) -> list[Appendix]:
        figures = draw_figures(evaluations, data, folder, published)
        appendices = [figure_appendix(figure, figure.picture) for figure in figures if figure.picture is not None]
        absent = [(figure.title, figure.missing) for figure in figures if figure.missing]
        if absent:
            appendices.append(Appendix(FIGURES, "Not drawn", head=("figure", "reason"), rows=absent))
        return appendices

    return draw


def figure_appendix(figure: PaperFigure, picture: Image | str) -> Appendix:
    """One drawn figure of a paper with its caption."""
    title = figure.title
    plot = Sheet(title, picture, figure.id) if isinstance(picture, Image) else Plot(title, picture)
    return Appendix(FIGURES, title, figure.caption, [plot], runs=figure.runs)
