"""Scores by networks with published weights: of each restored image (LPIPS) and of each set of images (FID)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from bench.scoring.cases import Case, condition
from bench.scoring.metrics.measure import Floats, Image, NetworkMetric, NotMeasured, SetMetric
from bench.scoring.metrics.perceptual import PERCEPTUAL
from bench.scoring.table import ScoreTable
from bench.tasks import find_task

SET_CONDITION = ("input", "mask_kind", "mask_band")
"""Columns of a test image's condition that tell one set of images from another."""


class Perceptual:
    """The perceptual scores of one evaluation. Metrics whose network is not on this machine get a reason instead.

    Args:
        ids: of `PERCEPTUAL`, in any order; metrics that do not apply to the task are left out.
        weights: the folder that the user names for network weights, or None.
        task: decides whether metrics that need a hole are measured.
        device: where the networks run: "cpu", "cuda", ...
    """

    def __init__(self, ids: Collection[str], weights: Path | None, task: str, device: str = "cpu"):
        self.missing: list[tuple[NetworkMetric | SetMetric, NotMeasured]] = []
        self.scorers: dict[NetworkMetric, Callable[[Image, Image], float]] = {}
        self.extractors: dict[SetMetric, Callable[[Image], Floats]] = {}
        for metric in PERCEPTUAL.values():
            if metric.id not in ids:
                continue
            if isinstance(metric, NetworkMetric):
                scorer = metric.load(weights, device)
                if isinstance(scorer, NotMeasured):
                    self.missing.append((metric, scorer))
                else:
                    self.scorers[metric] = scorer
            elif find_task(task).has_hole or not metric.needs_mask:
                extractor = metric.load(weights, device)
                if isinstance(extractor, NotMeasured):
                    self.missing.append((metric, extractor))
                else:
                    self.extractors[metric] = extractor
        self.values: list[tuple[NetworkMetric, dict[str, Any], float]] = []
        # Only features are kept, 8 kB per image: a test set may have tens of thousands of images.
        self.sets: dict[tuple[SetMetric, tuple[str, ...]], list[tuple[Floats, Floats]]] = {}
        self.truths: dict[tuple[SetMetric, str], Floats] = {}

    def add(self, case: Case, pred: np.ndarray) -> None:
        """Score one restored image, and keep its features for the metrics of sets."""
        about = condition(case)
        for metric, scorer in self.scorers.items():
            self.values.append((metric, about, scorer(pred, case.truth)))
        key = tuple(about[name] for name in SET_CONDITION)
        for set_metric, extractor in self.extractors.items():
            truth = (set_metric, case.name)
            if truth not in self.truths:  # the next input has the same truth
                self.truths[truth] = extractor(case.truth)
            self.sets.setdefault((set_metric, key), []).append((extractor(pred), self.truths[truth]))

    def finish(self, table: ScoreTable) -> None:
        """Add the values to the table, or why they were not measured."""
        for missing, reason in self.missing:
            table.add(missing, reason)
        for metric, about, value in self.values:
            table.add(metric, value, **about)
        for (set_metric, key), pairs in self.sets.items():
            about = dict(zip(SET_CONDITION, key, strict=True))
            if len(pairs) < 2:
                table.add(set_metric, NotMeasured(set_metric.id, "a set of one image has no distance"), **about)
            else:
                preds, truths = (np.stack(features) for features in zip(*pairs, strict=True))
                table.add(set_metric, set_metric.distance(preds, truths), **about)
