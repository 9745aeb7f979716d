"""A study: trials that any number of processes ask for, run and tell, each exactly once, killed or not.

Trials stand in Optuna's journal, a file in the study's folder. Who asks for a trial holds the folder's lock for that
moment, and the trial's own lock until it has told the outcome: the kernel lets go of both when a process dies, so that
a trial whose lock is free while it is noted as running was lost, and is tried again from its last checkpoint.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bench.files import as_user_error
from bench.search.space import Space
from bench.training.divergence import Diverged

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

JOURNAL, LOCK = "journal.log", ".lock"
STARTUP = 4
"""Finished trials before one may be pruned."""
SAME = 0.01
"""Numbers whose logarithms differ by less are the same trial: one seed, one result."""
WAIT = 0.2
"""Seconds until a worker without a trial of its own looks again."""
VALUES, DEFAULT, RETRIES, ORIGIN, REASON, SECONDS = "values", "default", "retries", "origin", "reason", "seconds"
"""What a trial has noted: its numbers; that they are the run's own; the lost trial that it tries again; the first of
these; why it failed; its time."""


class Pruned(Exception):
    """A trial that is behind the others at a rung."""


@dataclass(frozen=True)
class Attempt:
    """One trial as its objective sees it.

    Args:
        number: in the study.
        values: the numbers of the recipe, by name.
        folder: for its checkpoint; a lost trial's next attempt has the same one.
        report: takes a step and the score there; raises Pruned when the trial is behind.
    """

    number: int
    values: Mapping[str, float]
    folder: Path
    report: Callable[[int, float], None]


Objective = Callable[[Attempt], float]
"""An attempt to its score; it may raise Diverged."""


class JournalLock:
    """The lock of the journal: free when its holder dies, and the file then ends with a whole line."""

    def __init__(self, path: Path):
        self.path = path
        self.file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then cut off a line that a killed process left unfinished."""
        self.file = self.path.open("ab+")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(max(0, size - 1))
        if size and self.file.read(1) != b"\n":
            self.file.seek(0)
            self.file.truncate(self.file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let go."""
        assert self.file is not None
        self.file.close()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def taken(path: Path) -> IO[str] | None:
    """Take a lock and return its open file, which holds it; None when another process has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def opened(folder: Path, higher: bool) -> optuna.Study:
    """Open the study of a folder, made when it is not there.

    Args:
        higher: larger scores are better.

    Raises:
        UserError: the folder cannot be written.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / LOCK):
            path = folder / JOURNAL
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), JournalLock(path)))  # type: ignore[arg-type]
            return optuna.create_study(
                storage=storage,
                study_name="search",
                direction="maximize" if higher else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
                load_if_exists=True,
            )
    except OSError as error:
        raise as_user_error(error, folder) from error


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have ended by themselves, in their order: complete, pruned, or failed with a reason."""
    return [trial for trial in study.get_trials(deepcopy=False) if outcome(trial) not in ("running", "waiting", "lost")]


def outcome(trial: FrozenTrial) -> str:
    """Return a trial's state in a word: complete, pruned, failed, running, waiting, or lost when its process died."""
    state = trial.state.name.lower()
    return ("failed" if REASON in trial.user_attrs else "lost") if state == "fail" else state


def work(
    folder: Path, space: Space, own: Mapping[str, float], wanted: int, higher: bool, seed: int,
    objective: Objective, note: Callable[[FrozenTrial], None] = lambda trial: None,
) -> None:  # fmt: skip
    """Run trials until the study has `wanted` finished ones, that of the run's own numbers among them.

    Any number of processes may do so at once.

    Args:
        own: the run's own numbers, which are those of the first trial.
        objective: runs a trial.
        note: called when a trial begins, and when it has ended.
    """
    study = opened(folder, higher)
    while True:
        with held(folder / LOCK):
            _give_up_lost(study, folder, space)
            trials = study.get_trials(deepcopy=False)
            if not trials:
                _enqueue(study, space, own, {DEFAULT: True})
            running = sum(outcome(trial) == "running" for trial in trials)
            ended = finished(study)
            own_ended = any(DEFAULT in trial.user_attrs for trial in ended)
            if len(ended) >= wanted and own_ended:
                return
            # Lost when the others had ended, the run's own numbers are tried again beyond `wanted`.
            own_waits = any(outcome(trial) == "waiting" and DEFAULT in trial.user_attrs for trial in trials)
            asked = _ask(study, folder, space, seed) if len(ended) + running < wanted or own_waits else None
        if asked is None:
            # The others' trials are the last ones; were one of them lost, it would be for this process to try it again.
            time.sleep(WAIT)
            continue
        trial, lock = asked
        with lock:
            _run(study, folder, trial, objective, note)


def _enqueue(study: optuna.Study, space: Space, values: Mapping[str, float], about: Mapping[str, Any]) -> None:
    """Let a trial wait. The run's own numbers may lie outside the ranges: the sampler is told the nearest inside."""
    study.enqueue_trial(space.nearest(values), {VALUES: dict(values)} | dict(about))


def _ask(study: optuna.Study, folder: Path, space: Space, seed: int) -> tuple[optuna.Trial, IO[str]]:
    """Begin a trial: the next that waits, else a proposed one."""
    trials = study.get_trials(deepcopy=False)
    if not any(outcome(trial) == "waiting" for trial in trials):
        higher = study.direction.name == "MAXIMIZE"
        _enqueue(study, space, space.values(propose(trials, space, higher, seed + len(trials))), {})
    trial = study.ask()
    lock = taken(_lock(folder, trial.number))
    assert lock is not None, "the folder's lock is held, and nobody else knows of this trial"
    for name, (low, high) in space.ranges.items():
        trial.suggest_float(name, low, high, log=True)
    return trial, lock


def _give_up_lost(study: optuna.Study, folder: Path, space: Space) -> None:
    """Note every trial whose process has died as failed, and let its numbers wait for another attempt."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get(RETRIES) for trial in trials}
    for trial in trials:
        if outcome(trial) != "running" or (lock := taken(_lock(folder, trial.number))) is None:
            continue
        with lock:
            # In this order: killed between the two, the next process finds the attempt waiting and adds no other.
            if trial.number not in again:
                about = trial.user_attrs
                default = {DEFAULT: True} if DEFAULT in about else {}
                origin = about.get(ORIGIN, trial.number)
                _enqueue(study, space, about[VALUES], default | {RETRIES: trial.number, ORIGIN: origin})
            study.tell(trial.number, state=TrialState.FAIL)


def _lock(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}.lock"


def _run(
    study: optuna.Study, folder: Path, trial: optuna.Trial, objective: Objective, note: Callable[[FrozenTrial], None]
) -> None:
    """Run a trial and tell how it ended. What is raised beside Pruned and Diverged leaves it to be tried again."""
    from optuna.trial import TrialState

    about = trial.user_attrs
    origin = about.get(ORIGIN, trial.number)
    place = folder / f"trial-{origin}"
    # What the lost attempts saw: a training that goes on from a checkpoint does not pass those rungs again.
    known = {
        step: value
        for other in study.get_trials(deepcopy=False)
        if other.number == origin or other.user_attrs.get(ORIGIN) == origin
        for step, value in other.intermediate_values.items()
    }
    for step, value in known.items():
        trial.report(value, step)

    def report(step: int, value: float) -> None:
        if step not in known:
            known[step] = value
            trial.report(value, step)
        if DEFAULT not in about and trial.should_prune():
            raise Pruned

    def frozen() -> FrozenTrial:
        return study.get_trials(deepcopy=False)[trial.number]

    note(frozen())
    began = time.monotonic()
    score: float | None = None
    state = TrialState.COMPLETE
    try:
        score = objective(Attempt(trial.number, about[VALUES], place, report))
    except Pruned:
        state = TrialState.PRUNED
    except Diverged as error:
        state = TrialState.FAIL
        trial.set_user_attr(REASON, str(error))
    trial.set_user_attr(SECONDS, round(time.monotonic() - began, 3))
    study.tell(trial, score, state)
    shutil.rmtree(place, ignore_errors=True)
    note(frozen())


# Proposals ------------------------------------------------------------------------------------------------------------


def propose(trials: Sequence[FrozenTrial], space: Space, higher: bool, seed: int) -> dict[str, float]:
    """Return the varied numbers of a next trial: a function of the trials so far and the seed.

    Random ones at first, then those of a Gaussian process on the logarithms. To it a pruned trial is one that ended as
    far behind the median as it was at its last rung, and a diverged one as bad as the worst: left out, as the process
    does by itself, their numbers would be proposed again. What was tried already gives way to a random draw.
    """
    import optuna
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState, create_trial

    ranges: dict[str, Any] = {name: FloatDistribution(*span, log=True) for name, span in space.ranges.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=2 + 2 * len(ranges))
    study = optuna.create_study(direction="maximize" if higher else "minimize", sampler=sampler)
    worth = estimates(trials, higher)
    for trial in trials:
        if trial.params.keys() == ranges.keys() and (trial.number in worth or outcome(trial) == "running"):
            value = worth.get(trial.number)  # None of a running one
            state = TrialState.RUNNING if value is None else TrialState.COMPLETE
            study.add_trial(create_trial(state=state, params=trial.params, distributions=ranges, value=value))
    chosen = study.ask()
    found = {name: chosen.suggest_float(name, *span, log=True) for name, span in space.ranges.items()}
    if any(trial.params.keys() == found.keys() and _same(trial.params, found) for trial in trials):
        rng = np.random.default_rng(seed)
        return {name: float(np.exp(rng.uniform(*np.log(span)))) for name, span in space.ranges.items()}
    return found


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return all(abs(math.log(one[name] / value)) < SAME for name, value in other.items())


def estimates(trials: Sequence[FrozenTrial], higher: bool) -> dict[int, float]:
    """Return what each ended trial counts as to the sampler, by its number; nothing before the first complete one."""
    sign = 1 if higher else -1
    complete = {trial.number: trial for trial in trials if outcome(trial) == "complete"}
    found = {number: sign * float(trial.value) for number, trial in complete.items() if trial.value is not None}
    if not found:
        return {}
    middle = median(found.values())
    for trial in trials:
        if outcome(trial) == "pruned" and trial.last_step is not None:
            step = trial.last_step
            others = [sign * t.intermediate_values[step] for t in complete.values() if step in t.intermediate_values]
            behind = median(others) - sign * trial.intermediate_values[step] if others else 0.0
            found[trial.number] = middle - max(behind, 0.0)
    worst = min(found.values())
    found |= {trial.number: worst for trial in trials if outcome(trial) == "failed"}
    return {number: sign * value for number, value in found.items()}
