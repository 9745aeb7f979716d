"""SHA-256: of what is written, and the check of what is read.

Whoever reads a recorded file reads its bytes once, compares their digest with the recorded one, and uses these bytes. A
JSON file whose values nothing else records carries the digest of its own values: a seal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import DataError, UserError
from bench.files import write_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

SEAL = "sha256"
"""The key of the digest in a sealed JSON object."""
SHOWN = 16
"""Digits of a digest that a message shows."""


def digest(data: Buffer) -> str:
    """Return the SHA-256 of bytes in hexadecimal.

    >>> digest(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    return hashlib.sha256(data).hexdigest()


def check_digest(
    where: str | Path, actual: str, expected: str, advice: str, error: type[UserError] = DataError
) -> None:
    """Compare two digests.

    Args:
        where: what was read, for the message.
        actual: the digest of what was read, in hexadecimal.
        expected: the recorded digest; "" where none was recorded.
        advice: what to do about a difference.
        error: the class to raise.

    Raises:
        error: they differ.
    """
    if actual != expected:
        raise error(
            f"{where}: has changed since it was written: its SHA-256 begins with {actual[:SHOWN]}, recorded is "
            f"{expected[:SHOWN] or 'none'}; {advice}"
        )


def read_verified(path: Path, expected: str, advice: str, error: type[UserError] = DataError) -> bytes:
    """Read a file and compare it with its recorded digest. Arguments as for `check_digest`.

    Raises:
        error: the file is missing, cannot be read, or has another digest.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        state = "missing" if isinstance(problem, FileNotFoundError) else f"cannot be read ({problem.strerror})"
        raise error(f"{path}: {state}; {advice}") from None
    check_digest(path, digest(data), expected, advice, error)
    return data


def seal_of(values: Mapping[str, Any], key: str = SEAL) -> str:
    """Return the digest of all values but that of `key`, as they are in a JSON file.

    >>> seal_of({"a": (1, 2)}) == seal_of({"sha256": "old", "a": [1, 2]})
    True
    """
    content = json.loads(json.dumps({name: value for name, value in values.items() if name != key}, default=str))
    return digest(json.dumps(content, sort_keys=True).encode())


def check_seal(
    where: str | Path, values: Mapping[str, Any], advice: str, key: str = SEAL, error: type[UserError] = DataError
) -> None:
    """Compare the values of a JSON object with the seal among them. Arguments as for `check_digest`.

    Raises:
        error: a value or the seal has changed, or there is no seal.
    """
    check_digest(where, seal_of(values, key), str(values.get(key, "")), advice, error)


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with its seal, whole or not at all."""
    write_json(path, {**values, SEAL: seal_of(values)})


def read_sealed(path: Path, advice: str, error: type[UserError] = DataError) -> dict[str, Any]:
    """Read a JSON object that `write_sealed` wrote, without its seal.

    Args:
        path: of the file.
        advice: what to do about a file that cannot be read.
        error: the class to raise.

    Raises:
        error: it is missing or damaged, or a value has changed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: missing; {advice}") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path}: cannot be read ({problem}); {advice}") from None
    if not isinstance(values, dict):
        raise error(f"{path}: found {type(values).__name__}, expected a JSON object; {advice}")
    check_seal(path, values, advice, error=error)
    return {name: value for name, value in values.items() if name != SEAL}


def read_sealed_or_empty(path: Path) -> dict[str, Any]:
    """Read what an earlier attempt wrote with `write_sealed`; {} when it cannot be read: the work is then repeated."""
    try:
        return read_sealed(path, "")
    except DataError:
        return {}
