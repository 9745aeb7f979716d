"""What the trials of a study hold, how they ended, and which of them is the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Attributes that a trial has in Optuna's storage.
VALUES = "values"
"""Every number that the trial sets, by name."""
DEFAULT = "default"
"""True in the trial of the run's own numbers; other trials lack it."""
RETRIES = "retries"
"""The number of the lost trial that this one tries again."""
ORIGIN = "origin"
"""The number of the first trial of which this one is a further attempt."""
REASON = "reason"
"""Why the trial failed."""
SECONDS = "seconds"
"""How long the trial ran."""

IMPORTANCE_TRIALS = 5
"""The smallest number of complete trials from which importances are computed."""


def outcome(trial: FrozenTrial) -> str:
    """Return a trial's state: complete, pruned, failed, running, waiting, or lost when its process died."""
    state = trial.state.name.lower()
    return ("failed" if REASON in trial.user_attrs else "lost") if state == "fail" else state


def ended(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that came to an end by themselves, in their order: complete, pruned, or failed."""
    return [trial for trial in trials if outcome(trial) in ("complete", "pruned", "failed")]


def counted(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """Return `count` trials in their order: the first ones, and always that of the run's own numbers.

    That trial has a late number where it was lost and tried again.
    """
    chosen = sorted(trials, key=lambda trial: DEFAULT not in trial.user_attrs)[:count]
    return sorted(chosen, key=lambda trial: trial.number)


def best_trial(trials: Sequence[FrozenTrial], higher_is_better: bool) -> FrozenTrial | None:
    """Return the best complete trial; of equal ones that of the run's own numbers, else the first. None without any."""
    sign = 1 if higher_is_better else -1
    complete = [trial for trial in trials if outcome(trial) == "complete"]
    return max(complete, key=lambda trial: (sign * float(trial.value or 0), DEFAULT in trial.user_attrs), default=None)


def score_curve(trial: FrozenTrial, total_steps: int) -> list[tuple[int, float]]:
    """Return the scores of a trial by step, those at its rungs and that at its end."""
    points = sorted(trial.intermediate_values.items())
    return [*points, (total_steps, float(trial.value or 0))] if outcome(trial) == "complete" else points


def describe(trial: FrozenTrial, metric: str) -> str:
    """Return one line on a trial: its number, outcome, score and numbers."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in trial.user_attrs[VALUES].items())
    score = f" {metric} {trial.value:.4f}" if trial.value is not None else ""
    return f"trial {trial.number}: {outcome(trial)}{score} ({values}{'; the default' * (DEFAULT in trial.user_attrs)})"


def importances(trials: Sequence[FrozenTrial], higher_is_better: bool) -> tuple[dict[str, float], str]:
    """Return how much of the score's spread each varied number explains (they sum to 1), or {} and the reason."""
    import optuna

    complete = [trial for trial in trials if outcome(trial) == "complete"]
    if len(complete) < IMPORTANCE_TRIALS:
        return {}, f"{len(complete)} complete trials, importances need {IMPORTANCE_TRIALS}"
    if len({trial.value for trial in complete}) == 1:
        return {}, "all complete trials have the same score"
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize")
    study.add_trials(complete)
    return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}, ""
