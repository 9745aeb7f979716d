"""Trials in MLflow: nested runs below the run of their search."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.record import Record, new_record
from bench.search.outcomes import ORIGIN, REASON, VALUES, outcome, score_curve
from bench.search.setup import SearchSetup
from bench.search.space import as_recipe
from bench.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna.trial import FrozenTrial

PARENT = "mlflow.parentRunId"
"""MLflow's tag of a nested run."""
STATE = "state"
"""Our tag of a trial's outcome."""
OPEN_SETTINGS = {"trials", "jobs"}
"""Settings that may change between two commands on one study."""


def search_record(setup: SearchSetup) -> Record:
    """Return the record of a search, of which MLflow logs what it knows of any run."""
    record = new_record(setup.recipe, setup.method, setup.built, "search")
    ranges = {name: f"{low:g} to {high:g}" for name, (low, high) in setup.space.ranges.items()}
    searched = setup.settings.model_dump(exclude=OPEN_SETTINGS) | ranges
    train = setup.recipe.train.model_dump(mode="json") | {"search": searched}
    return replace(record, evaluation=f"search {setup.recipe.name}", train=train)


class TrialLog:
    """Logs trials as nested runs; logging the same again changes nothing.

    Args:
        setup: of the search.
        client: of the MLflow store.
        study: the study's identity.
        parent: the id of the search's run.
    """

    def __init__(self, setup: SearchSetup, client: MlflowClient, study: str, parent: str):
        self.setup, self.client, self.study, self.parent = setup, client, study, parent
        self.record = search_record(setup)
        self.metric = f"validation.{setup.metric.id}"

    def log(self, trial: FrozenTrial) -> None:
        """Log the state of a trial. The next attempt of a lost trial continues the same run."""
        state = outcome(trial)
        key = f"{self.study}-{trial.user_attrs.get(ORIGIN, trial.number)}"
        title, numbers = f"trial {trial.number}", as_recipe(trial.user_attrs[VALUES])
        record = replace(self.record, kind="trial", evaluation=title, train=numbers, network={})
        run_id = store.start(self.client, record, key)
        tags = {PARENT: self.parent, "mlflow.runName": title, STATE: state}
        tags |= {"reason": trial.user_attrs[REASON]} if REASON in trial.user_attrs else {}
        with store.explained_errors(self.client.tracking_uri):
            if self.client.get_run(run_id).data.tags.get(STATE) == state:
                return
            for name, value in tags.items():
                self.client.set_tag(run_id, name, value)
        curve = score_curve(trial, self.setup.total_steps)
        store.log_points(self.client, run_id, [(self.metric, score, step, began_at(trial)) for step, score in curve])
        if state != "running":
            store.finish(self.client, run_id, "FAILED" if state == "failed" else "FINISHED")

    def log_best(self, trial: FrozenTrial) -> None:
        """Log the score of the best trial as that of the search."""
        store.log_points(self.client, self.parent, [(self.metric, float(trial.value or 0), 0, began_at(trial))])


def began_at(trial: FrozenTrial) -> int:
    """Return when a trial began, in milliseconds since 1970: the same each time that it is logged."""
    began = trial.datetime_start
    return int(1000 * (began.timestamp() if began else time.time()))
