"""What searches found: the score of every trial, what the numbers matter, and the winner's beside the run's own.

A search's folder holds `study.json` (all about it), `trials.parquet` (a row a trial) and `winner.yaml`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.contracts import DataError
from reports.figures import charts, comparisons, line_plots
from reports.page.parts import Plot

FIELDS = (
    "run", "winner_run", "method", "title", "task", "dataset", "dataset_title", "origin", "partial", "profile", "study",
    "metric", "unit", "better", "settings", "steps", "not_searched", "held_out", "held_out_first", "default", "winner",
    "importances", "importances_missing", "provenance",
)  # fmt: skip
COLUMNS = ("number", "state", "value", "default", "seconds", "reason", "steps", "scores")
BAR = 0.28
"""Height of an importance's bar with its gap, inches."""


@dataclass(frozen=True)
class Study:
    """One search.

    Args:
        folder: where its files lie.
        about: what was searched, how, and what came of it; the fields of FIELDS.
        trials: a row a trial: those of COLUMNS and each number that was set, by its name in the recipe.
    """

    folder: Path
    about: Mapping[str, Any]
    trials: pd.DataFrame

    @property
    def name(self) -> str:
        """The searched run, and the folder's name."""
        return str(self.about["run"])

    @property
    def title(self) -> str:
        """The search in a few words, with where its photographs come from."""
        origin = f"{self.about['origin']}{', partial' * bool(self.about['partial'])}"
        return f"{self.about['title']} on {self.about['dataset_title']} ({origin})"

    @property
    def score(self) -> str:
        """The metric with its unit."""
        return f"{self.about['metric']}{f' ({unit})' if (unit := self.about['unit']) else ''}"


def read(root: Path) -> list[Study]:
    """Read every search under `root`, in the order of their folders' names; none where nothing was searched.

    Raises:
        DataError: a file is damaged or short of a field.
    """
    return [_read(path.parent) for path in sorted(root.glob("[!.]*/study.json"))]


def _read(folder: Path) -> Study:
    again = f"run: python -m bench search {folder.name}"
    try:
        about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        trials = pd.read_parquet(folder / "trials.parquet")
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{folder}: cannot be read ({error}); {again}") from error
    missing = [name for name in FIELDS if name not in about] + [name for name in COLUMNS if name not in trials]
    if missing:
        raise DataError(f"{folder}: lacks {', '.join(missing)}; {again}")
    return Study(folder, about, trials)


def history(study: Study, folder: Path) -> Plot:
    """Draw each trial's score, and the best so far.

    Complete trials are dots, pruned ones crosses at the score of their last rung, the run's own numbers a square. A
    trial that failed has no score: a mark on the axis.
    """
    trials, sign = study.trials.set_index("number"), 1 if study.about["better"] == "higher" else -1
    title = f"Search of {study.title}: trials"
    figure, axes = line_plots.canvas(3.4, title, "trial", f"validation {study.score}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    complete = trials["state"] == "complete"
    best = sign * np.fmax.accumulate((sign * trials["value"]).where(complete).to_numpy(float))
    axes.step(trials.index, best, where="post", color=charts.COLOURS[0], linewidth=1.2, label="best so far")
    own = trials["default"].astype(bool)
    groups = (
        ("complete", complete & ~own, "o", charts.COLOURS[0]),
        ("pruned, at its last rung", trials["state"] == "pruned", "x", charts.COLOURS[7]),
        ("the run's own numbers", own & complete, "s", charts.COLOURS[1]),
    )
    for label, chosen, marker, colour in groups:
        if chosen.any():
            axes.plot(trials.index[chosen], trials["value"][chosen], marker, color=colour, markersize=6, label=label)
    failed = trials.index[trials["state"] == "failed"]
    if len(failed):
        axes.plot(
            failed, np.zeros(len(failed)), "|", color=comparisons.BOX, label="failed: no score",
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip
    line_plots.legend(axes)
    return _saved(figure, title, folder / f"search-{study.name}-history")


def importances(study: Study, folder: Path) -> Plot | None:
    """Draw how much of the score's spread each varied number explains; None where it was not computed.

    `study.about["importances_missing"]` then says why.
    """
    found = study.about["importances"]
    if not found:
        return None
    names = sorted(found, key=found.get)
    title = f"Search of {study.title}: what matters"
    figure, axes = line_plots.canvas(0.9 + BAR * len(names) + 0.3, title, "share of the score's spread explained", "")
    # Names of weights are long: they stand above their bars' starts, inside the plot.
    axes.barh(range(len(names)), [found[name] for name in names], height=0.7, color=charts.COLOURS[0], alpha=0.55)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    for place, name in enumerate(names):
        axes.text(0.01, place, f"{name}: {found[name]:.2f}", fontsize=8, va="center")
    return _saved(figure, title, folder / f"search-{study.name}-importances")


def _saved(figure: Figure, title: str, path: Path) -> Plot:
    line_plots.save(figure, path)
    return Plot(title, path.with_name(f"{path.name}.svg").read_text(encoding="utf-8"))


def plots(study: Study, folder: Path) -> list[Plot]:
    """Draw all figures of a search into `folder`, as PNG and SVG."""
    return [plot for plot in (history(study, folder), importances(study, folder)) if plot is not None]


def numbers(study: Study) -> pd.DataFrame:
    """Return a row a number that the search set: name, default, winner, and its importance (NaN where there is none).

    The last row is the score itself, by the metric's name.
    """
    default, winner = study.about["default"], study.about["winner"]
    rows = [
        (name, default["values"][name], value, study.about["importances"].get(name, float("nan")))
        for name, value in winner["values"].items()
    ]
    score = float("nan") if default["value"] is None else default["value"]
    rows.append((study.about["metric"], score, winner["value"], float("nan")))
    return pd.DataFrame(rows, columns=["name", "default", "winner", "importance"])
