"""The costs of a run as rows of its scores: parameters, multiply-adds, time, memory, and the size of its file."""

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


def shapes(task: str, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one image's inputs for a task."""
    return {name: (1, 1 if name == "mask" else 3, height, width) for name in find_task(task).inputs}


def add_costs(table: ScoreTable, restorer: Restorer, chosen: Evaluate, files: list[Path], device: str) -> None:
    """Measure and add what a run costs. Memory comes first: memory that the process has kept does not grow again.

    Args:
        files: the checkpoints behind the run; those that do not exist (no training) count nothing.
    """
    import torch

    height, width = chosen.cost_size
    size = f"{width}x{height}"
    generator = torch.Generator().manual_seed(0)
    batch = {n: torch.rand(s, generator=generator).to(device) for n, s in shapes(restorer.task, height, width).items()}
    if "mask" in batch:
        batch["mask"] = (batch["mask"] > 0.7).float()
    memory = cost.peak_memory(lambda: restorer.restore(batch), device)
    table.add(cost.MEMORY, memory / 1e6, size=size)
    seconds = cost.seconds_per_image(lambda: restorer.restore(batch), device, repeats=chosen.timing_repeats)
    table.add(cost.SECONDS, seconds, size=size)
    trained = [part for part in restorer.parts if part.method.networks is not None]
    if not trained:
        table.add(cost.PARAMS, 0.0)
        reason = "it has no network: multiply-adds are counted for networks alone"
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
            done = [work(part, height, width, "meta") for part in trained]
        except NotImplementedError:  # torch raises it for a tensor without values
            # A network whose path depends on values cannot be counted without computing them.
            if number:
                reason = "its path depends on the image's values, so it is counted at the timed size alone"
                table.add(cost.MACS, float("nan"), reason, size)
                continue
            done = [work(part, height, width, "cpu") for part in trained]
        table.add(cost.MACS, sum(part.layers for part in done) / 1e9, size=size)
        if attention := sum(part.attention for part in done):
            table.add(cost.MACS_ATTENTION, attention / 1e9, size=size)
        if not number:
            table.add(cost.PARAMS, sum(part.parameters for part in done) / 1e6)


def work(part: Trained, height: int, width: int, device: str) -> cost.Work:
    """Count one run's work on an image of this size, padded as it is when restored."""
    import torch

    from bench.scoring.restore import pad, prepared

    method = part.method

    def padded(networks: object, batch: Mapping[str, object]) -> object:
        return method.restore(networks, {n: pad(v, method.multiple, method.min_size) for n, v in batch.items()})  # type: ignore[arg-type]

    sizes = shapes(method.tasks[0], height, width)
    # Auxiliary maps are not the network's work and cannot be made of tensors without values: only their shapes count.
    small = prepared(method, {name: torch.zeros(size) for name, size in shapes(method.tasks[0], 8, 8).items()})
    sizes |= {name: (1, small[name].shape[1], height, width) for name in method.auxiliary}
    return cost.work(padded, part.networks, sizes, device)
