"""What a metric declares: its id, title, unit, direction, decimals and protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from bench.contracts import DataError

Image = NDArray[Any]
"""uint8, uint16 or floats, (H, W, 3) or (H, W)."""
Floats = NDArray[Any]
"""float64 of the same shapes; OpenCV's own types do not tell."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a table must know of a number.

    Args:
        id: names the convention completely; a table prints it.
        title: a column's head.
        version: rises when the same images would give another value.
        unit: "dB", "%", "s", "" for a plain number, ...
        better: which direction wins.
        decimals: how many a table prints.
        protocol: one sentence on how it is measured and who measures so.
    """

    id: str
    title: str
    version: int = 1
    unit: str
    better: Literal["higher", "lower"]
    decimals: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A measure of one restored image.

    Args:
        compute: (pred, target, mask=None) to the value. Raises DataError for images that cannot be compared.
        region: the pixels that count; a metric of the hole needs a mask.
        many_targets: the truth is many reference frames and the best one counts; `compute` takes one of them.
    """

    compute: Callable[..., float]
    region: Literal["image", "hole"] = "image"
    many_targets: bool = False


@dataclass(frozen=True)
class NotMeasured:
    """A score that could not be taken.

    Args:
        metric: its id.
        reason: why, and what to do where something can be done.
    """

    metric: str
    reason: str


class Undefined(DataError):
    """Images that can be compared, but for which a metric's formula has no value."""
