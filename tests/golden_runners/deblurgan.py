"""The golden cases of DeblurGAN, computed by our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.deblurgan import Critic, Generator, method, signed
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def generator(case: Case) -> dict[str, np.ndarray]:
    """Compute the restored image in the authors' range, and the residual that is added to the input."""
    arguments = case.about["arguments"]
    blocks = int(arguments["which_model_netG"].removeprefix("resnet_").removesuffix("blocks"))
    network = Generator(arguments["ngf"], blocks).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["generator"](state))
    image = torch.from_numpy(case.inputs["image"])
    with torch.no_grad():
        deblurred, residual = signed(network((image + 1) / 2)), network.residual(image)
    return {"deblurred": deblurred.numpy(), "residual": residual.numpy()}


def critic(case: Case) -> dict[str, np.ndarray]:
    """Compute the map of scores."""
    network = Critic(case.about["arguments"]["ndf"]).eval()
    state = tensors(case.state)
    network.load_state_dict(method.reference["critic"](state))
    with torch.no_grad():
        return {"score": network(torch.from_numpy(case.inputs["image"])).numpy()}


RUNNERS: Runners = {
    "deblurgan": generator,
    "deblurgan_discriminator": critic,
}
