"""What our LMFN computes for the golden cases of its authors' network and of its block."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from methods.layers.rfdb import RFDB, rename_block
from methods.lmfn import LMFN, PEAK, REPOSITORY, method


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The same arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def network(case) -> dict[str, np.ndarray]:
    """The whole network and its inner maps; the case's images are in [0, 255], ours in [0, 1]."""
    arguments = case.about["arguments"]
    lmfn = LMFN(block_channels=arguments["nf"], num_blocks=arguments["num_modules"], **REPOSITORY).eval()
    lmfn.load_state_dict(method.reference["network"](tensors(case.state)))
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: seen.__setitem__(name, output.numpy()))

    keep("encoded", lmfn.encoder)
    for index, block in enumerate(lmfn.blocks, 1):
        keep(f"block{index}", block)
    keep("layer_attention", lmfn.layer_attention)
    keep("channel_attention", lmfn.channel_attention)
    with torch.no_grad():
        seen["deblurred"] = (PEAK * lmfn(torch.from_numpy(case.inputs["image"]) / PEAK)).numpy()
    return {name: seen[name] for name in case.outputs}


def block(case) -> dict[str, np.ndarray]:
    """One RFDB."""
    network = RFDB(case.about["arguments"]["in_channels"]).eval()
    network.load_state_dict({rename_block(name): tensor for name, tensor in tensors(case.state).items()})
    with torch.no_grad():
        return {"features_out": network(torch.from_numpy(case.inputs["features"])).numpy()}


RUNNERS = {"lmfn_lfdn_repository": network, "rfdb_50": block}
