"""Write files and folders whole or not at all, hash them, and lock folders for one process."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.contracts import UserError

LOCK = ".lock"
"""The file in a folder that `locked` locks."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; rename it to `path` on success, delete it on failure.

    Raises UserError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise as_user_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def as_user_error(error: OSError, path: Path) -> UserError:
    """Turn an error of the file system into one message with the place, the cause and what to do."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(_existing(path)).free
        return UserError(f"{path}: the disk is full ({free / 2**20:.0f} MiB free); free some space and run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{_existing(path)}: this folder cannot be written; choose another one or change its rights")
    return UserError(f"{path}: {error.strerror or error}")


def _existing(path: Path) -> Path:
    """Return `path`, or its nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def need_writable(folder: Path) -> None:
    """Create `folder` and raise UserError, before any work starts, if nothing can be written in it."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise as_user_error(error, folder) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged JSON ({error})") from None


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Read a JSON object that an earlier attempt wrote; {} when it is missing or damaged: the work is then repeated."""
    try:
        return read_json(path)
    except UserError:
        return {}


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder and rename it to `path`: a reader sees the old folder or the complete new one.

    Args:
        fill: called with the new, empty folder.

    A process that is killed meanwhile leaves the old folder under a hidden name: see `put_in_place`.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        restore_old_folder(path)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        fill(fresh)
        put_in_place(fresh, path)
    except OSError as error:
        raise as_user_error(error, path) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[None]:
    """Create `folder` and lock it for this process; the system releases the lock when the process ends or is killed.

    Args:
        activity: what this process does in the folder, for the message to a second one: "training mrfnet-gopro".

    Raises UserError at once when another process holds the lock.
    """
    from filelock import FileLock, Timeout

    need_writable(folder)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder}: another process is {activity} here; wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()
