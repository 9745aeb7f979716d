"""Golden cases of DPDNet: the authors' Keras network and its single-image form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.dpdnet import DPDNet, method

if TYPE_CHECKING:
    from collections.abc import Callable

    from case import Case


def run(case: Case) -> dict[str, np.ndarray]:
    """Load the authors' weights as `restore` would and compute `output` and `features`, both (N, H, W, channels).

    The case's colours are BGR, as the authors' network sees them; ours takes and gives RGB.
    """
    state = {name: torch.from_numpy(array) for name, array in case.state.items()}
    views = torch.from_numpy(case.inputs["input"]).split(3, dim=1)
    left, right = views[0].flip(1), views[-1].flip(1)
    channels = next(iter(case.state.values())).shape[-1]
    network = DPDNet(len(views), channels, case.about["arguments"]["dropout"]).eval()
    network.load_state_dict(method.reference["network"](state))
    with torch.no_grad():
        features = network.features(left, right)
        output = network(left, right).flip(1)
    shown = case.outputs["features"].shape[-1]
    return {
        "output": output.permute(0, 2, 3, 1).numpy(),
        "features": features[:, :shown].permute(0, 2, 3, 1).numpy(),
    }


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {"dpdnet": run, "dpdnet-single": run}
