"""A study: trials that any number of processes ask for, run and tell, each exactly once, even when they are killed.

The trials are in Optuna's journal, a file in the study's folder. A process that asks for a trial holds the folder's
lock for that moment, and the trial's lock until it has told the outcome. The system releases both when a process dies:
a trial that is noted as running and whose lock is free was lost, and is tried again from its last checkpoint.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import as_user_error
from bench.search.locks import hold, try_to_hold
from bench.search.outcomes import DEFAULT, ORIGIN, REASON, RETRIES, SECONDS, VALUES, ended, outcome
from bench.search.proposals import propose
from bench.search.space import Space
from bench.training.divergence import Diverged

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
"""Optuna's file in a study's folder."""
LOCK = ".lock"
"""The lock of a study's folder."""
UNPRUNED_TRIALS = 4
"""Finished trials before one may be pruned."""
WAIT_SECONDS = 0.2
"""Seconds until a process without a trial looks for one again."""


class Pruned(Exception):
    """A trial that is behind the others at a rung."""


@dataclass(frozen=True)
class Plan:
    """What a study searches, and how far."""

    space: Space
    """The numbers that trials set."""
    defaults: Mapping[str, float]
    """The run's own numbers, those of the first trial."""
    trials: int
    """Trials that are to end by themselves, that of the run's own numbers among them."""
    higher_is_better: bool
    """Whether larger scores are better."""
    seed: int
    """Seed of the proposals."""


@dataclass(frozen=True)
class Attempt:
    """A trial as the function that runs it gets it."""

    number: int
    """Its number in the study."""
    values: Mapping[str, float]
    """The numbers of the recipe, by name."""
    folder: Path
    """Folder of its checkpoint; the next attempt of a lost trial has the same one."""
    report: Callable[[int, float], None]
    """Takes a step and the score there; raises Pruned when the trial is behind."""


Objective = Callable[[Attempt], float]
"""Runs an attempt and returns its score; it may raise Diverged."""
OnChange = Callable[["FrozenTrial"], None]
"""Called when a trial begins, and when it has ended."""


def open_study(folder: Path, higher_is_better: bool) -> optuna.Study:
    """Open the study of a folder; it is made where there is none.

    Raises:
        UserError: the folder cannot be written, or the journal has changed since it was written.
    """
    import optuna

    from bench.search.journal import SealedJournal

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / LOCK):
            return optuna.create_study(
                storage=optuna.storages.JournalStorage(SealedJournal(path)),
                study_name="search",
                direction="maximize" if higher_is_better else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS),
                load_if_exists=True,
            )
    except OSError as error:
        raise as_user_error(error, folder) from error


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study that came to an end by themselves, in their order."""
    return ended(study.get_trials(deepcopy=False))


def work(folder: Path, plan: Plan, objective: Objective, on_change: OnChange = lambda trial: None) -> None:
    """Run trials until enough of them have ended. Any number of processes may do so at once.

    Args:
        folder: of the study.
        plan: what it searches; equal in all processes.
        objective: runs a trial.
        on_change: called when a trial of this process begins, and when it has ended.
    """
    study = open_study(folder, plan.higher_is_better)
    while True:
        with hold(folder / LOCK):
            _give_up_lost(study, folder, plan.space)
            _remove_old_folders(study, folder)
            done, may_begin = _progress(study, plan)
            begun = _begin_trial(study, folder, plan) if may_begin else None
        if done:
            return
        if begun is None:
            # The last trials run in other processes. If one of them is lost, this process tries it again.
            time.sleep(WAIT_SECONDS)
            continue
        trial, lock = begun
        with lock:
            _run(study, folder, trial, objective, on_change)


def _progress(study: optuna.Study, plan: Plan) -> tuple[bool, bool]:
    """Return whether enough trials have ended, and whether a further one is to begin now."""
    trials = study.get_trials(deepcopy=False)
    if not trials:
        _enqueue(study, plan.space, plan.defaults, {DEFAULT: True})
        return False, True
    finished, running = ended(trials), sum(outcome(trial) == "running" for trial in trials)
    if len(finished) >= plan.trials and any(DEFAULT in trial.user_attrs for trial in finished):
        return True, False
    # Lost when the others had ended, the run's own numbers are tried again although there are enough trials.
    default_waits = any(outcome(trial) == "waiting" and DEFAULT in trial.user_attrs for trial in trials)
    return False, len(finished) + running < plan.trials or default_waits


def _enqueue(study: optuna.Study, space: Space, values: Mapping[str, float], attributes: Mapping[str, Any]) -> None:
    """Let a trial wait. The run's own numbers may be outside the ranges: the sampler gets the nearest inside."""
    study.enqueue_trial(space.clipped(values), {VALUES: dict(values)} | dict(attributes))


