"""Networks and batches on a device: precision, memory layout, and the gradients of several processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from bench.contracts import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""accelerate's names of a recipe's precisions."""

LAUNCH_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
)  # fmt: skip
"""Variables by which torchrun tells a process of its place among the others."""
AGENT_SECONDS = 10.0
"""Seconds in which torchrun must answer the processes that it has started."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def make_accelerator(precision: str) -> Accelerator:
    """Return accelerate's view of this process: its device, its precision, and the processes that train with it.

    Args:
        precision: of the recipe.

    Raises:
        UserError: the environment has the variables of a launcher that did not start this process.
    """
    from accelerate import Accelerator

    check_launcher(os.environ)
    # Without `cpu` accelerate takes each process that torchrun starts on a machine without a GPU for the only one.
    return Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=MIXED_PRECISION[precision])


def check_launcher(environment: Mapping[str, str]) -> None:
    """Check that torchrun started this process if variables such as WORLD_SIZE say that it is one of several.

    A process would wait for the others for ever where the variables are left over from another job.

    Raises:
        UserError: torchrun did not start it, or does not run any more.
    """
    if environment.get("WORLD_SIZE", "1") == "1" and environment.get("LOCAL_RANK", "-1") == "-1":
        return
    names = [name for name in LAUNCH_VARIABLES if name in environment]
    listed = ", ".join(f"{name}={environment[name]}" for name in names)
    if "TORCHELASTIC_RUN_ID" not in environment:
        problem = "torchrun did not start this process"
    elif environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and not _answers(environment):
        problem = "no torchrun answers there"
    else:
        return
    raise UserError(
        f"the environment has {listed}, but {problem}; are they left over from another job? Remove them (unset "
        f"{' '.join(names)}), or start several processes with: torchrun --nproc-per-node N -m bench train RUN"
    )


def _answers(environment: Mapping[str, str]) -> bool:
    """Return whether torchrun listens at the address that it gives to its processes."""
    try:
        address = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        with socket.create_connection(address, timeout=AGENT_SECONDS):
            return True
    except (OSError, KeyError, ValueError):
        return False


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
