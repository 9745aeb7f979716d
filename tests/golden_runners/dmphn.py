"""The golden case of DMPHN (1-2-4-8), computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.dmphn import DMPHN, method

if TYPE_CHECKING:
    from collections.abc import Callable

    from case import Case

OUTPUTS = ("deblurred", "residual_level2", "residual_level3", "residual_level4")


def dmphn(case: Case) -> dict[str, np.ndarray]:
    """What every level's decoder makes of the image in [-0.5, 0.5], as inference does it."""
    network = DMPHN(num_levels=case.about["arguments"]["levels"].count("-") + 1).eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    network.load_state_dict(method.reference["network"](state))
    with torch.inference_mode():
        levels = network.levels(torch.from_numpy(case.inputs["image"]))
    return {name: level.numpy() for name, level in zip(OUTPUTS, levels, strict=True)}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {"dmphn_1_2_4_8": dmphn}
