"""Pictures and a network for tests of scoring, and the scores of images by what tells them apart."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

KEYS = ["image", "input", "mask_kind", "mask_band", "metric"]


def image_values(frame: pd.DataFrame) -> pd.Series:
    """The measured values of images by what tells them apart."""
    return frame[frame["image"] != ""].set_index(KEYS)["value"].sort_index()


def picture(height: int, width: int) -> torch.Tensor:
    """Smooth waves and a little noise, (1, 3, H, W) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([0.5 + 0.3 * torch.sin(x / (9 + c) + y / 13) for c in range(3)])[None]
    return (waves + 0.1 * torch.rand(1, 3, height, width)).clamp(0, 1)


class Identity(nn.Module):
    """Gives what it gets, and keeps the sizes it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append((x.shape[-2], x.shape[-1]))
        return x
