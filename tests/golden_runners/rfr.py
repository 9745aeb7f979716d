"""The golden case of RFR, computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.families.rfr import RFR
from methods.rfr import method
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def completed(case: Case) -> dict[str, np.ndarray]:
    """Compute the completed image, not composited. In the case's mask 1 is a known pixel."""
    channels, _, size, _ = case.state["Pconv2.weight"].shape
    network = RFR(channels, kernel_size=size).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["network"](state))
    with torch.no_grad():
        output = network(torch.from_numpy(case.inputs["input"]), 1 - torch.from_numpy(case.inputs["mask"]))
    return {"output": output.numpy()}


RUNNERS: Runners = {"rfr": completed}
