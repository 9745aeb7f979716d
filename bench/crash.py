"""The last guard of a command: what nobody expected is written to a file and named in one sentence."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.contracts.errors import brief
from bench.files import as_user_error

STATUS = 70
"""The exit status, EX_SOFTWARE of sysexits.h: the mistake is ours, not the user's."""
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "pydantic", "mlflow", "optuna", "accelerate", "dvc")
"""Packages whose versions the file has."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""Parts of the messages of torch and of the system where memory ran out, in lower case."""
SURROUNDINGS = (
    errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE,
)  # fmt: skip
"""Errors of the file system that no command causes: names too long, disks full or failing, too many open files."""


def end(error: BaseException, command: str, arguments: Sequence[str]) -> int:
    """Print one sentence about an error that nobody expected; return the exit status.

    Args:
        error: what was raised.
        command: the start of the sentence: "sharpbench train".
        arguments: the command line without the program's name.

    Returns:
        2 where memory, the disk or another limit of the system is the cause, else `STATUS`: then the file that the
        sentence names has all that is known.
    """
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        print(f"{command}: {as_user_error(error, Path(str(error.filename or os.curdir)))}", file=sys.stderr)
        return 2
    if ran_out_of_memory(error):
        what = "memory ran out; use smaller networks, crops, batches or images, or fewer processes at once"
        print(f"{command}: {what} ({_first_line(error)})", file=sys.stderr)
        return 2
    text = _details(error, arguments)
    place = _write(text)
    print(
        f"{command}: an error that nobody expected: {type(error).__name__}: {_first_line(error)}; "
        + (f"please report it with the file {place}" if place else f"no file can be written for a report:\n{text}"),
        file=sys.stderr,
    )
    return STATUS


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, torch or the system could not give the memory that was asked for."""
    known = isinstance(error, (RuntimeError, OSError)) and any(part in str(error).lower() for part in OUT_OF_MEMORY)
    return known or isinstance(error, MemoryError)


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, shortened."""
    return brief((str(error).strip() or "no message").splitlines()[0])[1:-1]


def _details(error: BaseException, arguments: Sequence[str]) -> str:
    """Return all that helps to find the cause: the command, the machine, versions, and where it happened."""
    from importlib.metadata import PackageNotFoundError, version

    from bench import __version__

    lines = [
        f"command: python -m bench {shlex.join(arguments)}",
        f"time: {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        f"sharpbench {__version__}, Python {platform.python_version()}, {platform.platform()}",
    ]
    with suppress(OSError):
        lines.insert(1, f"folder: {os.getcwd()}")
    versions = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return "\n".join([*lines, ", ".join(versions), "", *traceback.format_exception(error)])


def _write(text: str) -> str:
    """Write the text to a new file that only this user can read; return its path, "" where none can be written."""
    try:
        number, path = tempfile.mkstemp(prefix="sharpbench-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return ""
    return path
