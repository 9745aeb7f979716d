"""The golden cases of EdgeConnect, computed by our networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from case import Case

from methods.edgeconnect import method
from methods.families.edge_model import Generator
from methods.layers.patch_critic import PatchCritic


def generator(case: Case) -> dict[str, np.ndarray]:
    """The output of either generator; the colours' is the one without spectral norm."""
    arguments = case.about["arguments"]
    edges = "use_spectral_norm" in arguments
    channels = case.state["encoder.1.bias"].shape[0]
    network = Generator(edges, channels, arguments["residual_blocks"]).eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    network.load_state_dict(method.reference["edge_generator" if edges else "generator"](state))
    with torch.no_grad():
        return {"output": network(torch.from_numpy(case.inputs["input"])).numpy()}


def critic(case: Case) -> dict[str, np.ndarray]:
    """The five features, and the sigmoid that our critic leaves to its losses."""
    network = PatchCritic(case.about["arguments"]["in_channels"], case.state["conv1.0.weight_orig"].shape[0]).eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    network.load_state_dict(method.reference["critic"](state))
    with torch.no_grad():
        features = network(torch.from_numpy(case.inputs["input"]))
    outputs = {f"feature{i}": feature.numpy() for i, feature in enumerate(features, start=1)}
    return outputs | {"output": torch.sigmoid(features[-1]).numpy()}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {
    "edgeconnect-edge": generator,
    "edgeconnect-inpaint": generator,
    "edgeconnect-discriminator": critic,
}
