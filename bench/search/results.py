"""The files that a search leaves: its trials, its result, and the winner's part of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import sha256, write_text
from bench.hashes import write_sealed
from bench.params.values import STUDY, WINNER
from bench.record import new_record
from bench.search.outcomes import DEFAULT, REASON, SECONDS, VALUES, importances, outcome, score_curve
from bench.search.setup import SearchSetup
from bench.search.space import as_recipe

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial

TRIALS = "trials.parquet"
"""One row per trial."""
NAMED_PHOTOGRAPHS = 3
"""Held-out photographs that are named; there may be hundreds of thousands."""
RECORD_FIELDS = ("run", "method", "title", "task", "dataset", "dataset_title", "origin", "partial", "profile", "seed")
"""What `study.json` takes over from the record of the run."""


def write_results(
    setup: SearchSetup, study: str, mlflow_run: str, trials: Sequence[FrozenTrial], best: FrozenTrial, folder: Path
) -> None:
    """Write the files of a search.

    Args:
        setup: of the search.
        study: the study's identity.
        mlflow_run: the id of the search's MLflow run.
        trials: those that count.
        best: the winner.
        folder: a new, empty folder.
    """
    trial_table(setup, trials).to_parquet(folder / TRIALS, index=False)
    write_winner(folder / WINNER, setup.recipe.name, study, mlflow_run, best)
    files = {name: sha256(folder / name) for name in (TRIALS, WINNER)}
    write_sealed(folder / STUDY, study_values(setup, study, mlflow_run, trials, best) | {"files": files})


def trial_table(setup: SearchSetup, trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """Return one row per trial: its outcome, its score, its scores by step, and every number."""
    import pandas as pd

    rows = []
    for trial in trials:
        curve = score_curve(trial, setup.total_steps)
        columns = {
            "number": trial.number,
            "state": outcome(trial),
            "value": float("nan") if trial.value is None else float(trial.value),
            "default": DEFAULT in trial.user_attrs,
            "seconds": trial.user_attrs[SECONDS],
            "reason": trial.user_attrs.get(REASON, ""),
            "steps": [step for step, _ in curve],
            "scores": [score for _, score in curve],
        }
        rows.append(columns | trial.user_attrs[VALUES])
    return pd.DataFrame(rows)


def study_values(
    setup: SearchSetup, study: str, mlflow_run: str, trials: Sequence[FrozenTrial], best: FrozenTrial
) -> dict[str, Any]:
    """Return the content of `study.json` but for the hashes of the other files; see `write_results`."""
    record = new_record(setup.recipe, setup.method, setup.built, "search")
    default = next(trial for trial in trials if DEFAULT in trial.user_attrs)
    shares, reason = importances(trials, setup.higher_is_better)
    return {name: getattr(record, name) for name in RECORD_FIELDS} | {
        "winner_run": setup.winner_run,
        "study": study,
        "metric": setup.metric.id,
        "metric_version": setup.metric.version,
        "unit": setup.metric.unit,
        "better": setup.metric.better,
        "settings": setup.settings.model_dump(mode="json") | {"trials": len(trials)},
        "steps": setup.total_steps,
        "rungs": list(setup.rungs),
        "space": {name: choice.model_dump(exclude_defaults=True) for name, choice in setup.space.choices.items()},
        "not_searched": dict(setup.not_searched),
        "held_out": len(setup.photographs),
        "held_out_first": list(setup.photographs[:NAMED_PHOTOGRAPHS]),
        "validation_images": len(setup.images),
        "training_images": len(setup.crops),
        "default": _summary(default),
        "winner": _summary(best),
        "importances": shares,
        "importances_missing": reason,
        "provenance": asdict(
            replace(
                record.provenance,
                auxiliary=dict(setup.auxiliary_digests),
                mlflow_run=mlflow_run,
                device=setup.accelerator.device.type,
                threads=setup.threads,
            )
        ),
    }


def _summary(trial: FrozenTrial) -> dict[str, Any]:
    return {"number": trial.number, "value": trial.value, "values": trial.user_attrs[VALUES]}


def write_winner(path: Path, run: str, study: str, mlflow_run: str, best: FrozenTrial) -> None:
    """Write the numbers of the best trial as a part of a recipe, with the study that they come from."""
    import yaml

    searched = {"run": run, "study": study, "trial": best.number, "mlflow_run": mlflow_run}
    train = as_recipe(best.user_attrs[VALUES]) | {"searched": searched}
    text = yaml.safe_dump({"train": train}, sort_keys=False, default_flow_style=False)
    write_text(path, f"# Written by: python -m bench search {run}\n{text}")
