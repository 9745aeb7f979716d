"""Which numbers trials try, and which trial is the best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.search.outcomes import best_trial, importances, outcome
from bench.search.proposals import estimated_scores, propose
from bench.search.study import Attempt, ended_trials, open_study
from bench.training.divergence import Diverged
from tests.bench.search.toys import ranged, run_study, space_of


def bowl(best: dict[str, float]) -> Callable[[Attempt], float]:
    """A score with one best set of numbers."""
    return lambda attempt: -sum(np.log10(attempt.values[name] / value) ** 2 for name, value in best.items())


@pytest.mark.parametrize(("seed", "names"), [(0, "a"), (1, "ab"), (2, "abc")])
def test_a_known_best_weighting_is_found_within_a_tenth_in_40_trials(tmp_path, seed, names):
    best = dict(zip(names, 10 ** np.random.default_rng(seed).uniform(-2, 2, len(names)), strict=True))
    run_study(tmp_path, ranged(*names), dict.fromkeys(names, 1.0), 40, bowl(best), seed=seed)
    trials = ended_trials(open_study(tmp_path, True))
    assert len(trials) == 40
    top = best_trial(trials, True)
    assert top is not None
    for name, value in best.items():
        assert top.params[name] == pytest.approx(value, rel=0.1)


def test_a_lower_score_may_be_the_better_one(tmp_path):
    score = bowl({"a": 5.0})
    run_study(tmp_path, ranged("a"), {"a": 1.0}, 16, lambda attempt: -score(attempt), higher_is_better=False)
    top = best_trial(ended_trials(open_study(tmp_path, False)), False)
    assert top is not None and top.params["a"] == pytest.approx(5.0, rel=0.1)


def test_the_runs_own_numbers_come_first_even_outside_the_ranges_and_win_a_tie(tmp_path):
    tried: list[dict[str, float]] = []

    def equal_scores(attempt: Attempt) -> float:
        tried.append(dict(attempt.values))
        return 1.0

    space = space_of(a={"low": 0.1, "high": 10.0}, b={"of": "a"})
    run_study(tmp_path, space, {"a": 0.0, "b": 7.0}, 3, equal_scores)
    trials = ended_trials(open_study(tmp_path, True))
    assert tried[0] == {"a": 0.0, "b": 7.0} and trials[0].params == {"a": 0.1}
    assert all(values["a"] == values["b"] for values in tried[1:])
    assert best_trial(trials, True) is trials[0]


def curved(attempt: Attempt) -> float:
    """Trials of a higher `a` are worse, and are so at their rungs already."""
    for step in (1, 2):
        attempt.report(step, -attempt.values["a"] * (3 - step))
    return -attempt.values["a"]


def test_trials_that_are_behind_are_pruned_but_never_the_runs_own(tmp_path):
    run_study(tmp_path, ranged("a"), {"a": 1e3}, 16, curved)
    trials = ended_trials(open_study(tmp_path, True))
    states = [outcome(trial) for trial in trials]
    assert len(trials) == 16 and states[0] == "complete" and "pruned" in states
    for trial in trials:
        if outcome(trial) == "pruned":
            assert trial.last_step in (1, 2) and trial.value == trial.intermediate_values[trial.last_step]


def test_the_sampler_counts_a_pruned_trial_as_far_behind_as_it_was_and_a_diverged_one_as_the_worst(tmp_path):
    def scripted(attempt: Attempt) -> float:
        number = attempt.number
        if number == 6:
            raise Diverged("a loss is not finite")
        attempt.report(10, 5.0 + number if number < 5 else 4.0)
        return 20.0 + number

    run_study(tmp_path, ranged("a"), {"a": 1.0}, 7, scripted)
    trials = ended_trials(open_study(tmp_path, True))
    assert [outcome(trial) for trial in trials] == ["complete"] * 5 + ["pruned", "failed"]
    assert trials[6].user_attrs["reason"] == "a loss is not finite"
    # The median of 5 to 9 is 7, of 20 to 24 it is 22: three behind.
    assert estimated_scores(trials, True) == {0: 20.0, 1: 21.0, 2: 22.0, 3: 23.0, 4: 24.0, 5: 19.0, 6: 19.0}
    assert propose(trials, ranged("a"), True, 3) == propose(trials, ranged("a"), True, 3)
    shares, reason = importances(trials, True)
    assert shares == {"a": 1.0} and reason == ""
    assert importances(trials[:3], True) == ({}, "3 complete trials, importances need 5")
