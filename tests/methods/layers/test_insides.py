"""Maps of figures: the range that they are stretched to."""

from __future__ import annotations

import torch

from methods.layers.insides import to_unit_range


def test_a_constant_map_becomes_0() -> None:
    assert to_unit_range(torch.full((2, 2), 7.0)).unique().tolist() == [0.0]
