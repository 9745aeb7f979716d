"""The golden case of DMPHN (1-2-4-8), computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.dmphn import DMPHN, method
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


OUTPUTS = ("deblurred", "residual_level2", "residual_level3", "residual_level4")


def dmphn(case: Case) -> dict[str, np.ndarray]:
    """Compute the output of each level's decoder for an image in [-0.5, 0.5], in inference mode."""
    network = DMPHN(num_levels=case.about["arguments"]["levels"].count("-") + 1).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["network"](state))
    with torch.inference_mode():
        levels = network.levels(torch.from_numpy(case.inputs["image"]))
    return {name: level.numpy() for name, level in zip(OUTPUTS, levels, strict=True)}


RUNNERS: Runners = {"dmphn_1_2_4_8": dmphn}
