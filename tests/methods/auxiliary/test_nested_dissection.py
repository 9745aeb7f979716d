"""The elimination order of a grid: its boxes cover any size, and it eliminates every vertex once."""

from __future__ import annotations

import numpy as np
import pytest

from methods.auxiliary.nested_dissection import box_side_and_count, plan_dissection


def test_the_smallest_boxes_cover_every_size_with_little_to_spare() -> None:
    for length in range(8, 700):
        side, count = box_side_and_count(length)
        assert length <= side * count < 1.27 * length + 1
        assert count & (count - 1) == 0


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (100, 37)])
def test_every_vertex_is_eliminated_once(size) -> None:
    plan = plan_dissection(*size)
    separators = (merge.separator.ravel() for merge in plan.merges)
    eliminated = np.concatenate([plan.interior.ravel(), *separators, plan.last])
    assert len(np.unique(eliminated)) == len(eliminated)
    image = np.arange(plan.shape[0] * plan.shape[1]).reshape(plan.shape)[1 : size[0] + 1, 1 : size[1] + 1]
    assert np.isin(image, eliminated).all()
