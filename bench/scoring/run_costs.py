"""The costs of a run as rows of its scores: parameters, multiply-adds, time, memory and file size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.params.schema import Evaluate
from bench.runs import Trained
from bench.scoring import cost
from bench.tasks import find_task

if TYPE_CHECKING:
    from bench.scoring.restore import Restorer
    from bench.scoring.table import ScoreTable


def input_shapes(task: str, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs of one image, by name.

    >>> input_shapes("inpaint", 64, 96)
    {'x': (1, 3, 64, 96), 'mask': (1, 1, 64, 96)}
    """
    return {name: (1, 1 if name == "mask" else 3, height, width) for name in find_task(task).inputs}


def add_costs(table: ScoreTable, restorer: Restorer, chosen: Evaluate, files: list[Path], device: str) -> None:
    """Measure the costs of a run and add them. Memory is first: memory that the process has kept does not grow again.

    Args:
        table: gets the costs.
        restorer: of the run.
        chosen: the image sizes and the number of repeats.
        files: the checkpoints behind the run; those that do not exist (no training) are left out.
        device: where the run restores.
    """
    import torch

    height, width = chosen.cost_size
    size = f"{width}x{height}"
    generator = torch.Generator().manual_seed(0)
    sizes = input_shapes(restorer.task, height, width)
    batch = {name: torch.rand(shape, generator=generator).to(device) for name, shape in sizes.items()}
    if "mask" in batch:
        batch["mask"] = (batch["mask"] > 0.7).float()
    memory = cost.peak_memory(lambda: restorer.restore(batch), device)
    table.add(cost.MEMORY, memory / 1e6, size=size)
    seconds = cost.seconds_per_image(lambda: restorer.restore(batch), device, repeats=chosen.timing_repeats)
    table.add(cost.SECONDS, seconds, size=size)
    trained = [part for part in restorer.parts if part.method.networks is not None]
    if not trained:
        table.add(cost.PARAMS, 0.0)
        reason = "it has no network, and only the multiply-adds of networks are counted"
        table.add(cost.MACS, float("nan"), reason, size)
        table.add(cost.FILE_SIZE, float("nan"), "it has no weights")
        return
    total = sum(cost.parameters(part.networks) for part in trained)
    table.add(cost.PARAMS_TOTAL, total / 1e6)
    table.add(cost.FILE_SIZE, sum(cost.file_size(path) for path in files if path.is_file()) / 1e6)
    _add_work(table, trained, chosen)


def _add_work(table: ScoreTable, trained: list[Trained], chosen: Evaluate) -> None:
    """Add multiply-adds at each size, and the parameters in use."""
    for number, (height, width) in enumerate([chosen.cost_size, *chosen.macs_sizes]):
        size = f"{width}x{height}"
        try:
            counts = [work(part, height, width, "meta") for part in trained]
        except NotImplementedError:  # torch raises it for a tensor without values
            # A network whose path depends on values can be counted only while they are computed.
            if number:
                reason = "its path depends on the image's values, so it is counted only at the size of the time"
                table.add(cost.MACS, float("nan"), reason, size)
                continue
            counts = [work(part, height, width, "cpu") for part in trained]
        table.add(cost.MACS, sum(part.layers for part in counts) / 1e9, size=size)
        if attention := sum(part.attention for part in counts):
            table.add(cost.MACS_ATTENTION, attention / 1e9, size=size)
        if not number:
            table.add(cost.PARAMS, sum(part.parameters for part in counts) / 1e6)


def work(part: Trained, height: int, width: int, device: str) -> cost.Work:
    """Count the work of one run on an image of this size, padded as it is when it is restored."""
    import torch

    from bench.scoring.restore import pad, prepared

    method = part.method

    def padded(networks: object, batch: Mapping[str, object]) -> object:
        sized = {name: pad(value, method.multiple, method.min_size) for name, value in batch.items()}  # type: ignore[arg-type]
        return method.restore(networks, sized)  # type: ignore[arg-type]

    sizes = input_shapes(method.tasks[0], height, width)
    # Auxiliary maps are not the network's work and cannot be made of tensors without values: only their shapes count.
    small = prepared(method, {name: torch.zeros(size) for name, size in input_shapes(method.tasks[0], 8, 8).items()})
    sizes |= {name: (1, small[name].shape[1], height, width) for name in method.auxiliary}
    return cost.work(padded, part.networks, sizes, device)
