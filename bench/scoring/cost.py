"""Costs of a network: parameters, multiply-adds, time, memory, file size.

What is counted: the multiply-adds (MACs, half of what some papers call FLOPs) of convolutions, transposed convolutions
at their true cost, and linear layers; no biases, norms or activations. Products of two activations (attention) are a
separate number. The table of DMTNet counts the same way: Restormer's 4059.08 G at 1680x1120 leave the attention
products out. The tool thop, which others use, counts a transposed convolution by its output positions: stride^2 times
its true cost.

Torch is imported where it is used, so that a method without networks can be timed without it.
"""

from __future__ import annotations

import copy
import ctypes
import math
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import DataError
from bench.scoring.metrics.measure import Cost

if TYPE_CHECKING:
    from torch import Tensor, nn

    Restore = Callable[[Any, Mapping[str, Tensor]], object]
    """(networks, batch) to the restored image, as `Method.restore`."""

# Parameters and multiply-adds -----------------------------------------------------------------------------------------


PARAMS = Cost(
    id="params",
    title="parameters",
    unit="M",
    better="lower",
    decimals=3,
    protocol="parameters that restoring an image uses",
    overview=60,
    plotted=True,
)
PARAMS_TOTAL = Cost(
    id="params-total",
    title="all parameters",
    unit="M",
    better="lower",
    decimals=3,
    protocol="parameters of every network of the method",
    notes="Critics and unused branches count too.",
)
MACS = Cost(
    id="macs",
    title="multiply-adds",
    unit="G",
    better="lower",
    decimals=2,
    protocol="multiply-adds of convolutions and linear layers for one image of the size shown with the number, without "
    "attention products",
    notes="Transposed convolutions at their true cost; no biases, norms or activations.",
    overview=70,
    plotted=True,
)
MACS_ATTENTION = Cost(
    id="macs-attention",
    title="attention products",
    unit="G",
    better="lower",
    decimals=2,
    protocol="multiply-adds of attention products for one image of the size shown with the number",
    notes="Products of two activations.",
)


@dataclass(frozen=True)
class Work:
    """What restoring one image takes.

    Args:
        layers: multiply-adds of layers, that is of products with weights.
        attention: multiply-adds of products of two activations.
        parameters: learned values in use.
    """

    layers: int
    attention: int
    parameters: int


def parameters(module: nn.Module) -> int:
    """Return the number of learned values of a module, each shared one once. Those in use are `work(...).parameters`.

    >>> from torch import nn
    >>> parameters(nn.Conv2d(3, 4, kernel_size=3))  # 4 kernels of 3x3x3 and 4 biases
    112
    """
    return sum(value.numel() for value in module.parameters())


def work(restore: Restore, networks: nn.Module, shapes: Mapping[str, tuple[int, ...]], device: str = "meta") -> Work:
    """Count what one call of `restore` takes.

    Layers and attention are told apart by where operands come from. Whatever is computed from parameters and buffers
    alone (a reshaped, tied or normalised kernel) is a weight. A product or convolution with a weight is a layer; one of
    two activations, like contextual attention's convolution with patches of a feature, is attention. A parameter is
    in use when an operation reads it.

    >>> from torch import nn
    >>> layer = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    >>> work(lambda network, batch: network(batch["x"]), layer, {"x": (1, 3, 8, 8)})
    Work(layers=6912, attention=0, parameters=112)

    Args:
        restore: (networks, batch), as `Method.restore`; called once, in eval mode, without gradients.
        networks: not changed; a copy is counted.
        shapes: the batch's tensors by name, (N, C, H, W).
        device: "meta" computes no value, so that any size takes seconds and no memory; "cpu" for a network whose path
            depends on values (inputs are then 0.5 everywhere).
    """
    import torch

    copied = copy.deepcopy(networks).to(device).eval()
    batch = {name: torch.full(shape, 0.5, device=device) for name, shape in shapes.items()}
    counter = make_counter(copied)
    with torch.no_grad(), counter:
        restore(copied, batch)
    used = sum(value.numel() for value in copied.parameters() if key(value) in counter.used)
    return Work(counter.layers, counter.attention, used)


def key(tensor: Tensor) -> int:
    """Return what a tensor shares with all views of it: the address of its storage's record."""
    return tensor.untyped_storage()._cdata


def convolution_macs(result: Tensor, x: Tensor, kernel: Tensor, *rest: Any) -> int:
    """Positions times kernel values: output positions, or input positions for a transposed convolution.

    Args:
        rest: the further arguments of `aten.convolution`, of which the fifth tells whether it is transposed.
    """
    transposed = rest[4]
    return (x.numel() if transposed else result.numel()) * math.prod(kernel.shape[1:])


def product_macs(result: Tensor, x: Tensor, y: Tensor, *rest: Any) -> int:
    """(..., n, k) by (..., k, m): n m k."""
    return x.numel() * y.shape[-1]


def vector_product_macs(result: Tensor, x: Tensor, y: Tensor, *rest: Any) -> int:
    """(n, k) by (k), or (k) by (k)."""
    return x.numel()


