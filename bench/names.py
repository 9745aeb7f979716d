"""The one rule for names that become a file, a folder, an entry of MLflow or a word of a command.

Runs, groups, datasets, images, variants, labels, auxiliary maps: all are checked against this rule before any work. A
name that keeps it cannot leave its folder, start a hidden file, be an option of a command or mean something to a shell,
and every file system and MLflow accept it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.contracts.errors import ParamsError, brief

LONGEST = 100
"""The most characters of a name: two names, a file's ending and the suffix of a temporary file fit into 255 bytes."""
RULE = f"ASCII letters, digits and . _ + -, first a letter or digit, last no dot, at most {LONGEST} characters"
PATTERN = rf"[A-Za-z0-9](?:[A-Za-z0-9._+-]{{0,{LONGEST - 2}}}[A-Za-z0-9_+-])?"
"""The rule as a regular expression, for whole columns of names."""
DEVICES = r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?"
"""Names of devices on Windows, whatever follows the dot: no file or folder can have them there."""
_VALID, _DEVICE = re.compile(PATTERN), re.compile(DEVICES, re.IGNORECASE)


def fault_of(name: str) -> str:
    """Return what is expected of a name that breaks the rule, "" for one that keeps it.

    >>> fault_of("dmphn+rn"), fault_of("../victim")[:29]
    ('', 'expected ASCII letters, digit')
    """
    if not _VALID.fullmatch(name):
        return f"expected {RULE}"
    return "expected another name: on Windows this is a device" if _DEVICE.fullmatch(name) else ""


def check_name(name: str, where: str) -> None:
    """Raise ParamsError unless the name keeps the rule; `where` starts the message."""
    if fault := fault_of(name):
        raise ParamsError(f"{where}: found {brief(name)}, {fault}")


def as_name(text: str) -> str:
    """Turn the name of a file into one that keeps the rule; a name that keeps it stays as it is.

    >>> as_name("1P0A0001"), as_name("IMG 20 (1)"), as_name("aux")
    ('1P0A0001', 'IMG-20-1', 'image-aux')
    """
    if not fault_of(text):
        return text
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip(".-")
    return (f"image-{plain}" if fault_of(plain) else plain)[:LONGEST].rstrip(".")


def first_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that differ at most in upper and lower case: one folder on macOS and Windows.

    >>> first_clash(["MRFNET", "rn", "mrfnet"])
    ('MRFNET', 'mrfnet')
    """
    seen: dict[str, str] = {}
    for name in names:
        if (key := name.casefold()) in seen:
            return seen[key], name
        seen[key] = name
    return None


def clash_with(name: str, others: Iterable[str]) -> str:
    """Return the first of `others` that differs from `name` at most in upper and lower case, "" for none.

    >>> clash_with("RN", ["mrfnet", "rn"])
    'rn'
    """
    return next((other for other in others if other.casefold() == name.casefold()), "")
