"""The golden cases of contextual attention and of DFFNet's inpainting stage, computed by our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from methods.dffnet_inpaint import method
from methods.families.gated_inpainting import InpaintingNet
from methods.layers.contextual_attention import contextual_attention
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def nchw(array: np.ndarray) -> Tensor:
    """Turn an array (N, H, W, C) into a tensor (N, C, H, W)."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def attention(case: Case) -> dict[str, np.ndarray]:
    """Compute the rebuilt features with and without the fusion of scores."""
    inputs = [nchw(case.inputs[name]) for name in ("foreground", "background", "mask")]
    outputs = {"output": contextual_attention(*inputs), "output_no_fuse": contextual_attention(*inputs, fuse=False)}
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}


def network(case: Case) -> dict[str, np.ndarray]:
    """Compute both completed images, BGR in [-1, 1]."""
    modules = 3 if any(name.startswith("inpaint_net/1xconv") for name in case.state) else 1
    ours = InpaintingNet(case.about["arguments"]["cnum"], modules, "contextual").eval()
    state = tensors(case.state)
    ours.load_state_dict(method.reference["generator"](state))
    mask = nchw(case.inputs["mask"])
    x = (nchw(case.inputs["image"]).flip(1) + 1) / 2 * (1 - mask)
    with torch.no_grad():
        x2, x1 = ours(x, mask)
    images = {"x1": x1, "x2": x2}
    return {name: (2 * image - 1).flip(1).permute(0, 2, 3, 1).numpy() for name, image in images.items()}


RUNNERS: Runners = {
    "ca-attention": attention,
    "dffnet-inpaint": network,
    "dffnet-inpaint-1101": network,
}
