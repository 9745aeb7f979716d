"""The test images of a built set under each input: what a method gets, and the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts import DataError
from bench.data.batches import task_arrays
from bench.data.built_images import as_float, read_png
from bench.data.manifest import BuiltSet
from bench.scoring.metrics import values
from bench.tasks import find_task


@dataclass(frozen=True)
class Case:
    """One test image under one input.

    Args:
        row: its row in the manifest.
        input: what the method gets: "blurred", "sharp" (with a hole), or "dual-pixel".
        arrays: inputs and `target`, float32 (H, W, C) in [0, 1].
        truth: the target as stored, uint8 or uint16 (H, W, 3).
        folder: folder of the built set, where the further truths are.
    """

    row: Mapping[str, Any]
    input: str
    arrays: dict[str, np.ndarray]
    truth: np.ndarray
    folder: Path

    @property
    def name(self) -> str:
        """The image's name in the manifest."""
        return str(self.row["name"])

    @property
    def mask(self) -> np.ndarray | None:
        """The hole, (H, W) uint8 with 255 = hole, where the task has one."""
        return (self.arrays["mask"][..., 0] * 255).astype(np.uint8) if "mask" in self.arrays else None

    @property
    def input_image(self) -> np.ndarray:
        """The input as one image, (H, W, 3) float32: of two views the mean."""
        return self.arrays["x"] if "x" in self.arrays else (self.arrays["left"] + self.arrays["right"]) / 2

    def references(self) -> Iterator[np.ndarray]:
        """Read the further truths, where the dataset has them."""
        for entry in json.loads(self.row["references"]):
            yield read_png(self.folder / entry["file"], entry["sha256"])


Predict = Callable[[Case], np.ndarray]
"""A case to its restored image: float (H, W, 3) in [0, 1], or integers of the truth's depth."""


def inputs_of(task: str, built: BuiltSet) -> tuple[str, ...]:
    """Return the inputs under which a task is scored on a set; the images that a report shows have the first."""
    return find_task(task).inputs_on(built.columns)


def cases(built: BuiltSet, task: str, inputs: tuple[str, ...]) -> Iterator[Case]:
    """Read the test images one by one, all of them under the first input, then all under the next."""
    for source in inputs:
        for row in image_rows(built):
            yield read_case(built, row, task, source)


def image_rows(built: BuiltSet) -> list[dict[str, Any]]:
    """Return the manifest rows of the test images."""
    return [{str(key): value for key, value in row.items()} for row in built.split("test").to_dict("records")]


def read_case(built: BuiltSet, row: Mapping[str, Any], task: str, source: str) -> Case:
    """Read one test image under one input.

    Raises:
        DataError: the set lacks an image that the task needs, or the image's file has changed since it was built.
    """
    stored = {}
    for name in find_task(task).fields_for(source):
        if not row.get(f"file_{name}"):
            raise DataError(f"{built.folder}: {row['name']} has no {name}: it cannot serve the task {task!r}")
        stored[name] = built.image(row, name)
    fields = {name: as_float(image) for name, image in stored.items()}
    return Case(row, source, task_arrays(task, fields, source), stored["target"], built.folder)


def to_depth(image: np.ndarray, depth: np.dtype) -> np.ndarray:
    """Round floats in [0, 1] to the integers of `depth`; a half goes to the even neighbour.

    All scores are those of saved images, whatever program restored them: `score` must give what `evaluate` gives.

    >>> to_depth(np.full((1, 1, 3), 0.5), np.dtype(np.uint8)).tolist()
    [[[128, 128, 128]]]

    Args:
        image: (H, W, C); values outside [0, 1] are clipped.
        depth: uint8 or uint16.

    Raises:
        DataError: a value is NaN or infinite: as an integer it would pass for black or white.
    """
    values.check_floats(image)
    top = np.iinfo(depth).max
    return np.rint(np.clip(image, 0, 1) * np.float64(top)).astype(depth)


def condition(case: Case) -> dict[str, Any]:
    """Return the columns of the score table that tell one case's rows from another's."""
    row, has_hole = case.row, case.mask is not None
    ratio = row.get("mask_ratio")
    return {
        "image": row["name"],
        "split": row["split"],
        "input": case.input,
        "scene": row.get("scene") or "",
        "mask_kind": (row.get("mask_kind") or "") if has_hole else "",
        "mask_band": (row.get("mask_band") or "") if has_hole else "",
        "mask_ratio": float(ratio) if ratio is not None and has_hole else float("nan"),
        "severity": row["degradation"],
    }


@contextmanager
def errors_name(run: str, image: str) -> Iterator[None]:
    """Put the run and the image before the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{run}: {image}: {error}") from None
