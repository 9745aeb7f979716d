"""The golden cases of blocks of RefineNet and Light-Weight RefineNet, computed by MRFNet's blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from methods.layers.refinenet import CRP, RCU

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def without_biases(module: nn.Module) -> nn.Module:
    """Set all biases to 0: some convolutions of RefineNet have none where ours have one."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return module


def load(module: nn.Module, case: Case, names: dict[str, str]) -> None:
    """Load the tensors of the case, `names` from ours to theirs; all other tensors of the module must be biases."""
    state = {ours: torch.from_numpy(case.state[theirs]) for ours, theirs in names.items()}
    rest = without_biases(module).load_state_dict(state, strict=False)
    assert not rest.unexpected_keys
    assert all(name.endswith("bias") for name in rest.missing_keys)


def chained_pooling(case: Case) -> dict[str, np.ndarray]:
    """Compute the chained residual pooling of the light-weight network, with 1x1 convolutions."""
    arguments = case.about["arguments"]
    pool = CRP(arguments["in_planes"], 1, arguments["n_stages"])
    load(pool, case, {f"stages.{i}.weight": f"{i + 1}_outvar_dimred.weight" for i in range(arguments["n_stages"])})
    with torch.no_grad():
        return {"features_out": pool(torch.from_numpy(case.inputs["features"])).numpy()}


def residual_units(case: Case) -> dict[str, np.ndarray]:
    """Compute the residual convolution units, one after the other."""
    arguments = case.about["arguments"]
    features = torch.from_numpy(case.inputs["features"])
    for unit in range(1, arguments["n_blocks"] + 1):
        rcu = RCU(arguments["in_planes"], light=False)
        names = {
            "convs.0.weight": f"{unit}_conv.weight",
            "convs.0.bias": f"{unit}_conv.bias",
            "convs.1.weight": f"{unit}_conv_relu_varout_dimred.weight",
        }
        load(rcu, case, names)
        with torch.no_grad():
            features = rcu(features)
    return {"features_out": features.numpy()}


RUNNERS: Runners = {
    "refinenet_lw_crp4": chained_pooling,
    "refinenet_rcu2": residual_units,
}
