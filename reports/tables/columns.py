"""Columns of measured values, as the metrics declare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.scores.measures import MEASURES
from reports.tables.model import Head


def metric_heads(metrics: Sequence[str], condition: Mapping[str, str]) -> list[Head]:
    """Return one column per metric, all under one condition. Metrics of equal titles are told apart by their ids.

    >>> [head.heading for head in metric_heads(["psnr-rgb8", "ssim-gauss11", "ssim-uniform7"], {})]
    ['PSNR ↑ (dB)', 'SSIM gauss11 ↑', 'SSIM uniform7 ↑']
    """
    measures = [MEASURES[metric] for metric in metrics]
    heads = [
        Head(measure.id, measure.title, "", measure.unit or "1", measure.better, measure.id, condition)
        for measure in measures
    ]
    names = [head.name for head in heads]
    return [
        replace(head, name=f"{head.name} {head.metric.partition('-')[2]}") if names.count(head.name) > 1 else head
        for head in heads
    ]


def conventions_of(heads: Sequence[Head]) -> tuple[str, ...]:
    """Return what each metric of some columns means: its id and its protocol.

    >>> conventions_of(metric_heads(["mae"], {}))
    ('mae: mean absolute error over pixels and channels, images in [0, 1]',)
    """
    return tuple(f"{name}: {MEASURES[name].protocol}" for name in dict.fromkeys(head.metric for head in heads))
