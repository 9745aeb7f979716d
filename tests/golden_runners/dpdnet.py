"""The golden cases of DPDNet, the authors' Keras network and its single-image form, computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.dpdnet import DPDNet, method
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def run(case: Case) -> dict[str, np.ndarray]:
    """Compute `output` and `features`, both (N, H, W, channels), from imported weights.

    The colours of the case are BGR, as in the authors' network; those of ours are RGB.
    """
    state = tensors(case.state)
    views = torch.from_numpy(case.inputs["input"]).split(3, dim=1)
    left, right = views[0].flip(1), views[-1].flip(1)
    channels = next(iter(case.state.values())).shape[-1]
    network = DPDNet(len(views), channels, case.about["arguments"]["dropout"]).eval()
    network.load_state_dict(method.reference["network"](state))
    with torch.no_grad():
        features = network.features(left, right)
        output = network(left, right).flip(1)
    stored = case.outputs["features"].shape[-1]
    return {
        "output": output.permute(0, 2, 3, 1).numpy(),
        "features": features[:, :stored].permute(0, 2, 3, 1).numpy(),
    }


RUNNERS: Runners = {"dpdnet": run, "dpdnet-single": run}
