"""Further parts of the page: what searches found, and the figures of the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from reports.figures import searches
from reports.figures.papers import PaperFigure, render_figures
from reports.page.parts import Extra, Plot, Sheet
from reports.render import Further
from reports.scores.reading import Evaluation

SEARCHES, FIGURES = "Searches of loss weights", "Figures of the papers"


def drawn_searches(root: Path) -> Further:
    """Return what draws every search under `root`. It raises DataError for one that cannot be read."""

    def draw(evaluations: Sequence[Evaluation], folder: Path) -> list[Extra]:
        names = {one.name for one in evaluations}
        return [_search(study, folder, names) for study in searches.read(root)]

    return draw


def _search(study: searches.Study, folder: Path, evaluated: set[str]) -> Extra:
    about, trials = study.about, study.trials
    counts = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    held = ", ".join(about["held_out_first"]) + ", ..." * (about["held_out"] > len(about["held_out_first"]))
    text = (
        f"{len(trials)} trials of {about['steps']} steps ({counts}), scored by {about['metric']} on "
        f"{about['held_out']:,} training photographs that no trial trained on ({held}). "
        f"The best is trial {about['winner']['number']}; "
        f"it was trained again as {about['winner_run']}, whole, on all training photographs."
    )
    missing = [f"{name} is not searched: {reason}." for name, reason in about["not_searched"].items()]
    if about["importances_missing"]:
        missing.append(f"No figure of what matters: {about['importances_missing']}.")
    rows = [
        (str(row["name"]), *(number(float(row[key])) for key in ("default", "winner", "importance")))
        for row in searches.numbers(study).to_dict("records")
    ]
    return Extra(
        study.title,
        text,
        searches.plots(study, folder),
        section=SEARCHES,
        runs=[name for name in (study.name, about["winner_run"]) if name in evaluated],
        missing=" ".join(missing),
        head=("number", "the run's own", "winner", "importance"),
        rows=rows,
    )


def number(value: float) -> str:
    """A number with four digits that count; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.4g}"


def drawn_figures(data: Path) -> Further:
    """Return what draws every figure of the papers that can be drawn from our runs.

    Args:
        data: the built datasets of the profile.
    """

    def draw(evaluations: Sequence[Evaluation], folder: Path) -> list[Extra]:
        found = render_figures(evaluations, data, folder)
        absent = [(one.title, one.missing) for one in found if one.missing]
        extras = [_figure(one) for one in found if not one.missing]
        return extras + [Extra("Not drawn", section=FIGURES, head=("figure", "why"), rows=absent)] * bool(absent)

    return draw


def _figure(found: PaperFigure) -> Extra:
    assert found.picture is not None
    plot = (
        Sheet(found.title, found.picture, found.id)
        if isinstance(found.picture, Image)
        else Plot(found.title, found.picture)
    )
    return Extra(found.title, found.caption, [plot], section=FIGURES, runs=found.runs)
