"""Results of searches: the score of every trial, how much each number matters, and the winner next to the defaults.

The folder of a search holds `study.json` (what was searched and the result), `trials.parquet` (one row per trial) and
`winner.yaml`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.contracts import DataError
from bench.hashes import read_sealed, read_verified
from reports.figures import matplotlib_canvas
from reports.figures.charts import COLOURS, Plot

FIELDS = (
    "run", "winner_run", "method", "title", "task", "dataset", "dataset_title", "origin", "partial", "profile", "study",
    "metric", "unit", "better", "settings", "steps", "not_searched", "held_out", "held_out_first", "default", "winner",
    "importances", "importances_missing", "provenance", "files",
)  # fmt: skip
"""The fields of `study.json`."""
COLUMNS = ("number", "state", "value", "default", "seconds", "reason", "steps", "scores")
"""The columns of `trials.parquet` that every search has."""
TRIALS = "trials.parquet"
"""The file of the trials in a search's folder."""
BAR = 0.28
"""Height of an importance's bar with its gap, inches."""
FAILED = "#ff2d55"
"""The colour of trials that failed."""


@dataclass(frozen=True)
class Study:
    """One search."""

    folder: Path
    """The folder of its files."""
    about: Mapping[str, Any]
    """What was searched, how, and the result: FIELDS."""
    trials: pd.DataFrame
    """One row per trial: COLUMNS, and each number that was varied, by its name in the recipe."""

    @property
    def name(self) -> str:
        """The searched run, which is also the folder's name."""
        return str(self.about["run"])

    @property
    def title(self) -> str:
        """The run's title and the dataset, with the origin of its photographs."""
        origin = f"{self.about['origin']}{', partial' * bool(self.about['partial'])}"
        return f"{self.about['title']} on {self.about['dataset_title']} ({origin})"

    @property
    def score(self) -> str:
        """The metric with its unit."""
        return f"{self.about['metric']}{f' ({unit})' if (unit := self.about['unit']) else ''}"


def read(root: Path) -> list[Study]:
    """Read every search under `root`, in the order of the folders' names; none where nothing was searched.

    Raises:
        DataError: a file is damaged or lacks a field.
    """
    return [read_study(path.parent) for path in sorted(root.glob("[!.]*/study.json"))]


def read_study(folder: Path) -> Study:
    """Read one search. Raises DataError when a file has changed since it was written, is damaged or lacks a field."""
    again = f"run: python -m bench search {folder.name}"
    about = read_sealed(folder / "study.json", again)
    if missing := [name for name in FIELDS if name not in about]:
        raise DataError(f"{folder}: lacks {', '.join(missing)}; {again}")
    data = read_verified(folder / TRIALS, about["files"].get(TRIALS, ""), again)
    try:
        trials = pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{folder / TRIALS}: cannot be read ({error}); {again}") from error
    if missing := [name for name in COLUMNS if name not in trials]:
        raise DataError(f"{folder}: lacks {', '.join(missing)}; {again}")
    return Study(folder, about, trials)


def history(study: Study, folder: Path) -> Plot:
    """Draw the score of each trial and the best score so far.

    Complete trials are dots, pruned trials crosses at the score of their last rung, the run's default numbers a square.
    A trial that failed has no score: a mark on the axis.
    """
    trials, sign = study.trials.set_index("number"), 1 if study.about["better"] == "higher" else -1
    title = f"Search of {study.title}: trials"
    figure, axes = matplotlib_canvas.canvas(3.4, title, "trial", f"validation {study.score}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    complete = trials["state"] == "complete"
    best = sign * np.fmax.accumulate((sign * trials["value"]).where(complete).to_numpy(float))
    axes.step(trials.index, best, where="post", color=COLOURS[0], linewidth=1.2, label="best so far")
    default = trials["default"].astype(bool)
    groups = (
        ("complete", complete & ~default, "o", COLOURS[0]),
        ("pruned, at its last rung", trials["state"] == "pruned", "x", COLOURS[7]),
        ("the run's own numbers", default & complete, "s", COLOURS[1]),
    )
    for label, chosen, marker, colour in groups:
        if chosen.any():
            axes.plot(trials.index[chosen], trials["value"][chosen], marker, color=colour, markersize=6, label=label)
    failed = trials.index[trials["state"] == "failed"]
    if len(failed):
        axes.plot(
            failed, np.zeros(len(failed)), "|", color=FAILED, label="failed: no score",
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip
    matplotlib_canvas.legend(axes)
    return Plot(title, matplotlib_canvas.save(figure, folder / f"search-{study.name}-history"))


def importances(study: Study, folder: Path) -> Plot | None:
    """Draw how much of the score's spread each varied number explains; None where it was not computed.

    `study.about["importances_missing"]` is then the reason.
    """
    shares = study.about["importances"]
    if not shares:
        return None
    names = sorted(shares, key=shares.get)
    title = f"Search of {study.title}: what matters"
    x_name = "share of the score's spread explained"
    figure, axes = matplotlib_canvas.canvas(0.9 + BAR * len(names) + 0.3, title, x_name, "")
    axes.barh(range(len(names)), [shares[name] for name in names], height=0.7, color=COLOURS[0], alpha=0.55)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    for place, name in enumerate(names):  # names of weights are long: they are inside the plot, on their bars
        axes.text(0.01, place, f"{name}: {shares[name]:.2f}", fontsize=8, va="center")
    return Plot(title, matplotlib_canvas.save(figure, folder / f"search-{study.name}-importances"))


def plots(study: Study, folder: Path) -> list[Plot]:
    """Draw all figures of a search into `folder`, as PNG and SVG."""
    return [plot for plot in (history(study, folder), importances(study, folder)) if plot is not None]


def numbers(study: Study) -> pd.DataFrame:
    """List what the search varied: one row per number, with its name, default, winner and importance (NaN: none).

    The last row is the score itself, under the metric's name.
    """
    default, winner = study.about["default"], study.about["winner"]
    rows = [
        (name, default["values"][name], value, study.about["importances"].get(name, float("nan")))
        for name, value in winner["values"].items()
    ]
    score = float("nan") if default["value"] is None else default["value"]
    rows.append((study.about["metric"], score, winner["value"], float("nan")))
    return pd.DataFrame(rows, columns=["name", "default", "winner", "importance"])
