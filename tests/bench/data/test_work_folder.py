"""Interrupted builds: nothing is made twice, an older set is never lost."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contracts import DataError, Item, Made, UserError
from bench.data import build as building
from bench.data import manifest
from bench.data.build import Job, build
from bench.files import locked, sha256
from tests.bench.data.toys import JOB, OLDER, Make, counts, failing, files, images, interrupt, pixels, swapped


def killed(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    """Let the process die as by kill -9 while the marker exists."""
    if marker.exists():
        os._exit(137)
    return inner(rng)


def test_an_interrupted_build_makes_only_the_missing_images(toys, tmp_path):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    undisturbed = images(build(JOB, tmp_path / "whole", 1).parent)
    for path in calls.iterdir():
        path.unlink()
    marker.touch()
    wrapped["n3"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        build(JOB, tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()
    made = counts(calls)
    assert {"n0", "n1", "n2"} <= set(made) and "n3" not in made
    marker.unlink()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert images(tmp_path / "set") == undisturbed
    listed = ["manifest.parquet", "manifest.sha256", "packed", "test", "train"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == listed
    assert not (tmp_path / ".set.building").exists()


def test_a_killed_worker_is_one_message_and_the_build_can_continue(toys, tmp_path):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    marker.touch()
    wrapped["n2"] = lambda make: partial(killed, inner=make, marker=marker)
    with pytest.raises(UserError, match=r"was killed, perhaps because memory ran out.*build again with fewer --jobs"):
        build(JOB, tmp_path / "set", 1)
    marker.unlink()
    (tmp_path / ".set.building" / "train" / "target" / ".n1.png.4711.part").touch()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert not list((tmp_path / "set").rglob("*.part"))


def interrupted_build(toys: tuple[Path, dict[str, Any]], folder: Path, name: str) -> tuple[Path, Path]:
    """Build until one image is damaged; return the counts of what was made, and the marker that damages it."""
    calls, wrapped = toys
    marker = folder / "marker"
    marker.touch()
    wrapped[name] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError):
        build(JOB, folder / "set", 1)
    return calls, marker


@pytest.mark.parametrize("file", ["train/target/n0.png", "train/references/n0/002.png", "rows/train/n0.json"])
def test_a_damaged_file_is_made_again_when_a_build_continues(toys, tmp_path, file):
    calls, marker = interrupted_build(toys, tmp_path, "n1")
    damaged = tmp_path / ".set.building" / file
    damaged.write_bytes(damaged.read_bytes()[:-7])
    marker.unlink()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls)["n0"] == 2 and counts(calls)["n1"] == 1
    assert images(tmp_path / "set") == images(build(JOB, tmp_path / "other", 1).parent)


@pytest.mark.parametrize(
    "other", [Job("toys", None, {}, 1, "sample"), Job("toys", None, {"draws": 3}, 0, "sample")], ids=["seed", "options"]
)
def test_another_job_starts_in_an_empty_folder(toys, tmp_path, other):
    calls, marker = interrupted_build(toys, tmp_path, "n2")
    marker.unlink()
    build(other, tmp_path / "set", 1)
    assert counts(calls)["n0"] == 2
    assert images(tmp_path / "set") == images(build(other, tmp_path / "fresh", 1).parent)


def test_a_build_replaces_an_older_one_completely(toys, tmp_path):
    build(Job("toys", None, {"draws": 5}, 0, "sample"), tmp_path / "set", 1)
    build(JOB, tmp_path / "set", 1)
    assert images(tmp_path / "set") == images(build(JOB, tmp_path / "fresh", 1).parent)


@pytest.mark.parametrize(
    ("name", "seed"), [("rows", 1), (".set.building", 1), (".set.old", 0)], ids=["notes", "rename", "old set"]
)
def test_a_build_interrupted_at_the_end_makes_no_image_again(toys, tmp_path, monkeypatch, name, seed):
    calls, _ = toys
    whole = [files(build(job, tmp_path / f"whole{job.seed}", 1).parent) for job in (JOB, OLDER)]
    build(OLDER, tmp_path / "set", 1)
    for path in calls.iterdir():
        path.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    assert whole[seed].items() <= files(tmp_path / "set").items()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert files(tmp_path / "set") == whole[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "set", "whole0", "whole1"]


def test_a_set_that_a_killed_process_had_renamed_comes_back(toys, tmp_path):
    _, wrapped = toys
    before = files(build(OLDER, tmp_path / "set", 1).parent)
    (tmp_path / "set").rename(tmp_path / ".set.old")  # killed between the two renames
    marker = tmp_path / "damaged"
    marker.touch()
    wrapped["n0"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match="damaged"):
        build(JOB, tmp_path / "set", 1)
    assert files(tmp_path / "set") == before and not (tmp_path / ".set.old").exists()


@pytest.mark.parametrize("name", ["rows", ".set.old"])
def test_another_job_replaces_a_build_interrupted_at_the_end(toys, tmp_path, monkeypatch, name):
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    build(OLDER, tmp_path / "set", 1)
    assert files(tmp_path / "set") == files(build(OLDER, tmp_path / "fresh", 1).parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "fresh", "set"]


@pytest.mark.parametrize("name", ["rows", ".set.old"])
def test_an_original_changed_after_an_interruption_at_the_end_is_used(toys, tmp_path, monkeypatch, name):
    calls, _ = toys
    original = tmp_path / "x.png"
    original.write_text("first")
    make = partial(pixels, calls=calls, name="a", sides=(20, 31))
    swapped(monkeypatch, offline=lambda: [Item("a", "train", make, "x.png", "", (original,))])
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    original.write_text("second")
    building._source_digest.cache_clear()  # this process's cache: each build by hand is a new process
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    assert json.loads(built.rows["source_sha256"][0]) == [sha256(original)]
    assert counts(calls) == {"a": 3}


def test_an_old_set_is_deleted_by_one_process_only(toys, tmp_path, monkeypatch):
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, ".set.old")
        build(JOB, tmp_path / "set", 1)
    with (
        locked(tmp_path / "set", "building toys"),
        pytest.raises(UserError, match=r"/set: another process is building toys here; wait"),
    ):
        build(JOB, tmp_path / "set", 1)
    assert (tmp_path / ".set.old").is_dir()
