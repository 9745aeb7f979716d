"""Which numbers the next trial of a study tries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench.search.outcomes import outcome
from bench.search.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SAME_LOGARITHM = 0.01
"""Trials whose numbers all differ by less in their natural logarithms are the same trial: one seed, one result."""


def propose(trials: Sequence[FrozenTrial], space: Space, higher_is_better: bool, seed: int) -> dict[str, float]:
    """Return the varied numbers of the next trial: a function of the trials so far and the seed.

    They are random at first, then those of a Gaussian process on the logarithms. The process gets an estimate of the
    score for pruned and diverged trials: it would leave them out by itself and propose their numbers again. Where it
    proposes what was tried already, the numbers are random.
    """
    import optuna
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState, create_trial

    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(*span, log=True) for name, span in space.ranges.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=2 + 2 * len(distributions))
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize", sampler=sampler)
    scores = estimated_scores(trials, higher_is_better)
    for trial in trials:
        if trial.params.keys() == distributions.keys() and (trial.number in scores or outcome(trial) == "running"):
            value = scores.get(trial.number)  # None of a running trial
            state = TrialState.RUNNING if value is None else TrialState.COMPLETE
            study.add_trial(create_trial(state=state, params=trial.params, distributions=distributions, value=value))
    next_trial = study.ask()
    proposal = {name: next_trial.suggest_float(name, *span, log=True) for name, span in space.ranges.items()}
    if any(trial.params.keys() == proposal.keys() and _same(trial.params, proposal) for trial in trials):
        rng = np.random.default_rng(seed)
        return {name: float(np.exp(rng.uniform(*np.log(span)))) for name, span in space.ranges.items()}
    return proposal


def _same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    return all(abs(math.log(first[name] / value)) < SAME_LOGARITHM for name, value in second.items())


def estimated_scores(trials: Sequence[FrozenTrial], higher_is_better: bool) -> dict[int, float]:
    """Return the score by which the sampler counts each ended trial, by number; none before the first complete one.

    A pruned trial counts as one that ended as far behind the median as it was at its last rung, a diverged one as bad
    as the worst.
    """
    sign = 1 if higher_is_better else -1
    complete = {trial.number: trial for trial in trials if outcome(trial) == "complete"}
    # From here on larger is better.
    scores = {number: sign * float(trial.value) for number, trial in complete.items() if trial.value is not None}
    if not scores:
        return {}
    middle = median(scores.values())
    for trial in trials:
        if outcome(trial) == "pruned" and trial.last_step is not None:
            step = trial.last_step
            others = [sign * t.intermediate_values[step] for t in complete.values() if step in t.intermediate_values]
            behind = median(others) - sign * trial.intermediate_values[step] if others else 0.0
            scores[trial.number] = middle - max(behind, 0.0)
    worst = min(scores.values())
    scores |= {trial.number: worst for trial in trials if outcome(trial) == "failed"}
    return {number: sign * value for number, value in scores.items()}
