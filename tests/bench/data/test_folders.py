"""Folders that take each other's place whole, and the manifest of a built set, which is read as far as it is needed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.contracts import DataError, UserError
from bench.data import manifest
from bench.files import replace_folder, sha256

KILLED = """
import os, signal
from pathlib import Path
from bench.files import replace_folder

rename, calls = Path.rename, []

def dies(path, target):
    calls.append(path)
    if len(calls) == 2:  # between the two
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = dies
replace_folder(Path("scores"), lambda folder: (folder / "a").write_text("new"))
"""


def filled(text: str):
    """What fills a folder with one file."""
    return lambda folder: (folder / "a").write_text(text)


def held_by(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden or not."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_kill_between_two_folders_loses_neither(tmp_path):
    replace_folder(tmp_path / "scores", filled("old"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(held_by(tmp_path).values()) == ["new", "old"] and not list(tmp_path.glob("[!.]*"))

    def fails(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="scores: the disk is full"):
        replace_folder(tmp_path / "scores", fails)
    assert held_by(tmp_path)["scores/a"] == "old"
    replace_folder(tmp_path / "scores", filled("newer"))
    assert held_by(tmp_path)["scores/a"] == "newer" and "old" not in held_by(tmp_path).values()


def test_a_folder_that_cannot_take_the_name_leaves_the_old_one_there(tmp_path, monkeypatch):
    replace_folder(tmp_path / "scores", filled("old"))
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserError, match="scores: Input/output error"):
        replace_folder(tmp_path / "scores", filled("new"))
    assert held_by(tmp_path) == {"scores/a": "old"}


def built_set(folder: Path) -> manifest.BuiltSet:
    """A built set of four rows, of which two are test images."""
    rows = [{"name": name, "split": ("train", "test")[k % 2], "height": 4} for k, name in enumerate("abcd")]
    manifest.write(folder / manifest.NAME, rows, {"dataset": "toy"})
    return manifest.read(folder)


def test_the_rows_of_one_split_are_read_and_no_other(tmp_path, monkeypatch):
    built = built_set(tmp_path)
    assert built.about == {"dataset": "toy"} and built.digest == sha256(tmp_path / manifest.NAME)
    assert built.columns == ["name", "split", "height"]
    asked = []
    whole = manifest._rows
    monkeypatch.setattr(manifest, "_rows", lambda path, split="": asked.append(split) or whole(path, split))
    for _ in range(2):
        assert built.split("test")["name"].tolist() == ["b", "d"]
    assert asked == ["test"]
    assert built.rows["name"].tolist() == list("abcd")
    for name in ("train", "test"):
        expected = built.rows[built.rows["split"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(built.split(name), expected)
    with pytest.raises(DataError, match=r"manifest\.parquet: no image in split 'val'; it has: test, train"):
        built.split("val")


def test_a_damaged_manifest_is_refused_wherever_it_is_damaged(tmp_path):
    built = built_set(tmp_path)
    path = tmp_path / manifest.NAME
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(60) + data[64:])  # the end, which says what is where, stays
    with pytest.raises(DataError, match=r"manifest\.parquet: not a manifest of Sharpbench .*; build the dataset again"):
        _ = built.split("test")
    path.write_bytes(data[:-20])
    with pytest.raises(DataError, match="not a manifest of Sharpbench"):
        manifest.read(tmp_path)
