"""Spectral normalisation against torch's, and its largest singular value."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from methods.layers.spectral_norm import spectral_norm


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_the_largest_singular_value_becomes_1_and_torch_agrees(kind: type[nn.Conv2d]) -> None:
    conv, theirs = kind(5, 7, 3), kind(5, 7, 3)
    original = conv.weight.detach().clone()
    theirs.load_state_dict(conv.state_dict())
    parametrizations.spectral_norm(theirs)
    spectral_norm(conv)
    ours, other = conv.parametrizations.weight, theirs.parametrizations.weight
    other[0]._u.copy_(ours[0].u)  # the same start for both; no iteration in eval mode
    other[0]._v.copy_(ours[0].v)
    torch.testing.assert_close(conv.eval().weight, theirs.eval().weight)
    conv.train()
    for _ in range(200):
        _ = conv.weight
    rows = conv.eval().weight.transpose(0, 1 if isinstance(conv, nn.ConvTranspose2d) else 0).flatten(1)
    assert torch.linalg.matrix_norm(rows, 2).item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(ours.original, original)
