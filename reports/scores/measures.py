"""All measures that a report shows, by id, as their declarations describe them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from bench.scoring.cost import COSTS
from bench.scoring.metrics.catalogue import METRICS
from bench.scoring.metrics.errors import PSNR_RGB8
from bench.scoring.metrics.measure import Cost, Measure
from bench.scoring.metrics.perceptual import PERCEPTUAL
from bench.scoring.metrics.ssim import SSIM_GAUSS11
from reports.scores.training_mse import MSE_TRAINING

MEASURES: Mapping[str, Measure] = ChainMap[str, Any](METRICS, PERCEPTUAL, COSTS, {MSE_TRAINING.id: MSE_TRAINING})
"""A view of all declarations: of images, of sets of images, of networks and of trainings."""
PSNR, SSIM = PSNR_RGB8.id, SSIM_GAUSS11.id
"""The metrics that figures show, and by which runs are ordered."""


def is_cost(metric_id: str) -> bool:
    """Return whether a measure is of a run and not of its images: it may have a size, but no input, scene or mask.

    >>> is_cost("seconds"), is_cost("psnr-rgb8")
    (True, False)
    """
    return isinstance(MEASURES.get(metric_id), Cost)


def overview_metrics() -> list[str]:
    """Return the ids of the measures that an overview shows, in the order of its columns.

    >>> overview_metrics()[:3]
    ['psnr-rgb8', 'psnr-rgb8-hole', 'psnr-kohler']
    """
    places = {measure.id: measure.overview for measure in MEASURES.values() if measure.overview is not None}
    return sorted(places, key=lambda metric_id: (places[metric_id], metric_id))


def axis_name(metric_id: str) -> str:
    """Return the name of a figure's axis: the title and the unit.

    >>> axis_name("psnr-rgb8"), axis_name("ssim-gauss11")
    ('PSNR (dB)', 'SSIM')
    """
    measure = MEASURES[metric_id]
    return f"{measure.title} ({measure.unit})" if measure.unit else measure.title
