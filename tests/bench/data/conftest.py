"""What tests of built sets share: a registered dataset of noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bench import registry
from bench.contracts import Dataset, Item
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
