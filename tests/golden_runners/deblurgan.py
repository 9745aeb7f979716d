"""The golden cases of DeblurGAN, computed by our networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from case import Case

from methods.deblurgan import Critic, Generator, method, signed


def generator(case: Case) -> dict[str, np.ndarray]:
    """The restored image in the authors' range, and the residual that was added."""
    arguments = case.about["arguments"]
    blocks = int(arguments["which_model_netG"].removeprefix("resnet_").removesuffix("blocks"))
    network = Generator(arguments["ngf"], blocks).eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    network.load_state_dict(method.reference["generator"](state))
    image = torch.from_numpy(case.inputs["image"])
    with torch.no_grad():
        deblurred, residual = signed(network((image + 1) / 2)), network.residual(image)
    return {"deblurred": deblurred.numpy(), "residual": residual.numpy()}


def critic(case: Case) -> dict[str, np.ndarray]:
    """The map of scores."""
    network = Critic(case.about["arguments"]["ndf"]).eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    network.load_state_dict(method.reference["critic"](state))
    with torch.no_grad():
        return {"score": network(torch.from_numpy(case.inputs["image"])).numpy()}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {
    "deblurgan": generator,
    "deblurgan_discriminator": critic,
}
