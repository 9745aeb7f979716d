"""Files that are whole or not there at all: written under a temporary name, renamed, and known by their SHA-256."""

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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; on success it takes the name, on failure nothing is left.

    Raises UserError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def explained(error: OSError, path: Path) -> UserError:
    """Turn an error of the file system into one message that says where and what to do."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(_existing(path)).free
        return UserError(f"{path}: the disk is full ({free / 2**20:.0f} MiB free); free some space and run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{_existing(path)}: this folder cannot be written; choose another one or change its rights")
    return UserError(f"{path}: {error.strerror or error}")


def _existing(path: Path) -> Path:
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
        raise explained(error, folder) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, readable by a person."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged JSON ({error})") from None


def noted(path: Path) -> dict[str, Any]:
    """Read what an earlier attempt noted; nothing where it is missing or damaged, and the work is done again."""
    try:
        return read_json(path)
    except UserError:
        return {}


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder and put it in the place of `path`: a reader sees the old folder or the whole new one.

    A process that is killed while it does so leaves the old one under a hidden name: see `put_in_place`.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        bring_back(path)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        fill(fresh)
        put_in_place(fresh, path)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put_in_place(fresh: Path, path: Path) -> None:
    """Let the folder `fresh` take the name `path`, and delete what had it.

    Between two renames there is none for a moment. A process that is killed there leaves the old one under a hidden
    name, from which `bring_back` brings it back. Raises UserError when the file system refuses.
    """
    old = aside(path)
    try:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        bring_back(path)


def aside(path: Path) -> Path:
    """Return the hidden name beside `path` that the old folder has while a new one takes its place."""
    return path.with_name(f".{path.name}.old")


def bring_back(path: Path) -> None:
    """Give `path` the old folder back where a process was killed before the new one had taken its place."""
    if aside(path).exists() and not path.exists():
        aside(path).rename(path)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder` for this process. Raises UserError at once when another process holds it."""
    import fcntl

    need_writable(folder)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{folder}: another process is {what} here; wait until it has ended") from None
        yield
