"""Search a run: several trials, the best of which becomes a run of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.code import of_stage
from bench.contracts import UserError
from bench.files import need_writable, replace_folder, write_json, write_text
from bench.params.resolving import find_search, search_folder
from bench.params.schema import WINNER, Params
from bench.provenance import here
from bench.search import study as studies
from bench.search.space import nested
from bench.search.study import DEFAULT, ORIGIN, REASON, SECONDS, VALUES, finished, held, opened, outcome, work
from bench.search.trial import Shared, objective, prepare
from bench.tracking import store
from bench.training.train import about, fingerprint

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STUDY, TRIALS = "study.json", "trials.parquet"
ENOUGH = 5
"""Complete trials from which importances are computed."""
FIRST = 3
"""Held-out photographs that are named; there may be hundreds of thousands."""
MORE = {"trials", "jobs"}
"""Settings of which more is more of the same study."""
PARENT, STATE = "mlflow.parentRunId", "state"


def search(params: Params, run: str, trials: int | None = None, jobs: int | None = None) -> Path:
    """Search a run, or go on with its search where it was stopped, and return the folder of what was found.

    Args:
        run: of params.yaml; what is varied stands there.
        trials: finished ones in all, instead of what params.yaml says; more than before go on with the same study.
        jobs: processes, instead of what params.yaml says. Another process with the same command helps too.

    Raises:
        ParamsError, DataError: found before the first trial.
        UserError: no trial came to its end; a process of the search failed; the folder cannot be written.
    """
    out = search_folder(params, run)
    need_writable(out.parent)
    shared = prepare(params, run, trials)
    wanted = shared.settings.trials
    identity = identify(shared)
    folder = Path(params.paths.resume, f"{params.profile}-search-{run}-{identity[:16]}")
    study = opened(folder, shared.metric.better == "higher")
    client = store.connect(params.tracking)
    with held(folder / studies.LOCK):
        parent = store.start(client, _record(shared, run), identity)
    print(
        f"{run}: {wanted} trials of {shared.total_steps} steps, scored by {shared.metric.id} on {len(shared.cases):,} "
        f"images of {len(shared.held):,} held-out photographs ({', '.join(shared.held[:FIRST])}"
        f"{', ...' * (len(shared.held) > FIRST)})"
    )
    for name, reason in shared.not_searched.items():
        print(f"{run}: NOT searched: {name}: {reason}")
    count = min(shared.settings.jobs if jobs is None else jobs, wanted)
    if count == 1:
        _work(shared, folder, identity, parent)
    else:
        _spread(params, run, trials, folder, identity, parent, count)
    found = counted(finished(study), wanted)
    if len(found) < wanted or not any(DEFAULT in trial.user_attrs for trial in found):
        raise UserError(f"{run}: the search's processes failed after {len(found)} trials; the same command goes on")
    log = logger(shared, client, identity, parent)
    for trial in found:
        log(trial)
    best = winner(found, shared.metric.better == "higher")
    if best is None:
        store.finish(client, parent, "FAILED")
        reasons = dict.fromkeys(trial.user_attrs.get(REASON, "pruned") for trial in found)
        raise UserError(f"{run}: none of {wanted} trials came to its end: {'; '.join(reasons)}")
    store.log_points(client, parent, [(f"validation.{shared.metric.id}", float(best.value or 0), 0, _when(best))])
    with held(folder / studies.LOCK):
        replace_folder(out, partial(_write, shared, identity, parent, found, best))
    store.finish(client, parent)
    return out


def identify(shared: Shared) -> str:
    """Return what a study is a function of, as a hash: its trials are not gone on with when any of it has changed.

    The number of trials and of processes is no part of it: more trials are more of the same.
    """
    base = fingerprint(
        shared.recipe,
        shared.built,
        list(shared.helped),
        shared.threads,
        1,
        shared.accelerator.device.type,
        shared.digests,
    )
    code = of_stage("search", [shared.recipe.method])
    choices = {name: choice.model_dump() for name, choice in shared.space.choices.items()}
    settings = shared.settings.model_dump(exclude=MORE)
    return hashlib.sha256(json.dumps([base, code, choices, settings], sort_keys=True).encode()).hexdigest()


# Processes ------------------------------------------------------------------------------------------------------------


def _work(shared: Shared, folder: Path, identity: str, parent: str) -> None:
    """Run trials in this process until there are enough."""
    client = store.connect(shared.params.tracking)
    log = logger(shared, client, identity, parent)

    def note(trial: FrozenTrial) -> None:
        log(trial)
        if outcome(trial) != "running":
            print(f"{shared.recipe.name}: {described(trial, shared.metric.id)}", flush=True)

    work(
        folder, shared.space, shared.own, shared.settings.trials, shared.metric.better == "higher", shared.recipe.seed,
        partial(objective, shared), note,
    )  # fmt: skip


def _spread(params: Params, run: str, trials: int | None, folder: Path, identity: str, parent: str, count: int) -> None:
    """Run trials in several processes. The trial of one that fails is tried again by the others."""
    context = multiprocessing.get_context("spawn")  # a fork would share torch's threads and MLflow's connections
    arguments = (params, run, trials, folder, identity, parent)
    workers = [context.Process(target=_worker, args=arguments) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        for worker in workers:
            worker.join()
        raise


def _worker(params: Params, run: str, trials: int | None, folder: Path, identity: str, parent: str) -> None:
    try:
        _work(prepare(params, run, trials), folder, identity, parent)
    except UserError as error:
        print(f"sharpbench search: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


# MLflow ---------------------------------------------------------------------------------------------------------------


def _record(shared: Shared, run: str) -> dict[str, Any]:
    """Return what MLflow is told of the search."""
    record = about(shared.recipe, shared.method, shared.built, "search")
    ranges = {name: f"{low:g} to {high:g}" for name, (low, high) in shared.space.ranges.items()}
    train = shared.recipe.train.model_dump(mode="json") | {"search": shared.settings.model_dump(exclude=MORE) | ranges}
    return record | {"evaluation": f"search {run}", "train": train}


def logger(shared: Shared, client: Any, identity: str, parent: str) -> Callable[[FrozenTrial], None]:
    """Return what logs a trial as a nested run of MLflow; logging the same again changes nothing.

    The next attempt of a lost trial goes on in the same run.
    """
    record = _record(shared, shared.recipe.name)

    def log(trial: FrozenTrial) -> None:
        state = outcome(trial)
        key = f"{identity}-{trial.user_attrs.get(ORIGIN, trial.number)}"
        own = {"train": nested(trial.user_attrs[VALUES]), "kind": "trial", "evaluation": f"trial {trial.number}"}
        run_id = store.start(client, record | own | {"network": {}}, key)
        tags = {PARENT: parent, "mlflow.runName": f"trial {trial.number}", STATE: state}
        tags |= {"reason": trial.user_attrs[REASON]} if REASON in trial.user_attrs else {}
        with store.reached(client.tracking_uri):
            if client.get_run(run_id).data.tags.get(STATE) == state:
                return
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
        metric = f"validation.{shared.metric.id}"
        store.log_points(client, run_id, [(metric, v, step, _when(trial)) for step, v in curve(trial, shared)])
        if state != "running":
            store.finish(client, run_id, "FAILED" if state == "failed" else "FINISHED")

    return log


def _when(trial: FrozenTrial) -> int:
    """Return when a trial began, in milliseconds: the same each time that it is logged."""
    began = trial.datetime_start
    return int(1000 * (began.timestamp() if began else time.time()))


def curve(trial: FrozenTrial, shared: Shared) -> list[tuple[int, float]]:
    """Return the scores of a trial by step, that of its end too."""
    points = sorted(trial.intermediate_values.items())
    return [*points, (shared.total_steps, float(trial.value or 0))] if outcome(trial) == "complete" else points


# What was found -------------------------------------------------------------------------------------------------------


def described(trial: FrozenTrial, metric: str) -> str:
    """Return a trial in a line."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in trial.user_attrs[VALUES].items())
    score = f" {metric} {trial.value:.4f}" if trial.value is not None else ""
    return f"trial {trial.number}: {outcome(trial)}{score} ({values}{'; the default' * (DEFAULT in trial.user_attrs)})"


