"""Training batches: which crop of which image, as a function of (seed, step) and of nothing that happened before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import DataError
from bench.data import augment
from bench.data.auxiliary import DTYPE, MadeMap
from bench.data.built_images import as_float
from bench.data.manifest import BuiltSet
from bench.tasks import find_task

if TYPE_CHECKING:
    import torch

HOLE = (0.02, 0.98)
"""The hole share of a training crop lies between these, where one can be found: an empty crop teaches nothing."""


def task_arrays(task: str, fields: Mapping[str, np.ndarray], source: str = "") -> dict[str, np.ndarray]:
    """Turn stored images into what a network of `task` gets and the truth.

    Args:
        fields: float32 (H, W, C) in [0, 1] by field; an `x` of its own among them gets the hole in the place of the
            stored image.
        source: as for `Task.holed_field`.

    Returns:
        The task's inputs and `target`; `blurred`, without a hole, where a network with holes in a blurred image learns
        to make it sharp. In the hole `x` is 0.
    """
    meaning = find_task(task)
    arrays = {"target": fields["target"]}
    if not meaning.has_hole:
        return arrays | {name: fields["blurred" if name == "x" else name] for name in meaning.inputs}
    if "blurred" in meaning.fields:
        arrays["blurred"] = fields["blurred"]
    x = fields["x"] if "x" in fields else fields[meaning.holed_field(source)]
    return arrays | {"mask": fields["mask"], "x": x * (1 - fields["mask"])}


class Crops:
    """Random crops of a built set's training images and of their auxiliary maps, from memory-mapped packed files.

    Args:
        auxiliary: the maps that the method declares, by name, as `bench.data.auxiliary.read` gives them.

    Raises:
        DataError: the set does not serve the task, or an image is smaller than the crop.
    """

    def __init__(
        self,
        built: BuiltSet,
        task: str,
        crop_size: int,
        operations: Sequence[Any],
        seed: int,
        source: str = "",
        auxiliary: Mapping[str, MadeMap] | None = None,
    ):
        self.rows = built.split("train").reset_index(drop=True)
        self.task, self.size, self.operations, self.seed, self.source = task, crop_size, operations, seed, source
        self.fields = find_task(task).fields_for(source)
        noisy = any(augment.resolve(entry)[0] is augment.noise for entry in operations)
        self.own_x = noisy and find_task(task).holed_field(source) == "target"
        self.auxiliary = dict(auxiliary or {})
        if missing := [field for field in self.fields if f"packed_{field}" not in self.rows]:
            raise DataError(
                f"{built.folder}: task {task!r} needs {', '.join(missing)}, which this dataset does not have"
            )
        small = self.rows[(self.rows["height"] < crop_size) | (self.rows["width"] < crop_size)]
        if len(small):
            row = small.iloc[0]
            raise DataError(
                f"{built.folder}: crop_size {crop_size} is larger than {len(small)} training images; "
                f"the first is {row['name']} of {row['width']}x{row['height']}"
            )
        self.shapes = self.rows[["height", "width"]].to_numpy()
        self.depth = np.uint16 if self.rows["bits"].iloc[0] == 16 else np.uint8
        self.offsets = {field: self.rows[f"packed_{field}"].to_numpy() for field in self.fields}
        self.packed = {field: self._open(built.folder / "packed" / f"{field}.bin", field) for field in self.fields}
        for name, made in self.auxiliary.items():
            self.packed[name] = np.memmap(made.packed, np.uint8, "r")
            self.offsets[name] = made.offsets
        self._order = (-1, np.empty(0, int))

    def __len__(self) -> int:
        return len(self.rows)

    def _layout(self, field: str) -> tuple[np.dtype, int]:
        if field in self.auxiliary:
            return DTYPE, self.auxiliary[field].channels
        return (np.dtype(np.uint8), 1) if field == "mask" else (np.dtype(self.depth), 3)

    def _open(self, path: Path, field: str) -> np.ndarray:
        depth, channels = self._layout(field)
        expected = int(self.shapes.prod(axis=1).sum()) * channels * depth.itemsize
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise DataError(f"{path}: found {found:,} bytes, expected {expected:,}; build the dataset again")
        return np.memmap(path, np.uint8, "r")

    def _window(self, field: str, index: int, top: int, left: int) -> np.ndarray:
        depth, channels = self._layout(field)
        height, width = self.shapes[index]
        start = self.offsets[field][index]
        raw = self.packed[field][start : start + height * width * channels * depth.itemsize]
        image = raw.view(depth).reshape(height, width, channels)
        return image[top : top + self.size, left : left + self.size]

    def _corner(self, rng: np.random.Generator, index: int) -> tuple[int, int]:
        height, width = self.shapes[index]
        return int(rng.integers(height - self.size + 1)), int(rng.integers(width - self.size + 1))

    def sample(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """Return one training sample, cropped and augmented: float32 (size, size, C) by name.

        Images are in [0, 1]; auxiliary maps, cut by the same window, in their own range.
        """
        rng = np.random.default_rng([self.seed, epoch, index])
        top, left = self._corner(rng, index)
        fields = {f: as_float(self._window(f, index, top, left)) for f in self.fields if f != "mask"}
        if "mask" in self.fields:
            fields["mask"] = self._mask(rng)
        if self.own_x:  # noise belongs on what the network sees and not on the truth, of which that is made
            fields["x"] = fields["target"]
        fields |= {name: self._window(name, index, top, left).astype(np.float32) for name in self.auxiliary}
        changed = augment.apply(self.operations, fields, rng, tuple(self.auxiliary))
        return task_arrays(self.task, changed, self.source) | {name: changed[name] for name in self.auxiliary}

    def _mask(self, rng: np.random.Generator) -> np.ndarray:
        """Cut a mask from any image's, so that a picture is seen with many holes; never an empty or a full one."""
        cuts = []
        for _ in range(16):
            other = int(rng.integers(len(self)))
            cuts.append(as_float(self._window("mask", other, *self._corner(rng, other))))
            if HOLE[0] < cuts[-1].mean() < HOLE[1]:
                return cuts[-1]
        return max(cuts, key=lambda cut: min(cut.mean(), 1 - cut.mean()))

    def batch(self, step: int, batch_size: int, part: slice = slice(None)) -> dict[str, torch.Tensor]:
        """Return the batch of a step: (N, C, H, W) float32, channels last in memory. `part` is this process's share.

        Samples are counted through: sample k is at place k mod n of the order of epoch k div n.
        """
        import torch

        samples = []
        for k in range(step * batch_size, (step + 1) * batch_size)[part]:
            epoch, place = divmod(k, len(self))
            if self._order[0] != epoch:  # kept: shuffling a million images takes longer than a batch
                self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self)))
            samples.append(self.sample(epoch, int(self._order[1][place])))
        stacked = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
        return {name: torch.from_numpy(array).permute(0, 3, 1, 2) for name, array in stacked.items()}

    def batches(self, steps: range, batch_size: int, part: slice = slice(None)) -> Iterator[dict[str, torch.Tensor]]:
        """Give the batch of each step, the next one made in a thread while the last is used."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.batch, steps[0], batch_size, part) if steps else None
            for step in steps:
                assert ahead is not None
                ready = ahead.result()
                if step + 1 < steps.stop:
                    ahead = pool.submit(self.batch, step + 1, batch_size, part)
                yield ready
