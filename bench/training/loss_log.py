"""Which losses a run keeps, how the tracker gets them, and the file that they are written to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bench.tracking.store import Point

KEPT_STEPS = 5000
"""About how many steps' losses a run keeps: every step's of a short run, evenly spaced ones of a long run."""


class KeptLoss(NamedTuple):
    """One loss of one step: a row of the run's `losses.parquet`."""

    step: int
    """The step over all phases, from 0."""
    phase: str
    """The name of the phase."""
    player: str
    """The player whose loss it is."""
    name: str
    """The loss; "total" is the weighted sum of the player's losses."""
    value: float
    """Unweighted, but for the total."""
    seconds: float
    """Training time up to this step, over all attempts."""


@dataclass
class LossLog:
    """The losses that a run keeps."""

    history: list[KeptLoss] = field(default_factory=list)
    """All of them, in order."""
    unsent: list[Point] = field(default_factory=list)
    """Those that the tracker may not have yet."""

    def add(self, step: int, phase: str, losses: Mapping[tuple[str, str], float], seconds: float) -> None:
        """Keep the losses of a step.

        Args:
            step: over all phases, from 0.
            phase: its name.
            losses: by player and name.
            seconds: training time up to this step.
        """
        now = int(time.time() * 1000)
        for (player, name), value in losses.items():
            self.history.append(KeptLoss(step, phase, player, name, value, seconds))
            self.unsent.append((f"loss.{player}.{name}", value, step, now))

    def send(self, log: Callable[[list[Point]], None]) -> None:
        """Give the tracker what it may not have yet."""
        log(self.unsent)
        self.unsent = []


def is_kept(step: int, total_steps: int) -> bool:
    """Return whether the losses of a step are kept; those of the last step always are.

    >>> [step for step in range(12_001) if is_kept(step, 12_001)][-3:]
    [11996, 11998, 12000]
    """
    return step % max(1, total_steps // KEPT_STEPS) == 0 or step + 1 == total_steps


def write_losses(path: Path, history: Sequence[KeptLoss]) -> None:
    """Write the kept losses of a run as a Parquet table, one row per loss and step."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = zip(*history, strict=True) if history else [[] for _ in KeptLoss._fields]
    pq.write_table(pa.table(dict(zip(KeptLoss._fields, map(list, columns), strict=True))), path)
