"""Write files and folders whole or not at all, hash them, and lock folders for one process."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from bench.contracts import UserError

LOCK = ".lock"
"""The file in a folder that `locked` locks."""
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of a file system without locks."""
TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)\.part")
"""The names that `temporary` gives."""
HAND_OVER_SECONDS = 60.0
"""Seconds to wait for a process that replaces a folder in a moment, when the result of long work is to go there."""
FOREIGN_SECONDS = 24 * 3600.0
"""Age at which a temporary file of another machine is removed."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; rename it to `path` on success, delete it on failure.

    Raises UserError when the disk is full or the folder cannot be written.
    """
    part = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise as_user_error(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """Return the hidden name under which this process makes a file or a folder: .NAME.MACHINE-PROCESS.part."""
    return path.with_name(f".{_short(path.name)}.{_machine()}-{os.getpid()}.part")


def _short(name: str) -> str:
    """Return the first 200 bytes of a name: file systems take 255, and a temporary name is longer than the file's."""
    return os.fsdecode(os.fsencode(name)[:200])


@cache
def _machine() -> str:
    """Return 8 hexadecimal digits that tell the processes of one machine, or of one container, from all others."""
    name = os.uname().nodename
    with suppress(OSError):  # a container numbers its processes by itself
        name += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(name.encode()):08x}"


def _left_behind(path: Path, name: re.Match[str]) -> bool:
    """Return whether the process that made a temporary file or folder has ended.

    The processes of another machine are not known here: its files count after a day, its folders never.
    """
    if name["machine"] != _machine():
        return path.is_file() and time.time() - path.stat().st_mtime > FOREIGN_SECONDS
    try:
        os.kill(int(name["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def as_user_error(error: OSError, path: Path) -> UserError:
    """Turn an error of the file system into one message with the place, the cause and what to do."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(_existing(path)).free
        return UserError(f"{path}: the disk is full ({free / 2**20:.0f} MiB free); free some space and run it again")
    if error.errno == errno.EDQUOT:
        return UserError(f"{path}: your quota on this disk is used up; free some space and run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{_existing(path)}: this folder cannot be written; choose another one or change its rights")
    return UserError(f"{path}: {error.strerror or error}")


def _existing(path: Path) -> Path:
    """Return `path`, or its nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def need_writable(folder: Path) -> None:
    """Create `folder` and remove the temporary files in it whose process was killed.

    Raises UserError, before any work starts, if nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # without a name, so that nothing is left of it
            pass
        for path in folder.glob(".*.part"):
            if (name := TEMPORARY.fullmatch(path.name)) and _left_behind(path, name):
                _remove(path)
    except OSError as error:
        raise as_user_error(error, folder) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged JSON ({error})") from None


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Read a JSON object that an earlier attempt wrote; {} when it is missing or damaged: the work is then repeated."""
    try:
        values = read_json(path)
    except UserError:
        return {}
    return values if isinstance(values, dict) else {}


def replace_folder(path: Path, fill: Callable[[Path], None], activity: str = "writing", wait: float = 0.0) -> None:
    """Fill a new folder and rename it to `path`: a reader sees the old folder or the complete new one.

    Args:
        fill: called with the new, empty folder.
        activity: what this process does, as for `locked`: "evaluating mrfnet-gopro".
        wait: seconds to wait for another process that replaces the same folder.

    A process that is killed meanwhile leaves the old folder under a hidden name: see `put_in_place`. Raises UserError
    when another process replaces the folder, when the disk is full or the folder cannot be written.
    """
    with only_writer(path, activity, wait):
        swap_folder(path, fill)


@contextmanager
def only_writer(path: Path, activity: str, wait: float = 0.0) -> Iterator[None]:
    """Let no other process replace the folder `path` meanwhile, and remove what killed processes left of it.

    Arguments and errors as for `replace_folder`. Where the file system has no locks there is a warning: one process at
    a time works as well.
    """
    need_writable(path.parent)
    lock = path.with_name(f".{path.name}{LOCK}")
    try:
        taken = take_lock(lock, "paths", wait)
    except NoLocks as error:
        warnings.warn(f"{error} Until then run no two commands that write it", stacklevel=2)
        yield
        return
    if taken is None:
        raise UserError(f"{path}: another process is {activity} here; wait until it has ended")
    with taken:
        try:
            for leftover in path.parent.glob(f".{glob.escape(_short(path.name))}.*.part"):
                if TEMPORARY.fullmatch(leftover.name):
                    _remove(leftover)
            yield
        finally:
            lock.unlink(missing_ok=True)


def swap_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Do what `replace_folder` does, for a process that is inside `only_writer`."""
    fresh = temporary(path)
    try:
        restore_old_folder(path)
        _remove(fresh)
        fresh.mkdir(parents=True)
        fill(fresh)
        put_in_place(fresh, path)
    except OSError as error:
        raise as_user_error(error, path) from error
    finally:
        _remove(fresh)


def put_in_place(fresh: Path, path: Path) -> None:
    """Rename the folder `fresh` to `path` and delete the folder that had the name.

    Between its two renames `path` does not exist for a moment. A process that is killed there leaves the old folder
    under a hidden name; `restore_old_folder` renames it back. Raises UserError when the file system refuses.
    """
    old = old_folder(path)
    try:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise as_user_error(error, path) from error
    finally:
        restore_old_folder(path)


def old_folder(path: Path) -> Path:
    """Return the hidden name that the old folder `path` has while a new one is put in its place."""
    return path.with_name(f".{path.name}.old")


def restore_old_folder(path: Path) -> None:
    """Rename the old folder back to `path` if a process was killed before it had put the new one in its place."""
    if old_folder(path).exists() and not path.exists():
        old_folder(path).rename(path)


# Locks ----------------------------------------------------------------------------------------------------------------


class NoLocks(UserError):
    """The file system of a folder has no locks."""


def take_lock(
    path: Path, setting: str, wait: float | None = 0.0, poll: float = 0.05
) -> AbstractContextManager[object] | None:
    """Take the lock of a file, which is made if it does not exist. Every lock of the project is taken here.

    The system releases the lock when the process ends or is killed. A fork does not keep it.

    Args:
        setting: the setting of `params.yaml` that moves the folder, for the message.
        wait: seconds to wait for a process that holds it; None for as long as it takes.
        poll: seconds between two attempts.

    Returns:
        A context that releases the lock at its end; None when another process holds it.
    Raises:
        NoLocks: the file system has none: some network file systems are mounted so.
        UserError: the file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, poll_interval=poll, fallback_to_soft=False)
    try:
        return lock.acquire(timeout=-1 if wait is None else wait, blocking=wait != 0)
    except Timeout:
        return None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise as_user_error(error, path) from error
        raise NoLocks(
            f"{path.parent}: this file system has no locks, which keep two processes from damaging each other's work; "
            f"choose a folder on another disk ({setting} in params.yaml)."
        ) from None


@contextmanager
def locked(folder: Path, activity: str, setting: str = "paths") -> Iterator[None]:
    """Create `folder` and lock it for this process; the system releases the lock when the process ends or is killed.

    Args:
        activity: what this process does in the folder, for the message to a second one: "training mrfnet-gopro".
        setting: as for `take_lock`.

    Raises UserError at once when another process holds the lock, or when the file system has no locks.
    """
    need_writable(folder)
    lock = take_lock(folder / LOCK, setting)
    if lock is None:
        raise UserError(f"{folder}: another process is {activity} here; wait until it has ended")
    with lock:
        yield