def counted(trials: Sequence[FrozenTrial], wanted: int) -> list[FrozenTrial]:
    """Return so many trials in their order: the first ones, and always that of the run's own numbers.

    Lost and tried again, that one has a later number than others.
    """
    chosen = sorted(trials, key=lambda trial: DEFAULT not in trial.user_attrs)[:wanted]
    return sorted(chosen, key=lambda trial: trial.number)


def winner(trials: Sequence[FrozenTrial], higher: bool) -> FrozenTrial | None:
    """Return the best complete trial; of equal ones that of the run's own numbers, else the first. None without any."""
    sign = 1 if higher else -1
    complete = [trial for trial in trials if outcome(trial) == "complete"]
    return max(complete, key=lambda trial: (sign * float(trial.value or 0), DEFAULT in trial.user_attrs), default=None)


def importances(trials: Sequence[FrozenTrial], higher: bool) -> tuple[dict[str, float], str]:
    """Return how much of the score's spread each varied number explains (they sum to 1), or {} and why not."""
    import optuna

    complete = [trial for trial in trials if outcome(trial) == "complete"]
    if len(complete) < ENOUGH:
        return {}, f"{len(complete)} complete trials, importances need {ENOUGH}"
    if len({trial.value for trial in complete}) == 1:
        return {}, "all complete trials have the same score"
    study = optuna.create_study(direction="maximize" if higher else "minimize")
    study.add_trials(complete)
    return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}, ""


