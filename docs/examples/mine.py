"""Mine: a small residual CNN for deblurring, the example of docs/add-a-method.md."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.contracts import supervised
from methods.losses.pixel import charbonnier


class Mine(nn.Module):
    """The blurred image plus a learned residual.

    Args:
        channels: feature width.
    """

    def __init__(self, channels: int = 32):
        super().__init__()
        self.head = nn.Conv2d(3, channels, 5, padding=2)
        self.body = nn.Conv2d(channels, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (N, 3, H, W), RGB in [0, 1]; the result has the same shape and is not clipped."""
        return x + self.tail(torch.relu(self.body(torch.relu(self.head(x)))))


method = supervised("deblur", Mine, charbonnier, tiny={"channels": 4}, margin=4)
