"""Search a run: several trials, in one process or more; the best one's numbers become those of the winner's run."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import crash, folders, stop_signals
from bench.child_processes import end_with_parent, interrupts_kept
from bench.code import of_stage
from bench.contracts import UserError
from bench.files import HAND_OVER_SECONDS, need_writable, replace_folder
from bench.params.schema import Params
from bench.search.locks import hold
from bench.search.outcomes import DEFAULT, REASON, best_trial, counted, describe, outcome
from bench.search.results import NAMED_PHOTOGRAPHS, write_results
from bench.search.setup import SearchSetup, prepare
from bench.search.study import LOCK, ended_trials, open_study, work
from bench.search.trial import run_trial
from bench.search.trial_log import OPEN_SETTINGS, TrialLog, search_record
from bench.tracking import store
from bench.training.train import fingerprint

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class WorkerArguments:
    """What a worker process needs to join a search."""

    params: Params
    """The checked `params.yaml`."""
    run: str
    """The run that is searched."""
    trials: int | None
    """Trials instead of the number in `params.yaml`."""
    folder: Path
    """The study's folder."""
    study: str
    """The study's identity."""
    parent: str
    """The id of the search's MLflow run."""


def search(params: Params, run: str, trials: int | None = None, jobs: int | None = None) -> Path:
    """Search a run, or continue its search where it was stopped, and return the folder of the results.

    Args:
        params: the checked `params.yaml`.
        run: of `params.yaml`, which also has what is varied.
        trials: finished trials in total, instead of the number in `params.yaml`; more continue the same study.
        jobs: processes, instead of the number in `params.yaml`. Another process with the same command helps too.

    Raises:
        ParamsError, DataError: wrong input, found before the first trial.
        UserError: no trial came to its end; a process of the search failed; the folder cannot be written.
    """
    out = folders.search_folder(params, run)
    need_writable(out.parent)
    setup = prepare(params, run, trials)
    identity = identify(setup)
    folder = Path(params.paths.resume, f"{params.profile}-search-{run}-{identity[:16]}")
    study = open_study(folder, setup.higher_is_better)
    client = store.connect(params.tracking)
    with hold(folder / LOCK):
        parent = store.start(client, search_record(setup), identity)
    _print_plan(setup)
    arguments = WorkerArguments(params, run, trials, folder, identity, parent)
    count = min(setup.settings.jobs if jobs is None else jobs, setup.settings.trials)
    if count == 1:
        _work(arguments, setup)
    else:
        _start_workers(arguments, count)
    ended = counted(ended_trials(study), setup.settings.trials)
    if len(ended) < setup.settings.trials or not any(DEFAULT in trial.user_attrs for trial in ended):
        raise UserError(f"{run}: the search's processes failed after {len(ended)} trials; the same command continues")
    log = TrialLog(setup, client, identity, parent)
    for trial in ended:
        log.log(trial)
    best = best_trial(ended, setup.higher_is_better)
    if best is None:
        store.finish(client, parent, "FAILED")
        reasons = dict.fromkeys(trial.user_attrs.get(REASON, "pruned") for trial in ended)
        raise UserError(f"{run}: none of {len(ended)} trials came to its end: {'; '.join(reasons)}")
    log.log_best(best)
    with hold(folder / LOCK):
        results = partial(write_results, setup, identity, parent, ended, best)
        replace_folder(out, results, f"searching {run}", HAND_OVER_SECONDS)
    store.finish(client, parent)
    return out


def identify(setup: SearchSetup) -> str:
    """Return a hash of all that a study depends on: a study with another hash never continues its trials.

    The numbers of trials and of processes are not part of it.
    """
    base = fingerprint(
        setup.recipe,
        setup.built,
        list(setup.helpers),
        setup.threads,
        1,
        setup.accelerator.device.type,
        setup.auxiliary_digests,
    )
    code = of_stage("search", [setup.recipe.method])
    choices = {name: choice.model_dump() for name, choice in setup.space.choices.items()}
    settings = setup.settings.model_dump(exclude=OPEN_SETTINGS)
    return hashlib.sha256(json.dumps([base, code, choices, settings], sort_keys=True).encode()).hexdigest()


def _print_plan(setup: SearchSetup) -> None:
    """Print how the trials are scored, and which numbers have no effect here."""
    run, photographs = setup.recipe.name, setup.photographs
    named = f"{', '.join(photographs[:NAMED_PHOTOGRAPHS])}{', ...' * (len(photographs) > NAMED_PHOTOGRAPHS)}"
    print(
        f"{run}: {setup.settings.trials} trials of {setup.total_steps} steps, scored by {setup.metric.id} on "
        f"{len(setup.images):,} images of {len(photographs):,} held-out photographs ({named})"
    )
    for name, reason in setup.not_searched.items():
        print(f"{run}: NOT searched: {name}: {reason}")


def _work(arguments: WorkerArguments, setup: SearchSetup) -> None:
    """Run trials in this process until enough have ended."""
    log = TrialLog(setup, store.connect(arguments.params.tracking), arguments.study, arguments.parent)

    def on_change(trial: FrozenTrial) -> None:
        log.log(trial)
        if outcome(trial) != "running":
            print(f"{arguments.run}: {describe(trial, setup.metric.id)}", flush=True)

    work(arguments.folder, setup.plan, partial(run_trial, setup), on_change)


def _start_workers(arguments: WorkerArguments, count: int) -> None:
    """Run trials in several processes. The trial of a process that fails is tried again by the others."""
    context = multiprocessing.get_context("spawn")  # a fork would share torch's threads and MLflow's connections
    workers = [context.Process(target=_worker, args=(arguments,)) for _ in range(count)]
    with interrupts_kept():
        for worker in workers:
            worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:  # a signal: each worker writes the checkpoint of its trial, then ends
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        raise


def _worker(arguments: WorkerArguments) -> None:
    """Be a process of a search."""
    end_with_parent()
    try:
        with stop_signals.handled():
            _work(arguments, prepare(arguments.params, arguments.run, arguments.trials))
    except UserError as error:
        print(f"sharpbench search: {error}", file=sys.stderr)
        sys.exit(2)
    except stop_signals.Stopped as stop:  # the command prints the message
        sys.exit(stop.status)
    except Exception as error:
        sys.exit(crash.end(error, "sharpbench search", ["search", arguments.run]))
