"""Small networks and batches for tests of DFFNet, and stand-ins for its stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.dffnet import (
    method,
)
from methods.families.fusion import Fusion

STAGES = ("stage_one", "stage_two", "stage_three")


def tiny(**arguments) -> nn.ModuleDict:
    """Narrow networks with the same start each time."""
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**(method.tiny | arguments)))


def blurred_holes(count: int = 2, size: int = 32, progress: float = 0.25) -> dict[str, Tensor]:
    """Smooth pictures, their blurred versions, and a hole of a quarter of the size at an even place."""
    torch.manual_seed(1)
    target = F.interpolate(torch.rand(count, 3, size // 8, size // 8), size, mode="bicubic").clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(target, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    x = blurred * (1 - mask)
    return {"x": x, "mask": mask, "target": target, "blurred": blurred, "progress": torch.tensor(progress)}


class Brighter(nn.Module):
    """In place of stage one: adds 0.1 everywhere."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x + 0.1]


class Fill(nn.Module):
    """In place of stage two: 0.7 everywhere, 0.2 in the coarse image; keeps its input."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.given = x
        return torch.full_like(x, 0.7), torch.full_like(x, 0.2)


class Keep(Fusion):
    """In place of stage three: keeps its inputs and returns R, the refined image."""

    def __init__(self):
        super().__init__(4, progressive=False)

    def forward(self, blurred, refined, mask, edges=None, alpha=1.0):
        self.given = {"blurred": blurred, "refined": refined, "mask": mask, "edges": edges, "alpha": alpha}
        return refined, mask
