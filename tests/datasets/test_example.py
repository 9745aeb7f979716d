"""The dataset of docs/add-a-dataset.md: one file and one line, then the commands work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.data import manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code with the example as `datasets/my_pairs.py`, and with its line in params.yaml."""
    for package in ("bench", "datasets", "methods"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docs" / "examples" / "my_pairs.py", tmp_path / "datasets")
    text = (ROOT / "params.yaml").read_text()
    assert text.count("\ndatasets:\n") == 1
    (tmp_path / "params.yaml").write_text(text.replace("\ndatasets:\n", "\ndatasets:\n  my-pairs: {}\n"))
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_listed_built_and_verified(copy):
    assert "my-pairs" in run(copy, "list", "datasets")
    assert "my-pairs: 14 train (of 7 pictures), 1 val, 4 test from offline" in run(copy, "build", "my-pairs")
    built = manifest.read(copy / "data" / "sample" / "my-pairs")
    assert built.rows["degradation"].str.contains("linear motion").all()
    for split in ("train", "test"):
        for field, folder in (("target", "sharp"), ("blurred", "blurred")):
            place = copy / "originals" / "my-pairs" / split / folder
            place.mkdir(parents=True)
            shutil.copy(built.folder / built.split("test")[f"file_{field}"].iloc[0], place / "a.png")
    output = run(copy, "verify", "my-pairs", "--originals", "originals/my-pairs", "--partial")
    assert output.startswith("my-pairs: 1 train, 1 test: layout, sizes and depth are right")
