"""A small params.yaml for tests of parameters, and the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench.params.recipes import merged

FILE = Path(__file__).parents[3] / "params.yaml"
PROJECT = yaml.safe_load(FILE.read_text())

SMALL: dict[str, Any] = {
    "profile": "sample",
    "defaults": {
        "paper": {"train": {"lr": 1e-4, "epochs": 50, "batch_size": 16, "crop_size": 256}},
        "sample": {"train": {"steps": 300, "batch_size": 8}},
        "tour": {"train": {"steps": 60}},
    },
    "recipes": {
        "mrfnet": {
            "paper": {"network": {"channels": 64}, "train": {"lr": 2e-4, "weights": {"mse": 0.0}}},
            "sample": {"network": {"channels": 16}, "train": {"lr": 1e-3, "weights": {"scale_refinement": 2.0}}},
            "tour": {"network": {"channels": 8}},
        }
    },
    "runs": {"deblur": {"plain": {"method": "mrfnet", "dataset": "gopro"}}},
}


def written(folder: Path, *changes: dict[str, Any]) -> Path:
    """Write the small file with some values replaced, mapping by mapping."""
    values: dict[str, Any] = SMALL
    for change in changes:
        values = merged(values, change)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def with_run(**run: Any) -> dict[str, Any]:
    return {"runs": {"deblur": {"plain": run}}}
