"""Names of figures: the runs that one figure may hold; titles, labels and file names made from their records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.scores import reading
from reports.scores.measures import PSNR
from reports.scores.reading import CONDITION, ORIGINALS, Evaluation

MAX_RUNS = 24
"""The most runs that a figure names, the best ones: more can be neither told apart nor read."""


@dataclass(frozen=True)
class FigureKey:
    """What all runs of one figure share."""

    task: str
    """The task's name."""
    dataset: str
    """The dataset's name."""
    origin: str
    """Where its images come from: ORIGINALS, or the name of the stand-in."""

    def file_name(self, kind: str) -> str:
        """The name of a figure's files.

        >>> FigureKey("deblur", "gopro", "offline photographs").file_name("losses")
        'losses-deblur-gopro-offline-photographs'
        """
        origin = [self.origin.replace(" ", "-")] * (self.origin != ORIGINALS)
        return "-".join([kind, self.task, self.dataset, *origin])

    def task_of(self, given: str, inputs: Sequence[str]) -> str:
        """The task in a title, with the input where the task has several."""
        return f"{self.task} of {given} images" if len(inputs) > 1 else self.task


def key_of(evaluation: Evaluation) -> FigureKey:
    """The figures that an evaluation belongs to."""
    record = evaluation.record
    return FigureKey(record.task, record.dataset, record.origin)


def by_key(evaluations: Iterable[Evaluation]) -> dict[FigureKey, list[Evaluation]]:
    """The evaluations of each task, dataset and origin."""
    groups: dict[FigureKey, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(key_of(evaluation), []).append(evaluation)
    return groups


def dataset_title(evaluation: Evaluation) -> str:
    """The dataset's name in a title, with the name of the stand-in where it is one."""
    record = evaluation.record
    return record.dataset_title + (f" ({record.origin})" if record.origin != ORIGINALS else "")


def condition_text(condition: Mapping[str, Any]) -> str:
    """The condition of an image in words.

    >>> condition_text({"input": "blurred", "mask_band": "20-30"})
    'input blurred, mask band 20-30'
    """
    return ", ".join(f"{name.replace('_', ' ')} {condition[name]}" for name in CONDITION if condition.get(name))


def run_label(evaluation: Evaluation, members: Sequence[Evaluation]) -> str:
    """A run's title; with its seed or its name where other runs of the figure have the same title."""
    title, seed = evaluation.record.title, evaluation.record.seed
    seeds = [other.record.seed for other in members if other.record.title == title]
    if len(seeds) == 1:
        return title
    return f"{title}, seed {seed}" if len(set(seeds)) == len(seeds) else f"{title}, {evaluation.name}"


def mean_psnr(evaluation: Evaluation) -> float:
    """The mean PSNR over all images in dB; -inf where it was not measured."""
    value = reading.measure(evaluation, PSNR, {}).value
    return -math.inf if value is None else value


def best_of_text(count: int) -> str:
    """The end of a title: says how many runs there are when the figure shows only the best.

    >>> best_of_text(30), best_of_text(3)
    (': the best 24 of 30 runs', '')
    """
    return f": the best {MAX_RUNS} of {count} runs" if count > MAX_RUNS else ""
