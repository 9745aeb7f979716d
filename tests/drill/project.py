"""A small project in which every command takes about a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.drill import processes

RUN, SEARCHED = "mrfnet-gopro", "mrfnet-gopro-searched"
TRAINING = {"network": {"channels": 4}, "train": {"steps": 12, "batch_size": 2, "crop_size": 32}}
PARAMS: dict[str, Any] = {
    "profile": "sample",
    "threads": 1,
    "checkpoint_seconds": 0.0,
    "evaluate": {
        "sample": {
            "metrics": ["psnr-rgb8", "ssim-gauss11"],
            "cost_size": [32, 48],
            "timing_repeats": 1,
            "keep_images": 2,
        }
    },
    "datasets": {"gopro": {"offline": {"draws": 1, "test_draws": 1, "max_side": 96}}},
    "runs": {"deblur": {RUN: {"method": "mrfnet", "dataset": "gopro", "sample": TRAINING}}},
    "baselines": {
        "input-gopro": {"method": "input", "dataset": "gopro"},
        "telea-places2": {"method": "telea", "dataset": "places2"},
    },
    "search": {"sample": {"trials": 2, "share": 0.5, "rungs": [], "images": 1}},
    "searches": {
        "search": {
            SEARCHED: {
                "method": "mrfnet",
                "dataset": "gopro",
                "of": {"group": "deblur", "run": RUN},
                "weights": {"scale_refinement": {"low": 0.1, "high": 10.0}},
            }
        }
    },
}
SCORES = ("evaluate", RUN), ("evaluate", "input-gopro")
EVERYTHING = (("build", "gopro"), ("train", RUN), *SCORES, ("search", RUN), ("report",))
"""The commands that make everything, in order."""


def make(folder: Path) -> None:
    """Make a project in a new folder and run every command once.

    Raises:
        RuntimeError: a command fails without having been disturbed.
    """
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    for arguments in EVERYTHING:
        ended = processes.run(folder, arguments)
        if ended.status:
            raise RuntimeError(f"{' '.join(arguments)}: status {ended.status} in an undisturbed project: {ended.text}")


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """Return the cells of the report without what is named or measured again: MLflow runs, times and memory."""
    cells = json.loads((folder / "reports" / "out" / "sample" / "cells.json").read_text())
    hidden = {cell["metric"]: ("value", "cell") for cell in cells if cell["metric"] in ("seconds", "memory")}
    return [
        {key: value for key, value in cell.items() if key not in ("mlflow_run", *hidden.get(cell["metric"], ()))}
        for cell in cells
    ]
