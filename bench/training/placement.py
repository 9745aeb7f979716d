"""How networks are placed on a device: memory layout, precision, and gradients of several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator


M = TypeVar("M", bound=nn.Module)
PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def channels_last(module: M) -> M:
    """Lay kernels of two-dimensional convolutions out channels-last; three-dimensional ones have no such layout."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Average gradients over the processes, as one tensor: this serves any number of networks and players."""
    if accelerator.num_processes == 1:
        return
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    mean = accelerator.reduce(torch.cat([grad.reshape(-1) for grad in grads]), "mean")
    for parameter, piece in zip(parameters, mean.split([grad.numel() for grad in grads]), strict=True):
        parameter.grad = piece.view_as(parameter).clone()
