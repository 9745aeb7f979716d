"""All metrics of one restored image against the truth, by id.

A new metric is a function and its declaration in one of the modules below. A new module is added here, once to the
import and once to `METRICS`.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.contracts import DataError, UserError
from bench.registry import nearest
from bench.scoring.metrics import errors, kohler, ssim
from bench.scoring.metrics.measure import Image, Metric, NotMeasured, Undefined, declared

METRICS: dict[str, Metric] = declared((errors, ssim, kohler), Metric)  # type: ignore[type-abstract]  # no instance is made


def find(metric_id: str) -> Metric:
    """Return the metric of that id. Raises UserError with the nearest ids."""
    if metric_id not in METRICS:
        raise UserError(f"no metric {metric_id!r}; the nearest are: {nearest(metric_id, METRICS)}")
    return METRICS[metric_id]


def best_references(ids: Iterable[str], pred: Image, references: Iterable[Image]) -> dict[str, float]:
    """Score one image against many reference frames, each read once, and return the best value by id.

    Raises:
        UserError: an unknown id.
        DataError: reference frames are missing, or one does not match the image.
    """
    metrics = [find(metric_id) for metric_id in ids]
    best: dict[str, float] = {}
    for frame in references:
        for metric in metrics:
            value = metric.score(pred, frame)
            sign = 1 if metric.better == "higher" else -1
            if metric.id not in best or sign * value > sign * best[metric.id]:
                best[metric.id] = value
    if metrics and not best:
        raise DataError(
            f"{', '.join(metric.id for metric in metrics)}: the image has no reference frames to score against"
        )
    return best


def compute_all(
    ids: Iterable[str],
    pred: Image,
    target: Image,
    mask: Image | None = None,
    references: Iterable[Image] = (),
) -> dict[str, float | NotMeasured]:
    """Score one restored image by several metrics: by id the value, or why the formula has none for these images.

    >>> import numpy as np
    >>> target = np.full((16, 16, 3), 0.5)
    >>> scores = compute_all(["psnr-float", "mae"], target + 0.1, target)
    >>> {name: round(value, 4) for name, value in scores.items()}
    {'psnr-float': 20.0, 'mae': 0.1}

    Args:
        ids: of `METRICS`; all are looked up before the first is computed.
        pred: (H, W, 3) or (H, W); uint8, uint16, or floats in [0, 1].
        target: the same shape.
        mask: (H, W), 255 (or 1) = hole; for the metrics of the hole.
        references: the frames for the metrics that take the best of many; read once.

    Raises:
        UserError: an unknown id.
        DataError: the images cannot be compared, or what a metric needs is missing.
    """
    metrics = [find(metric_id) for metric_id in ids]
    many = [metric.id for metric in metrics if metric.needs_references]
    scores: dict[str, float | NotMeasured] = {}
    try:
        scores |= best_references(many, pred, references)
    except Undefined as error:  # it concerns all of them: they all begin by fitting the intensity
        scores |= {name: NotMeasured(name, str(error)) for name in many}
    for metric in metrics:
        if not metric.needs_references:
            try:
                scores[metric.id] = metric.score(pred, target, mask)
            except Undefined as error:
                scores[metric.id] = NotMeasured(metric.id, str(error))
    return {metric.id: scores[metric.id] for metric in metrics}
