"""A dataset of images of noise for tests of builds, and ways to let a build end early."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import registry
from bench.contracts import DataError, Dataset, Made
from bench.data.build import Job
from bench.files import sha256

Make = Callable[[np.random.Generator], Made]


def pixels(rng: np.random.Generator, calls: Path, name: str, sides: tuple[int, int]) -> Made:
    """Draw a sample of noise with two further truths, noting the call."""
    with (calls / name).open("a") as file:
        file.write(".")
    target = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
    mask = np.where(rng.random(sides) < 0.3, 255, 0).astype(np.uint8)
    images = {"target": target, "blurred": target // 2, "mask": mask}
    return Made(images, {"kind": "half"}, {"mask_ratio": float(mask.mean() / 255)}, [target // 3, target // 4])


def failing(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    """Refuse the sample while the marker exists."""
    if marker.exists():
        raise DataError("originals/x.png: damaged")
    return inner(rng)


JOB = Job("toys", None, {}, 0, "sample")
OLDER = replace(JOB, seed=1)


def counts(calls: Path) -> dict[str, int]:
    """How often each sample was made, by name."""
    return {path.name: len(path.read_text()) for path in sorted(calls.iterdir())}


def images(folder: Path) -> dict[str, str]:
    """The SHA-256 of each PNG file, by its path in the folder."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*.png"))}


def files(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by its path in the folder."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def interrupt(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let Ctrl-C come when a folder of this name is half deleted, or else is to be renamed."""
    delete, rename = shutil.rmtree, Path.rename

    def deleting(path: Path, ignore_errors: bool = False) -> None:
        if path.name == name and path.exists():
            next(file for file in path.rglob("*") if file.is_file()).unlink()
            raise KeyboardInterrupt
        delete(path, ignore_errors)

    def renaming(path: Path, target: Path) -> Path:
        if path.name == name:
            raise KeyboardInterrupt
        return rename(path, target)

    patch.setattr(shutil, "rmtree", deleting)
    patch.setattr(Path, "rename", renaming)


def swapped(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Register the dataset of noise with some of its parts replaced."""
    entry = Dataset(**{**vars(registry.dataset("toys")), **changes})
    monkeypatch.setattr(registry, "dataset", lambda name: entry)
