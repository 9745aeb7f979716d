"""Folders that are replaced whole, and folders that one process at a time may use."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.contracts import UserError
from bench.files import (
    NoLocks,
    locked,
    need_writable,
    only_writer,
    read_json,
    read_json_or_empty,
    replace_folder,
    replacing,
    swap_folder,
    temporary,
    write_json,
)
from bench.search.locks import hold

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

KILLED_BETWEEN_RENAMES = """
import os, signal
from pathlib import Path
from bench.files import replace_folder

rename, calls = Path.rename, []

def killed(path, target):
    calls.append(path)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = killed
replace_folder(Path("scores"), lambda folder: (folder / "a").write_text("new"))
"""

HOLDS_THE_LOCK = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from bench.files import locked

with locked(Path(sys.argv[1]), "building toys"), ProcessPoolExecutor(1) as pool:
    print(pool.submit(int, "1").result() and "locked", flush=True)
    time.sleep(60)
"""


def with_text(text: str) -> Callable[[Path], None]:
    """Fill a folder with one file."""

    def fill(folder: Path) -> None:
        (folder / "a").write_text(text)

    return fill


def texts(folder: Path) -> dict[str, str]:
    """The text of every file below a folder, hidden or not, but locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


# Whole files and folders ----------------------------------------------------------------------------------------------


def test_a_file_that_was_not_finished_is_not_there(tmp_path):
    write_json(tmp_path / "a.json", {"key": 1})
    with pytest.raises(KeyError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{")
        raise KeyError
    assert read_json(tmp_path / "a.json") == {"key": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_file_is_an_error_or_empty(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: damaged JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")
    assert read_json_or_empty(tmp_path / "a.json") == read_json_or_empty(tmp_path / "b.json") == {}


def test_a_kill_between_the_two_renames_loses_neither_folder(tmp_path):
    replace_folder(tmp_path / "scores", with_text("old"))
    done = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES], cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(texts(tmp_path).values()) == ["new", "old"] and not list(tmp_path.glob("[!.]*"))

    def fails(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="scores: the disk is full"):
        replace_folder(tmp_path / "scores", fails)
    assert texts(tmp_path)["scores/a"] == "old"
    replace_folder(tmp_path / "scores", with_text("newer"))
    assert texts(tmp_path)["scores/a"] == "newer" and "old" not in texts(tmp_path).values()


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one_in_place(tmp_path, monkeypatch):
    replace_folder(tmp_path / "scores", with_text("old"))
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserError, match="scores: Input/output error"):
        replace_folder(tmp_path / "scores", with_text("new"))
    assert texts(tmp_path) == {"scores/a": "old"}


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_is_one_message(tmp_path, number):
    def fails(folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    expected = {
        errno.EDQUOT: r"scores: your quota on this disk is used up; free some space and run it again$",
        errno.ENOSPC: r"scores: the disk is full \(\d+ MiB free\); free some space and run it again$",
        errno.EROFS: r": this folder cannot be written; choose another one or change its rights$",
    }[number]
    with pytest.raises(UserError, match=expected):
        replace_folder(tmp_path / "scores", fails)
    assert list(tmp_path.iterdir()) == []


# What killed processes leave ------------------------------------------------------------------------------------------

KILLED_WHILE_FILLING = """
import os, signal
from pathlib import Path
from bench.files import replace_folder, replacing

def fill(folder):
    (folder / "a").write_text("half")
    with replacing(Path("plot.png")) as part:
        part.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

