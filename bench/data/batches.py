"""Training batches: random crops of images, each a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import DataError
from bench.data import augment
from bench.data.auxiliary import DTYPE, MadeMap
from bench.data.built_images import as_float
from bench.data.manifest import REBUILD, BuiltSet
from bench.data.packed import layout, packed_field
from bench.tasks import find_task

if TYPE_CHECKING:
    import torch

HOLE_SHARE = (0.02, 0.98)
"""Limits of the hole share of a training crop: a crop without known or without unknown pixels teaches nothing."""
MASK_DRAWS = 16
"""Draws of a mask within HOLE_SHARE; after that the nearest one is taken."""


def task_arrays(task: str, fields: Mapping[str, np.ndarray], source: str = "") -> dict[str, np.ndarray]:
    """Turn stored images into the inputs of a network and the target.

    Args:
        task: name of a task.
        fields: float32 (H, W, C) in [0, 1] by field. If `x` is among them, it gets the hole instead of a stored image.
        source: as for `Task.holed_field`.

    Returns:
        The task's inputs and `target`; for a task with holes in blurred images also `blurred`, without the hole. `x` is
        0 in the hole.

    >>> arrays = task_arrays("inpaint", {"target": np.full((1, 2, 3), 0.5), "mask": np.array([[[0.0], [1.0]]])})
    >>> arrays["x"][0].tolist()
    [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]
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

    What a crop is cut from is compared with its recorded SHA-256 once: reading a sample raises DataError where it has
    changed since it was built.

    Args:
        built: the set; its training images are used.
        task: name of the task; it determines the stored images that are read.
        crop_size: side of a crop in pixels.
        operations: augmentations, as `bench.data.augment.apply` takes them.
        seed: of the run.
        source: as for `Task.holed_field`.
        auxiliary: the auxiliary maps that the method declares, by name, from `bench.data.auxiliary.read`.

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
        self.x_is_separate = noisy and find_task(task).holed_field(source) == "target"
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
        self.bits = int(self.rows["bits"].iloc[0])
        self.packed = {name: made.packed for name, made in self.auxiliary.items()}
        self.packed |= {field: packed_field(built.folder, self.rows, field, REBUILD) for field in self.fields}
        self._order = (-1, np.empty(0, int))

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, kept: np.ndarray) -> Crops:
        """Return the crops of some of the images; their masks are cut from these images too.

        Args:
            kept: one boolean per image.
        """
        part, indices = copy(self), np.flatnonzero(kept)
        part.rows, part.shapes = self.rows.iloc[indices].reset_index(drop=True), self.shapes[indices]
        part.packed = {name: packed.subset(indices) for name, packed in self.packed.items()}
        part._order = (-1, np.empty(0, int))
        return part

    def _layout(self, field: str) -> tuple[np.dtype, int]:
        """Return the type and the channels of a field in its packed file."""
        if field in self.auxiliary:
            return DTYPE, self.auxiliary[field].channels
        return layout(field, self.bits)

    def _window(self, field: str, index: int, top: int, left: int) -> np.ndarray:
        """Return the crop of an image at (top, left), in its stored type."""
        depth, channels = self._layout(field)
        height, width = self.shapes[index]
        image = self.packed[field].image(index).view(depth).reshape(height, width, channels)
        return image[top : top + self.size, left : left + self.size]

    def _corner(self, rng: np.random.Generator, index: int) -> tuple[int, int]:
        """Draw the top and left of a crop of an image."""
        height, width = self.shapes[index]
        return int(rng.integers(height - self.size + 1)), int(rng.integers(width - self.size + 1))

    def sample(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """Return one training sample, cropped and augmented: float32 (size, size, C) by name.

        Images are in [0, 1]; auxiliary maps, cropped in the same place, are in their own range.
        """
        rng = np.random.default_rng([self.seed, epoch, index])
        top, left = self._corner(rng, index)
        fields = {f: as_float(self._window(f, index, top, left)) for f in self.fields if f != "mask"}
        if "mask" in self.fields:
            fields["mask"] = self._mask(rng)
        if self.x_is_separate:  # noise is for the input, which is made of the target, and not for the target
            fields["x"] = fields["target"]
        fields |= {name: self._window(name, index, top, left).astype(np.float32) for name in self.auxiliary}
        changed = augment.apply(self.operations, fields, rng, tuple(self.auxiliary))
        return task_arrays(self.task, changed, self.source) | {name: changed[name] for name in self.auxiliary}

    def _mask(self, rng: np.random.Generator) -> np.ndarray:
        """Crop the mask of a random image, so that a picture is seen with many holes, until it is in HOLE_SHARE."""
        crops = []
        for _ in range(MASK_DRAWS):
            other = int(rng.integers(len(self)))
            crops.append(as_float(self._window("mask", other, *self._corner(rng, other))))
            if HOLE_SHARE[0] < crops[-1].mean() < HOLE_SHARE[1]:
                return crops[-1]
        return max(crops, key=lambda crop: min(crop.mean(), 1 - crop.mean()))

    def batch(self, step: int, batch_size: int, part: slice = slice(None)) -> dict[str, torch.Tensor]:
        """Return the batch of a step: (N, C, H, W) float32, channels-last in memory.

        Samples are numbered over the whole training: sample k is at place k mod n in the order of epoch k div n.

        Args:
            step: from 0.
            batch_size: samples of all processes together.
            part: the samples of the batch that this process gets.
        """
        import torch

        samples = []
        for k in range(step * batch_size, (step + 1) * batch_size)[part]:
            epoch, place = divmod(k, len(self))
            if self._order[0] != epoch:  # stored: shuffling a million images takes longer than a batch
                self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self)))
            samples.append(self.sample(epoch, int(self._order[1][place])))
        stacked = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
        return {name: torch.from_numpy(array).permute(0, 3, 1, 2) for name, array in stacked.items()}

    def batches(self, steps: range, batch_size: int, part: slice = slice(None)) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the batch of each step; a thread makes the next one meanwhile. Arguments as for `batch`."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.batch, steps[0], batch_size, part) if steps else None
            for step in steps:
                assert ahead is not None
                ready = ahead.result()
                if step + 1 < steps.stop:
                    ahead = pool.submit(self.batch, step + 1, batch_size, part)
                yield ready