def _begin_trial(study: optuna.Study, folder: Path, plan: Plan) -> tuple[optuna.Trial, AbstractContextManager[object]]:
    """Begin the next trial that waits, else a proposed one; return it and its lock."""
    trials = study.get_trials(deepcopy=False)
    if not any(outcome(trial) == "waiting" for trial in trials):
        proposal = propose(trials, plan.space, plan.higher_is_better, plan.seed + len(trials))
        _enqueue(study, plan.space, plan.space.values(proposal), {})
    trial = study.ask()
    lock = try_to_hold(_lock_path(folder, trial.number))
    assert lock is not None, "the folder's lock is held, so no other process knows this trial"
    for name, (low, high) in plan.space.ranges.items():
        trial.suggest_float(name, low, high, log=True)
    return trial, lock


def _give_up_lost(study: optuna.Study, folder: Path, space: Space) -> None:
    """Mark every trial whose process has died as failed, and let its numbers wait for another attempt."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get(RETRIES) for trial in trials}
    for trial in trials:
        if outcome(trial) != "running" or (lock := try_to_hold(_lock_path(folder, trial.number))) is None:
            continue
        with lock:
            # In this order: killed between the two, the next process finds the attempt waiting and adds no other.
            if trial.number not in retried:
                attributes = trial.user_attrs
                default = {DEFAULT: True} if DEFAULT in attributes else {}
                origin = attributes.get(ORIGIN, trial.number)
                _enqueue(study, space, attributes[VALUES], default | {RETRIES: trial.number, ORIGIN: origin})
            study.tell(trial.number, state=TrialState.FAIL)


def _remove_old_folders(study: optuna.Study, folder: Path) -> None:
    """Remove the checkpoints of trials that have ended."""
    for trial in ended_trials(study):
        shutil.rmtree(_checkpoint_folder(folder, trial.user_attrs.get(ORIGIN, trial.number)), ignore_errors=True)


def _lock_path(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}.lock"


def _checkpoint_folder(folder: Path, origin: int) -> Path:
    return folder / f"trial-{origin}"


def _run(study: optuna.Study, folder: Path, trial: optuna.Trial, objective: Objective, on_change: OnChange) -> None:
    """Run a trial and tell how it ended. After any exception but Pruned and Diverged it is tried again."""
    from optuna.trial import TrialState

    attributes = trial.user_attrs
    origin = attributes.get(ORIGIN, trial.number)
    reported = _reported(study, origin)
    for step, value in reported.items():
        trial.report(value, step)

    def report(step: int, value: float) -> None:
        if step not in reported:
            reported[step] = value
            trial.report(value, step)
        if DEFAULT not in attributes and trial.should_prune():
            raise Pruned

    def frozen() -> FrozenTrial:
        return study.get_trials(deepcopy=False)[trial.number]

    on_change(frozen())
    began = time.monotonic()
    score: float | None = None
    state = TrialState.COMPLETE
    try:
        score = objective(Attempt(trial.number, attributes[VALUES], _checkpoint_folder(folder, origin), report))
    except Pruned:
        state = TrialState.PRUNED
    except Diverged as error:
        state = TrialState.FAIL
        trial.set_user_attr(REASON, str(error))
    trial.set_user_attr(SECONDS, round(time.monotonic() - began, 3))
    study.tell(trial, score, state)
    on_change(frozen())


def _reported(study: optuna.Study, origin: int) -> dict[int, float]:
    """Return the scores that earlier attempts of a trial reported, by step.

    Resumed from a checkpoint, the trial does not pass those rungs again.
    """
    return {
        step: value
        for trial in study.get_trials(deepcopy=False)
        if trial.number == origin or trial.user_attrs.get(ORIGIN) == origin
        for step, value in trial.intermediate_values.items()
    }
