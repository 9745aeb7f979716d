"""Networks and batches on a device: precision, memory layout, and the gradients of several processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator

MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""accelerate's names of a recipe's precisions."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def make_accelerator(precision: str) -> Accelerator:
    """Return accelerate's view of this process: its device, its precision, and the processes that train with it.

    Args:
        precision: of the recipe.
    """
    from accelerate import Accelerator

    # Without `cpu` accelerate takes each process that torchrun starts on a machine without a GPU for the only one.
    return Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=MIXED_PRECISION[precision])


def channels_last(module: NetworkT) -> NetworkT:
    """Store the kernels of two-dimensional convolutions channels-last; this layout has no three-dimensional form."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def to_device(batch: Mapping[str, Tensor], progress: float, device: torch.device) -> dict[str, Tensor]:
    """Move a batch to the device and add `progress`.

    Args:
        batch: tensors by name.
        progress: the share of the phase's steps that are done, in [0, 1).
        device: of the networks.
    """
    batch = {**batch, "progress": torch.tensor(progress, dtype=torch.float32)}
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def share_of_batch(accelerator: Accelerator, batch_size: int) -> slice:
    """Return the part of each batch that this process trains on; `batch_size` is a multiple of their number."""
    size = batch_size // accelerator.num_processes
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Average gradients over the processes, as one tensor: this serves any number of networks and players."""
    if accelerator.num_processes == 1:
        return
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    mean = accelerator.reduce(torch.cat([grad.reshape(-1) for grad in grads]), "mean")
    for parameter, piece in zip(parameters, mean.split([grad.numel() for grad in grads]), strict=True):
        parameter.grad = piece.view_as(parameter).clone()
