"""The golden cases, computed by our code: each module has RUNNERS, the function of each case by the case's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from case import Case

    Runners = dict[str, Callable[[Case], dict[str, np.ndarray]]]
    """A function that returns our outputs under the case's names, by the case's name."""


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Turn arrays into tensors of the same names."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
