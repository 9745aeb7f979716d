"""The golden case of RN, computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.rn import Generator, method
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def generator(case: Case) -> dict[str, np.ndarray]:
    """Compute the completed images, both in one batch, whose statistics they share."""
    arguments = case.about["arguments"]
    channels = case.state["encoder_conv1.weight"].shape[0]
    network = Generator(channels, arguments["residual_blocks"], arguments["threshold"]).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["generator"](state))
    with torch.no_grad():
        output = network(torch.from_numpy(case.inputs["image"]), torch.from_numpy(case.inputs["mask"]))
    return {"output": output.numpy()}


RUNNERS: Runners = {"rn": generator}
