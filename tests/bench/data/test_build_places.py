"""Folders that a build must not replace or cannot write, and full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.contracts import UserError
from bench.data import build as building
from bench.data import manifest
from bench.data.build import Job, build
from tests.bench.data.toys import JOB, OLDER, counts, files, images


def test_a_folder_of_something_else_is_never_replaced(toys, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="home: contains something else than a built set"):
        build(JOB, tmp_path / "home", 1)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    with pytest.raises(UserError, match=r"letter\.txt: contains something else"):
        build(JOB, tmp_path / "home" / "letter.txt", 1)
    with pytest.raises(UserError, match=r"--out: found \., expected a folder with a name"):
        build(JOB, Path("."), 1)
    (tmp_path / "empty").mkdir()
    assert build(JOB, tmp_path / "empty", 1).is_file()


def test_a_symbolic_link_is_kept_and_its_folder_built(toys, tmp_path):
    (tmp_path / "here").mkdir()
    link, disk = tmp_path / "here" / "set", tmp_path / "disk" / "toys"
    link.symlink_to(disk)
    for job in (OLDER, JOB):  # where nothing is yet, then in an older set's place
        built = manifest.read(build(job, link, 1).parent)
        assert built.about["seed"] == job.seed
        assert link.is_symlink() and link.resolve() == disk and not disk.is_symlink()
        assert files(link) == files(build(job, tmp_path / f"plain{job.seed}", 1).parent)
        assert [path.name for path in disk.parent.iterdir()] == ["toys"]
        assert [path.name for path in link.parent.iterdir()] == ["set"]
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "there").symlink_to("home")
    with pytest.raises(UserError, match="home: contains something else than a built set"):
        build(JOB, tmp_path / "there", 1)


def test_another_dataset_is_never_replaced(toys, tmp_path):
    build(JOB, tmp_path / "set", 1)
    before = images(tmp_path / "set")
    dolls = replace(JOB, name="dolls")
    with pytest.raises(
        UserError, match="set: contains toys, which building dolls there would replace; choose another --"
    ):
        build(dolls, tmp_path / "set", 1)
    assert images(tmp_path / "set") == before
    (tmp_path / "set" / manifest.NAME).write_bytes(b"no table")
    assert manifest.read(build(dolls, tmp_path / "set", 1).parent).about["dataset"] == "dolls"


def test_a_place_that_cannot_be_written_is_found_before_the_work(toys, tmp_path):
    calls, _ = toys
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/\.set\.building: Not a directory"):
        build(JOB, tmp_path / "file" / "set", 1)
    assert counts(calls) == {}


def test_a_read_only_file_system_is_named(toys, tmp_path, monkeypatch):
    def refuse(self, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=rf"{tmp_path}: this folder cannot be written; choose another one or change"):
        build(JOB, tmp_path / "data" / "set", 1)


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of 256 KiB; skip where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_message_and_leaves_no_set(toys, small_disk):
    with pytest.raises(UserError, match=r"the disk is full \(0 MiB free\); free some space and run it again"):
        build(Job("toys", None, {"draws": 60}, 0, "sample"), small_disk / "set", 1)
    assert not (small_disk / "set").exists()
    assert not list(small_disk.rglob("*.part"))


def test_a_disk_that_fills_up_while_packing_leaves_no_set(toys, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    calls, _ = toys
    monkeypatch.setattr(building, "pack", full)
    with pytest.raises(UserError, match=r"set: the disk is full \(\d+ MiB free\)"):
        build(JOB, tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()
    monkeypatch.undo()
    assert set(counts(calls).values()) == {1}


HOLD = """
import sys, time
from pathlib import Path
from bench.files import locked
with locked(Path(sys.argv[1]), "building places2"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_builds_of_one_set_at_once(tmp_path):
    (tmp_path / "params.yaml").write_text("profile: sample\ndatasets: {places2: {offline: {draws: 1}}}\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    place = tmp_path / "data" / "sample" / ".places2.building"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        began = time.monotonic()
        second = subprocess.run(
            [sys.executable, "-m", "bench", "build", "places2"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert time.monotonic() - began < 30
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    expected = "sharpbench build: data/sample/.places2.building: another process is building places2 here"
    assert second.stderr.startswith(expected) and len(second.stderr.splitlines()) == 1


ROOT = Path(__file__).parents[3]
