"""Folders that take each other's place whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contracts import UserError
from bench.files import replace_folder

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
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
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
