"""Mutate `params.yaml`: a command accepts it, or refuses it in one sentence."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.drill import damage, processes

FILE = Path(__file__).parents[2] / "params.yaml"
SECONDS, MEMORY = 20.0, 12 * 2**30
"""The most time and address space of a command."""
COMMANDS = (("settings", "mrfnet-gopro"), ("settings", "evaluate"), ("list", "runs"), ("settings", "dffnet-visdrone"))
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**40, 0.0, -0.5, 0.999, 1e308, float("inf"), float("nan"),
    "", " ", "x", "../../victim", "/etc", "a; touch RAN", "$(touch RAN)", "-h", ".hidden", "x" * 300, "é", "a\nb",
    "1e-4", "2024-02-30", [], [1, 2], ["x"] * 50, {}, {"x": 1}, {"a": {"b": {"c": []}}}, {1: 2}, b"bytes",
)  # fmt: skip
"""Values that take the place of others."""
TEXTS = (
    "a: &a [*a]\n",
    "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "[" * 3000,
    "{" * 3000,
    "profile: sample\nprofile: paper\n",
    "!!python/object/apply:os.system ['touch RAN']\n",
    "? {a: b}\n: c\n",
    "profile: !!timestamp 2024-02-30\n",
    "\t\n",
    "%YAML 9.9\n---\nprofile: sample\n",
    "---\nprofile: sample\n---\nprofile: paper\n",
)  # fmt: skip
"""Files that are hostile as a whole."""

Place = tuple[Any, ...]


def prepare(folder: Path) -> tuple[Path, str]:
    """Return an empty project folder and the text that is mutated."""
    return folder, FILE.read_text(encoding="utf-8")


def attempt(prepared: tuple[Path, str], seed: str, number: int) -> list[str]:
    """Mutate the file, run a command with it, and return what is wrong.

    Args:
        prepared: of `prepare`.
        seed: of the choices.
        number: of the try.
    """
    folder, text = prepared
    choices = random.Random(f"{seed}-{number}")
    how, mutated = mutate(text, choices, number)
    (folder / "params.yaml").write_bytes(mutated)
    ended = processes.run(folder, choices.choice(COMMANDS), SECONDS, memory=MEMORY)
    faults = damage.faults_of(ended, lambda: False)
    if stray := sorted(path.name for path in folder.iterdir() if path.name != "params.yaml"):
        faults.append(f"made {', '.join(stray)}")
    return [f"{how} ({number}): {fault}" for fault in faults]


def mutate(text: str, choices: random.Random, number: int) -> tuple[str, bytes]:
    """Return a description of a mutation and the mutated file."""
    if number < len(TEXTS):
        return f"hostile text {TEXTS[number][:20]!r}", TEXTS[number].encode()
    if choices.random() < 0.3:
        how = choices.choice(damage.DAMAGES)
        return how.__name__, how(bytearray(text, "utf-8"), choices)
    values = yaml.safe_load(text)
    described = [mutate_value(values, choices) for _ in range(choices.choice((1, 1, 1, 2, 3)))]
    return ", ".join(described)[:200], yaml.dump(values, allow_unicode=choices.random() < 0.5).encode()


def mutate_value(values: dict[str, Any], choices: random.Random) -> str:
    """Change one place of a tree of values; return what was done."""
    *path, last = choices.choice(list(places(values)))
    holder: Any = values
    for key in path:
        holder = holder[key]
    place = ".".join(map(str, (*path, last)))
    kind = choices.choice(("replace", "replace", "replace", "remove", "rename", "swap"))
    if kind == "remove":
        del holder[last]
    elif kind == "rename" and isinstance(holder, dict):
        new = choices.choice([value for value in VALUES if not isinstance(value, (list, dict))])
        holder[new] = holder.pop(last)
    elif kind == "swap":
        other = choices.choice(list(places(values)))
        holder[last] = copy.deepcopy(value_at(values, other))
    else:
        holder[last] = copy.deepcopy(choices.choice(VALUES))
    return f"{kind} {place}"


def value_at(values: Any, path: Place) -> Any:
    """Return the value at a place."""
    for key in path:
        values = values[key]
    return values


def places(values: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the path of every value below the top."""
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places(value, (*path, key))
