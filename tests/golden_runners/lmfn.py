"""The golden cases of LMFN and of its block RFDB, computed by our network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from methods.layers.rfdb import RFDB, rename_block
from methods.lmfn import LMFN, PEAK, REPOSITORY, method
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def network(case: Case) -> dict[str, np.ndarray]:
    """Compute the restored image, in [0, 255], and the maps inside the network."""
    arguments = case.about["arguments"]
    lmfn = LMFN(block_channels=arguments["nf"], num_blocks=arguments["num_modules"], **REPOSITORY).eval()
    lmfn.load_state_dict(method.reference["network"](tensors(case.state)))
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: outputs.__setitem__(name, output.numpy()))

    keep("encoded", lmfn.encoder)
    for index, block in enumerate(lmfn.blocks, 1):
        keep(f"block{index}", block)
    keep("layer_attention", lmfn.layer_attention)
    keep("channel_attention", lmfn.channel_attention)
    with torch.no_grad():
        outputs["deblurred"] = (PEAK * lmfn(torch.from_numpy(case.inputs["image"]) / PEAK)).numpy()
    return {name: outputs[name] for name in case.outputs}


def block(case: Case) -> dict[str, np.ndarray]:
    """Compute the output of one RFDB."""
    network = RFDB(case.about["arguments"]["in_channels"]).eval()
    network.load_state_dict({rename_block(name): tensor for name, tensor in tensors(case.state).items()})
    with torch.no_grad():
        return {"features_out": network(torch.from_numpy(case.inputs["features"])).numpy()}


RUNNERS: Runners = {"lmfn_lfdn_repository": network, "rfdb_50": block}
