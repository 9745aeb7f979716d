"""The comparison of two stores: what it finds, and what it passes over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.tools.same_results import main

CELL: dict[str, Any] = {
    "table": "t", "row": "r", "column": "psnr-rgb8", "evaluation": "e", "metric": "psnr-rgb8", "unit": "dB",
    "value": 20.0, "cell": 20.0, "git_commit": "a", "mlflow_run": "b",
}  # fmt: skip


def store(folder: Path, weight: float = 1.0, run: str = "e", **changes: Any) -> str:
    """Write a store of one run and one cell."""
    place, report = folder / "out" / "sample" / "runs" / run, folder / "reports" / "out" / "sample"
    place.mkdir(parents=True)
    report.mkdir(parents=True)
    save_file({"w": np.array([weight], np.float32)}, place / "weights.safetensors")
    (report / "cells.json").write_text(json.dumps([CELL | changes]))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({}, 0, "runs that differ: 0"),
        ({"git_commit": "c", "mlflow_run": "d"}, 0, "seconds and memory: 0"),
        ({"metric": "psnr-rgb8", "value": 20.000001}, 1, "'value': (20.0, 20.000001)"),
        ({"weight": np.nextafter(np.float32(1), np.float32(2))}, 1, "runs that differ: 1"),
        ({"row": "other"}, 1, "only in the old one: t / r"),
        ({"run": "f"}, 1, "only in the new one: f"),
    ],
)
def test_what_differs_is_listed(tmp_path, capsys, changes, status, text):
    assert main([store(tmp_path / "old"), store(tmp_path / "new", **changes)]) == status
    assert text in capsys.readouterr().out


def test_seconds_and_memory_may_differ(tmp_path, capsys):
    old, new = (store(tmp_path / str(value), metric="seconds", value=value, cell=value) for value in (1.0, 2.0))
    assert main([old, new]) == 0


def test_it_explains_how_it_is_called(capsys):
    assert main([]) == 2
    assert "OLD NEW" in capsys.readouterr().err
