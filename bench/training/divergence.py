"""When a training has diverged: a loss that is not finite, or far above its first value for many updates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.contracts import UserError

DIVERGENCE_FACTOR = 1e6
"""A player's total loss above this many times max(|its first total|, 1) is too high."""
DIVERGENCE_PATIENCE = 20
"""Consecutive updates with a total that is too high after which a training is stopped."""


class Diverged(UserError):
    """A loss, or a restored image, that is not finite, or a loss far above its first value."""


@dataclass
class LossWatch:
    """Watches the losses of every player within one phase."""

    first_totals: dict[str, float] = field(default_factory=dict)
    """Each player's total loss at its first update in the phase; a checkpoint keeps it."""
    high_updates: dict[str, int] = field(default_factory=dict)
    """For how many consecutive updates each player's total has been too high; a checkpoint is written only at 0."""

    @property
    def suspicious(self) -> bool:
        """Whether a total was too high at its last update; no checkpoint is written then."""
        return any(self.high_updates.values())

    def problem(self, player: str, losses: Mapping[str, float]) -> str:
        """Note the losses of an update and return what is wrong with them, "" where nothing is.

        Args:
            player: its name.
            losses: its losses by name, and their weighted sum as "total".

        >>> watch = LossWatch()
        >>> watch.problem("generator", {"l1": 0.5, "total": 5.0})
        ''
        >>> watch.problem("generator", {"l1": float("nan"), "total": float("nan")})
        'not finite'
        """
        total = losses["total"]
        first = self.first_totals.setdefault(player, total)
        too_high = abs(total) > DIVERGENCE_FACTOR * max(abs(first), 1)
        self.high_updates[player] = self.high_updates.get(player, 0) + 1 if too_high else 0
        if not all(math.isfinite(value) for value in losses.values()):
            return "not finite"
        return "far above its first value" if self.high_updates[player] >= DIVERGENCE_PATIENCE else ""
