"""The axes of charts: ranges, ticks and the pixels of values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

MAX_TICKS = 7
"""The most ticks of an axis."""


@dataclass(frozen=True)
class Axis:
    """One axis of a chart."""

    name: str
    """What it measures, with the unit."""
    low: float
    """The value at its beginning."""
    high: float
    """The value at its end."""
    length: float
    """Pixels."""
    log: bool = False
    """Whether it is logarithmic; then `low` is positive."""
    ticks: list[float] = field(default_factory=list)
    """The values that are labelled."""

    def place(self, values: np.ndarray) -> np.ndarray:
        """Pixels from the beginning of the axis.

        >>> Axis("x", 0.0, 10.0, 200.0).place(np.array([0.0, 5.0])).tolist()
        [0.0, 100.0]
        """
        if self.log:
            return (np.log10(values) - math.log10(self.low)) / math.log10(self.high / self.low) * self.length
        return (np.asarray(values, float) - self.low) / (self.high - self.low) * self.length


def linear_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """At most MAX_TICKS round numbers from low to high: multiples of 1, 2 or 5 times a power of ten.

    Args:
        whole: whole numbers only.

    >>> linear_ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 12) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: all digits over few decades, then 1, 2 and 5, then powers of ten only.

    >>> log_ticks(1, 9)
    [1.0, 2.0, 5.0]
    """
    decades = math.log10(high / low)
    digits = range(1, 10) if decades < 0.8 else (1, 2, 5) if decades < 2.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return ticks[:: math.ceil(len(ticks) / MAX_TICKS)] if len(digits) == 1 else ticks


def axis_for(
    name: str, values: Iterable[np.ndarray], length: float, *, log: bool = False, whole: bool = False, margin: float
) -> Axis:
    """Make an axis that holds all values.

    Args:
        values: arrays of any length; values that are not finite are ignored.
        length: pixels.
        log: logarithmic, unless a value is zero or negative.
        whole: ticks are whole numbers.
        margin: room on both sides, as a share of the range.
    """
    every = np.concatenate([np.asarray(array, float) for array in values])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    log = log and low > 0
    if log:
        room = (high / low) ** margin if high > low else 1.5
        low, high = low / room, high * room
        return Axis(name, low, high, length, True, log_ticks(low, high))
    room = margin * (high - low) or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    low, high = low - room, high + room
    return Axis(name, low, high, length, ticks=linear_ticks(low, high, whole))
