"""The golden cases of contextual attention and of DFFNet's inpainting stage, computed by our networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from case import Case
from torch import Tensor

from methods.dffnet_inpaint import method
from methods.families.gated_inpainting import InpaintingNet
from methods.layers.contextual_attention import contextual_attention


def nchw(array: np.ndarray) -> Tensor:
    """An array (N, H, W, C) as a tensor (N, C, H, W)."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def attention(case: Case) -> dict[str, np.ndarray]:
    """The rebuilt features with and without the fusion of scores."""
    inputs = [nchw(case.inputs[name]) for name in ("foreground", "background", "mask")]
    outputs = {"output": contextual_attention(*inputs), "output_no_fuse": contextual_attention(*inputs, fuse=False)}
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}


def network(case: Case) -> dict[str, np.ndarray]:
    """Both completed images in [-1, 1]; the code's channels are ours in reverse."""
    modules = 3 if any(name.startswith("inpaint_net/1xconv") for name in case.state) else 1
    ours = InpaintingNet(case.about["arguments"]["cnum"], modules, "contextual").eval()
    state = {name: torch.from_numpy(value) for name, value in case.state.items()}
    ours.load_state_dict(method.reference["generator"](state))
    mask = nchw(case.inputs["mask"])
    x = (nchw(case.inputs["image"]).flip(1) + 1) / 2 * (1 - mask)
    with torch.no_grad():
        x2, x1 = ours(x, mask)
    images = {"x1": x1, "x2": x2}
    return {name: (2 * image - 1).flip(1).permute(0, 2, 3, 1).numpy() for name, image in images.items()}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {
    "ca-attention": attention,
    "dffnet-inpaint": network,
    "dffnet-inpaint-1101": network,
}
