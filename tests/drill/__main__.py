"""`python -m tests.drill`: kill commands, damage files, mutate parameters; print what broke."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.drill import damage, kills, parameters, processes


@dataclass(frozen=True)
class Part:
    """A part of the drill."""

    prepare: Callable[[Path], Any]
    """A new folder to what the tries of one process work on."""
    attempt: Callable[[Any, str, int], list[str]]
    """(what `prepare` returned, the seed, the number of the try) to what broke."""
    tries: int
    """How often it is tried."""


PARTS = {
    "kills": Part(kills.prepare, kills.attempt, 100),
    "files": Part(damage.prepare, damage.attempt, 500),
    "parameters": Part(parameters.prepare, parameters.attempt, 2000),
}
"""The parts by name, in order."""
prepared: dict[str, Any] = {}
"""What a process of the drill has prepared, by part."""


def begin(name: str, folder: str) -> None:
    """Prepare a process for the tries of a part."""
    prepared[name] = PARTS[name].prepare(Path(tempfile.mkdtemp(dir=folder)))


def attempt(name: str, seed: str, number: int) -> list[str]:
    """Try once; an exception of the drill itself is a fault too."""
    try:
        return PARTS[name].attempt(prepared[name], seed, number)
    except Exception as error:
        return [f"try {number}: the drill cannot go on: {type(error).__name__}: {error}"]


def run(names: Iterable[str], numbers: Sequence[int] | None, seed: str, jobs: int) -> int:
    """Run parts of the drill one after the other; return how many faults there are.

    Args:
        names: of the parts.
        numbers: of the tries; None for those that each part declares.
        seed: of all choices.
        jobs: processes.
    """
    processes.prepare()
    context = multiprocessing.get_context("fork")  # the forks have imported everything
    count = 0
    for name in names:
        chosen = numbers or range(PARTS[name].tries)
        with (
            tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as folder,
            ProcessPoolExecutor(jobs, context, begin, (name, folder)) as pool,
        ):
            results = pool.map(partial(attempt, name, seed), chosen)
            faults = [fault for part in tqdm(results, name, len(chosen), disable=None) for fault in part]
        print(f"{name}: {len(chosen)} tries, {len(faults)} faults", *faults, sep="\n  ", flush=True)
        count += len(faults)
    return count


def main() -> int:
    """Read the command line and run the drill; 0 where nothing broke."""
    defaults = ", ".join(f"{part.tries} of {name}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", default="0", help="of all choices: equal seeds choose the same")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one per core")
    parser.add_argument("--tries", type=int, help=f"tries of each part; default: {defaults}")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat the try of this number alone")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    numbers = [options.only] if options.only is not None else range(options.tries) if options.tries else None
    return int(run(options.parts or PARTS, numbers, options.seed, options.jobs) > 0)


if __name__ == "__main__":
    sys.exit(main())