def attention_macs(result: Any, query: Tensor, keys: Tensor, values: Tensor, *rest: Any) -> int:
    """Query by keys, and the softmax by values; (..., L, D), (..., S, D), (..., S, E)."""
    return query.numel() * keys.shape[-2] + math.prod(query.shape[:-1]) * keys.shape[-2] * values.shape[-1]


def counted_operations() -> dict[Any, tuple[Callable[..., int], tuple[int, ...]]]:
    """Return how each operation with multiply-adds is counted, and the places of its factors among the arguments."""
    import torch

    aten = torch.ops.aten
    return {
        aten.convolution: (convolution_macs, (0, 1)),
        aten.mm: (product_macs, (0, 1)),
        aten.bmm: (product_macs, (0, 1)),
        aten.addmm: (product_macs, (1, 2)),
        aten.baddbmm: (product_macs, (1, 2)),
        aten.mv: (vector_product_macs, (0, 1)),
        aten.addmv: (vector_product_macs, (1, 2)),
        aten.dot: (vector_product_macs, (0, 1)),
        aten._scaled_dot_product_flash_attention: (attention_macs, (0, 1, 2)),
        aten._scaled_dot_product_flash_attention_for_cpu: (attention_macs, (0, 1, 2)),
        aten._scaled_dot_product_efficient_attention: (attention_macs, (0, 1, 2)),
        aten._scaled_dot_product_cudnn_attention: (attention_macs, (0, 1, 2)),
    }


def make_counter(module: nn.Module) -> Any:
    """Return a context that counts the operations in it: `layers`, `attention` and `used`, the keys of tensors read."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    counted = counted_operations()

    class Counter(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.layers = 0
            self.attention = 0
            self.used: set[int] = set()
            # Kept alive, so that no later tensor gets a weight's key.
            self.weights = {key(value): value for value in [*module.parameters(), *module.buffers()]}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func.overloadpacket not in counted:
                with self:  # inference mode hands over whole operations, like linear: count their parts
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            result = func(*args, **kwargs)
            read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
            self.used.update(key(value) for value in read)
            if read and all(key(value) in self.weights for value in read):
                made = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
                self.weights.update((key(value), value) for value in made)
            elif func.overloadpacket in counted:
                count, places = counted[func.overloadpacket]
                factors = [args[place] for place in places]
                amount = count(result, *factors, *args[places[-1] + 1 :])
                if any(key(factor) in self.weights for factor in factors):
                    self.layers += amount
                else:
                    self.attention += amount
            return result

    return Counter()


# Time, memory, file size ----------------------------------------------------------------------------------------------


def seconds_per_image(call: Callable[[], object], device: str = "cpu", warm: int = 1, repeats: int = 5) -> float:
    """Return the median wall time of one call in seconds.

    >>> seconds_per_image(lambda: time.sleep(0.01)) >= 0.01
    True

    Args:
        call: restores one image.
        device: where it runs; on "cuda" the clock is read when the work is done, not when it is queued.
        warm: calls before the clock starts.
        repeats: timed calls, 1 or more.
    """
    wait = waiter(device)
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


SECONDS = Cost(
    id="seconds",
    title="time",
    unit="s",
    better="lower",
    decimals=3,
    protocol="median seconds per image, warm, without loading the network, at the size and on the "
    "device shown with the number",
    overview=80,
    on_device=True,
    plotted=True,
)


def waiter(device: str) -> Callable[[], None]:
    """Return a function that waits until a device has done its work; on a CPU it returns at once."""
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def peak_memory(call: Callable[[], object], device: str = "cpu") -> int:
    """Return the most memory in bytes that one call holds above what was held before it.

    On a CPU: the growth of the process's resident memory, read every millisecond while the call runs. What the process
    has freed but kept would not grow again, so it is handed back first, which only glibc can do: elsewhere measure
    before anything of the same size has run. On "cuda": the growth of the allocator's peak, exact.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before

    import psutil

    hand_back()
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
        peak = max(peak, process.memory_info().rss)
    finally:
        done.set()
        watcher.join()
    return peak - before


MEMORY = Cost(
    id="memory",
    title="memory",
    unit="MB",
    better="lower",
    decimals=0,
    protocol="peak memory of restoring one image at the size shown with the number",
    notes="In 10^6 bytes: what the resident memory of the process grows by on a CPU, the allocator's counter on a GPU.",
    overview=120,
    on_device=True,
    plotted=True,
)


def hand_back() -> None:
    """Return freed memory to the system, where the C library has a function for it (glibc)."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None:
        trim(0)


def file_size(path: Path) -> int:
    """Return the size of a checkpoint in bytes. Raises DataError when there is no such file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a checkpoint")
    return path.stat().st_size


FILE_SIZE = Cost(
    id="file-size",
    title="file size",
    unit="MB",
    better="lower",
    decimals=2,
    protocol="size of the weights file that restoring an image reads",
    notes="In 10^6 bytes.",
    overview=130,
)

COSTS: dict[str, Cost] = {
    cost.id: cost for cost in (PARAMS, PARAMS_TOTAL, MACS, MACS_ATTENTION, SECONDS, MEMORY, FILE_SIZE)
}