replace_folder(Path("scores"), fill)
"""


def killed(folder: Path) -> None:
    """Kill a process while it replaces a folder and a file."""
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_FILLING], cwd=folder, env=ENVIRONMENT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(folder.glob(".*.part"))) == 2


def test_the_next_command_removes_what_a_killed_one_left(tmp_path):
    killed(tmp_path)
    replace_folder(tmp_path / "scores", with_text("new"))
    assert texts(tmp_path) == {"scores/a": "new"} and [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_another_command_in_the_same_folder_removes_it_too(tmp_path):
    killed(tmp_path)
    need_writable(tmp_path)
    assert list(tmp_path.glob(".*.part")) == []


def test_what_living_processes_and_other_machines_write_stays(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        living = temporary(tmp_path / "a").name.replace(str(os.getpid()), str(process.pid))
        elsewhere = [".a.00000000-1.part", ".b.00000000-1.part", ".c.00000000-1.part"]
        for name in (living, *elsewhere[:2], ".a.part", ".own-notes.1.part"):
            (tmp_path / name).touch()
        (tmp_path / elsewhere[2]).mkdir()
        for name in elsewhere[1:]:
            os.utime(tmp_path / name, (0, 0))
        need_writable(tmp_path)
    finally:
        process.communicate()
    expected = sorted([living, elsewhere[0], elsewhere[2], ".a.part", ".own-notes.1.part"])
    assert sorted(path.name for path in tmp_path.iterdir()) == expected  # an old file of another machine is removed


def test_two_commands_never_replace_one_folder_at_once(tmp_path):
    with only_writer(tmp_path / "scores", "evaluating a"):
        with pytest.raises(UserError, match=r"scores: another process is evaluating a here; wait until it has ended$"):
            replace_folder(tmp_path / "scores", with_text("second"), "evaluating a")
        swap_folder(tmp_path / "scores", with_text("first"))
    assert texts(tmp_path) == {"scores/a": "first"}


def test_a_hand_over_waits_for_another_one(tmp_path):
    threads = [
        threading.Thread(target=replace_folder, args=(tmp_path / "scores", with_text(str(number)), "writing", 60))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(texts(tmp_path)) == ["scores/a"] and [path.name for path in tmp_path.iterdir()] == ["scores"]


# Locks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_apart_from_a_held_lock(tmp_path, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    message = (
        rf"^{tmp_path}: this file system has no locks, which keep two processes from damaging each other's work; "
        r"choose a folder on another disk \(paths.resume in params.yaml\)\.$"
    )
    with pytest.raises(NoLocks, match=message), locked(tmp_path, "training a", "paths.resume"):
        pass
    with pytest.raises(NoLocks, match=message), hold(tmp_path / "trial.lock"):
        pass
    with pytest.warns(UserWarning, match="has no locks.* run no two commands that write it"):
        replace_folder(tmp_path / "scores", with_text("new"))
    assert texts(tmp_path / "scores") == {"a": "new"}


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Lock a folder from another process, which has a worker process as a build has."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, str(folder)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_folder_that_another_process_holds_is_refused_at_once_and_free_when_it_is_killed(tmp_path):
    message = rf"^{tmp_path}/work: another process is building toys here; wait until it has ended$"
    with held_by_another_process(tmp_path / "work") as process:
        with pytest.raises(UserError, match=message), locked(tmp_path / "work", "building toys"):
            pass
        process.kill()  # its worker process is still there
        process.wait()
        with locked(tmp_path / "work", "building toys"):
            pass


def test_a_lock_is_held_once_in_one_process_and_free_after_an_error(tmp_path):
    refused = pytest.raises(UserError, match="another process is training mrfnet-gopro here")
    with locked(tmp_path, "training mrfnet-gopro"), refused, locked(tmp_path, "training mrfnet-gopro"):
        pass
    with pytest.raises(KeyError), locked(tmp_path, "training mrfnet-gopro"):
        raise KeyError
    with locked(tmp_path, "training mrfnet-gopro"):
        pass


def test_a_locked_folder_may_be_deleted_or_renamed(tmp_path):
    with locked(tmp_path / "a", "building toys"):
        (tmp_path / "a").rename(tmp_path / "b")
    with locked(tmp_path / "b", "building toys"):
        (tmp_path / "b" / ".lock").unlink()
        (tmp_path / "b").rmdir()
    assert not list(tmp_path.iterdir())