def _write(
    shared: Shared, identity: str, parent: str, trials: Sequence[FrozenTrial], best: FrozenTrial, folder: Path
) -> None:
    import pandas as pd
    import yaml

    default = next(trial for trial in trials if DEFAULT in trial.user_attrs)
    rows = [
        {
            "number": trial.number,
            "state": outcome(trial),
            "value": float("nan") if trial.value is None else float(trial.value),
            "default": trial is default,
            "seconds": trial.user_attrs[SECONDS],
            "reason": trial.user_attrs.get(REASON, ""),
            "steps": [step for step, _ in curve(trial, shared)],
            "scores": [score for _, score in curve(trial, shared)],
        }
        | trial.user_attrs[VALUES]
        for trial in trials
    ]
    pd.DataFrame(rows).to_parquet(folder / TRIALS, index=False)
    shares, missing = importances(trials, shared.metric.better == "higher")
    name, _ = find_search(shared.params, shared.recipe.name)
    record = about(shared.recipe, shared.method, shared.built, "search")
    kept = ("run", "method", "title", "task", "dataset", "dataset_title", "origin", "partial", "profile", "seed")
    write_json(
        folder / STUDY,
        {key: record[key] for key in kept}
        | {
            "winner_run": name,
            "study": identity,
            "metric": shared.metric.id,
            "metric_version": shared.metric.version,
            "unit": shared.metric.unit,
            "better": shared.metric.better,
            "settings": shared.settings.model_dump(mode="json") | {"trials": len(trials)},
            "steps": shared.total_steps,
            "rungs": list(shared.rungs),
            "space": {key: choice.model_dump(exclude_defaults=True) for key, choice in shared.space.choices.items()},
            "not_searched": dict(shared.not_searched),
            "held_out": len(shared.held),
            "held_out_first": list(shared.held[:FIRST]),
            "validation_images": len(shared.cases),
            "training_images": len(shared.crops),
            "default": {"number": default.number, "value": default.value, "values": default.user_attrs[VALUES]},
            "winner": {"number": best.number, "value": best.value, "values": best.user_attrs[VALUES]},
            "importances": shares,
            "importances_missing": missing,
            "provenance": here()
            | {
                "manifest_sha256": shared.built.digest,
                "auxiliary": dict(shared.digests),
                "mlflow_run": parent,
                "device": shared.accelerator.device.type,
                "threads": shared.threads,
            },
        },
    )
    searched = {"run": shared.recipe.name, "study": identity, "trial": best.number, "mlflow_run": parent}
    train: Mapping[str, Any] = nested(best.user_attrs[VALUES]) | {"searched": searched}
    text = yaml.safe_dump({"train": train}, sort_keys=False, default_flow_style=False)
    write_text(folder / WINNER, f"# Written by: python -m bench search {shared.recipe.name}\n{text}")
