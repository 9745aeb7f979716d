"""Runs as tables show them: their seeds joined, their names, and what a reader must know of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from bench.record import RandomHelper, Record
from reports.scores.reading import ORIGINALS, Evaluation, lacks_commit

SHARED = ("rows", "method", "kind", "dataset", "task", "origin", "partial", "network", "reduced")
"""What the records of one run under several seeds have in common, besides the training settings."""


@dataclass(frozen=True)
class Group:
    """The evaluations of one run under several seeds.

    Args:
        evaluations: in the order of their names.
    """

    evaluations: tuple[Evaluation, ...]

    @property
    def record(self) -> Record:
        """The first evaluation's record, which the others share except for the seed."""
        return self.evaluations[0].record


def join_seeds(evaluations: Iterable[Evaluation]) -> list[Group]:
    """Join the evaluations that differ in their seed only; the same seed twice is not joined."""
    members: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        record = evaluation.record
        recipe = {name: value for name, value in record.train.items() if name != "seed"}
        shared = [getattr(record, name) for name in SHARED]
        trained_on = [(entry.dataset, entry.origin, entry.partial) for entry in record.trained_on]
        key = json.dumps([shared, trained_on, recipe], sort_keys=True, default=str)
        seeds = {other.record.seed for other in members.get(key, [])}
        if record.seed in seeds:
            key += evaluation.name
        members.setdefault(key, []).append(evaluation)
    return [Group(tuple(joined)) for joined in members.values()]


def describe(group: Group) -> str:
    """Return the kind of a run and the number of its seeds, to be shown with its name."""
    seeds = len(group.evaluations)
    return group.record.kind + (f", {seeds} seeds" if seeds > 1 else "")


def name_among(group: Group, members: Iterable[Group]) -> str:
    """Return a run's title, with its evaluation's name where another run has the same title (sizes, ablations)."""
    title = group.record.title
    same = sum(other.record.title == title for other in members) > 1
    return f"{title}, {group.evaluations[0].name}" if same else title


def origin_text(runs: Iterable[Group]) -> str:
    """Return where the measured images come from, for a title: "" for originals."""
    return ", ".join(sorted({group.record.origin for group in runs} - {ORIGINALS}))


def caveats(group: Group, several_origins: bool = False) -> list[str]:
    """Return what a reader must know of a run: partial data, no commit, a reduced network, losses left out or random.

    Args:
        several_origins: whether the table has runs of several origins, which its title then cannot name for each.
    """
    record = group.record
    texts = [f"measured on {record.origin}"] if several_origins else []
    texts += ["partial data: fewer images than the official split"] if record.partial else []
    texts += [f"trained on {entry.dataset_title} ({entry.origin})" for entry in record.trained_on]
    if any(lacks_commit(member.record) for member in group.evaluations):
        texts.append("no commit: the version of the code that made these numbers is not known")
    if record.reduced:
        texts.append(f"reduced network: {'; '.join(record.reduced)}")
    texts += [f"loss {entry.loss} left out: {entry.reason}" for entry in record.missing_losses]
    texts += [random_losses_text(entry) for entry in record.random_helpers]
    return texts


def random_losses_text(entry: RandomHelper) -> str:
    """Return what a reader must know of losses through a helper network without its published weights."""
    return f"losses through a network of random weights: {', '.join(entry.losses)} ({entry.helper})"
