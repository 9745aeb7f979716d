"""What tests of built sets share: a registered dataset of noise, and a built set with an auxiliary map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bench import code, registry
from bench.contracts import Dataset, Item
from bench.data import manifest
from bench.data.build import Job, build
from bench.data.manifest import BuiltSet
from tests.bench.data.maps import offline
from tests.bench.data.toys import Make, pixels


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Register a dataset of six images of noise; return the folder of call counts and the wrappers by item."""
    calls = tmp_path / "calls"
    calls.mkdir()
    wrapped: dict[str, Callable[[Make], Make]] = {}

    def offline(draws: int = 4) -> list[Item]:
        made = []
        for number in range(draws + 2):
            split, name = ("train", f"n{number}") if number < draws else ("test", f"t{number}")
            make = partial(pixels, calls=calls, name=name, sides=(20 + number, 31))
            make = wrapped.get(name, lambda inner: inner)(make)
            made.append(Item(name, split, make, "noise", "CC0-1.0"))
        return made

    def originals(root: Path, partial: bool = False) -> list[Item]:
        return []

    entry = Dataset(
        "Toys",
        ("sharp-inpaint",),
        ("target", "blurred", "mask"),
        originals,
        offline,
        {},
        "nowhere: write them yourself",
    )
    monkeypatch.setattr(registry, "dataset", lambda name: entry)
    monkeypatch.setattr("bench.data.build.of_stage", lambda command, datasets: "the code of a dataset without a file")
    return calls, wrapped


@pytest.fixture
def built(tmp_path, monkeypatch) -> BuiltSet:
    """A built set of noise in a project whose file methods/_sign.py makes the map."""
    entry = Dataset("Toys", ("inpaint",), ("target", "mask"), lambda root, partial=False: [], offline, {}, "nowhere")
    monkeypatch.setattr(registry, "dataset", lambda name: entry)
    monkeypatch.setattr("bench.data.build.of_stage", lambda command, datasets: "the code of a dataset without a file")
    monkeypatch.setattr(code, "ROOT", tmp_path)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "_sign.py").write_text("first\n")
    return manifest.read(build(Job("gopro", None, {}, 0, "sample"), tmp_path / "data" / "sample" / "gopro", 1).parent)
