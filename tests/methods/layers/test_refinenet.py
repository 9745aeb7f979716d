"""The blocks of RefineNet: the ways to pool give the same; the golden cases compare the blocks with the authors'."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from methods.layers.refinenet import max_pool5


def test_pooling_by_rows_and_columns_is_pooling_by_windows() -> None:
    x = torch.randn(2, 5, 9, 13, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool2d(x, 5, stride=1, padding=2)
    assert torch.equal(max_pool5(x), expected)
    with torch.inference_mode():
        assert torch.equal(max_pool5(x), expected)
        last = max_pool5(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(last, expected) and last.is_contiguous(memory_format=torch.channels_last)
