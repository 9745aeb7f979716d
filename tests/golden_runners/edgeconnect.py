"""The golden cases of EdgeConnect, computed by our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.edgeconnect import method
from methods.families.edge_model import Generator
from methods.layers.patch_critic import PatchCritic
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def generator(case: Case) -> dict[str, np.ndarray]:
    """Compute the output of the edge generator, which has spectral norm, or of the colour generator."""
    arguments = case.about["arguments"]
    edges = "use_spectral_norm" in arguments
    channels = case.state["encoder.1.bias"].shape[0]
    network = Generator(edges, channels, arguments["residual_blocks"]).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["edge_generator" if edges else "generator"](state))
    with torch.no_grad():
        return {"output": network(torch.from_numpy(case.inputs["input"])).numpy()}


def critic(case: Case) -> dict[str, np.ndarray]:
    """Compute the five features, and the sigmoid of the last, which in our code is part of the losses."""
    network = PatchCritic(case.about["arguments"]["in_channels"], case.state["conv1.0.weight_orig"].shape[0]).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["critic"](state))
    with torch.no_grad():
        features = network(torch.from_numpy(case.inputs["input"]))
    outputs = {f"feature{i}": feature.numpy() for i, feature in enumerate(features, start=1)}
    return outputs | {"output": torch.sigmoid(features[-1]).numpy()}


RUNNERS: Runners = {
    "edgeconnect-edge": generator,
    "edgeconnect-inpaint": generator,
    "edgeconnect-discriminator": critic,
}
