"""What a person got wrong, as exceptions: a command prints the message alone."""

from __future__ import annotations

import reprlib


class UserError(Exception):
    """Bad input from a person: the command prints the message alone and exits with status 2."""


class DataError(UserError):
    """Files that are missing, damaged, of the wrong kind or not what the dataset's authors published."""


class ParamsError(UserError):
    """A parameter that is misspelt, of the wrong type or out of its range."""


class WeightsError(UserError):
    """Weights that cannot be read safely or do not fit the network."""


LONGEST = 160
"""The most characters of a value in a message."""
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 80
_BRIEF.maxlevel = 3


def brief(value: object) -> str:
    """Return a value as a message shows it: on one line and short, however large it is.

    >>> brief(["a", 1, None]), len(brief("x" * 1000))
    ("['a', 1, None]", 80)
    """
    try:
        text = _BRIEF.repr(value)
    except ValueError:  # Python refuses to print whole numbers of more than 4,300 digits
        return f"a value of the type {type(value).__name__} that is too long to print"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def printable(text: str) -> str:
    r"""Return a text that every file and page can hold: bytes of a file's name that are not UTF-8 become \\xNN.

    >>> printable("K\udcf6hler")
    'K\\udcf6hler'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def at_least(smallest: float, method: str, **arguments: float) -> None:
    """Check arguments of a method's networks against a lower bound.

    Args:
        smallest: the smallest value that is allowed.
        method: whose arguments they are, for the message.
        arguments: values by name.

    Raises:
        ParamsError: for the first argument below the bound.

    >>> at_least(1, "rn", channels=64, num_blocks=0)
    Traceback (most recent call last):
    ...
    bench.contracts.errors.ParamsError: rn: num_blocks is 0; expected at least 1
    """
    for name, value in arguments.items():
        if not value >= smallest:
            raise ParamsError(f"{method}: {name} is {value}; expected at least {smallest}")
