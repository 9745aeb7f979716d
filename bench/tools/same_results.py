"""Compare the results of two checkouts: `python -m bench.tools.same_results OLD NEW`.

After a change that must move no number: the same seeds must have given the same weights, bit by bit, and the same value
in every cell of the report, but for seconds and memory, which are measured again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MEASURED_ANEW = frozenset({"seconds", "memory"})
"""Metrics whose values are those of the machine at that moment."""
OF_THE_RUN = frozenset({"git_commit", "git_dirty", "mlflow_run", "code"})
"""Parts of a cell that name the run which measured it, not what it measured."""

Cell = Mapping[str, Any]


def weights(root: Path, profile: str) -> dict[str, dict[str, bytes]]:
    """Return the tensors of every trained run: by run, by name, their type, shape and bytes."""
    from safetensors.numpy import load_file

    return {
        path.parent.name: {
            name: repr((value.dtype, value.shape)).encode() + value.tobytes() for name, value in load_file(path).items()
        }
        for path in sorted((root / "out" / profile / "runs").glob("*/weights.safetensors"))
    }


def cells(root: Path, profile: str) -> dict[str, Cell]:
    """Return the cells of a rendered report by table, row, column and what else tells them apart."""
    path = root / "reports" / "out" / profile / "cells.json"
    listed: dict[str, Cell] = {}
    for cell in json.loads(path.read_text(encoding="utf-8")):
        parts = [cell[key] for key in ("table", "row", "column", "evaluation")]
        key = " / ".join(map(str, [*parts, cell.get("condition"), cell.get("size"), cell.get("seed")]))
        listed[key] = cell
    return listed


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that only one side has, and those whose values differ."""
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            yield f"only in the old one: {key}"
        elif key not in old:
            yield f"only in the new one: {key}"
        elif old[key] != new[key]:
            yield key


def differing_cells(old: Mapping[str, Cell], new: Mapping[str, Cell]) -> Iterator[str]:
    """Yield the cells that differ in anything but time, memory and the run that measured them."""
    kept = [{key: _comparable(cell) for key, cell in side.items()} for side in (old, new)]
    for key in differences(*kept):
        if key in old and key in new:
            changed = {name: (kept[0][key].get(name), kept[1][key].get(name)) for name in kept[0][key] | kept[1][key]}
            yield f"{key}: { ({name: pair for name, pair in changed.items() if pair[0] != pair[1]}) }"
        else:
            yield key


def _comparable(cell: Cell) -> dict[str, Any]:
    hidden = OF_THE_RUN | ({"value", "cell"} if cell["metric"] in MEASURED_ANEW else set())
    return {key: value for key, value in cell.items() if key not in hidden}


def main(arguments: list[str]) -> int:
    """Print what differs; return 0 where nothing does, else 1."""
    if len(arguments) not in (2, 3):
        print("usage: python -m bench.tools.same_results OLD NEW [PROFILE]", file=sys.stderr)
        return 2
    profile = arguments[2] if len(arguments) == 3 else "sample"
    roots = [Path(argument) for argument in arguments[:2]]
    old, new = (weights(root, profile) for root in roots)
    different = list(differences(old, new))
    tensors = sum(len(run) for run in new.values())
    print(f"weights: {len(old)} and {len(new)} runs, {tensors} tensors; runs that differ: {len(different)}")
    cell_sides = [cells(root, profile) for root in roots]
    different_cells = list(differing_cells(*cell_sides))
    counts = " and ".join(str(len(side)) for side in cell_sides)
    print(f"cells: {counts}; cells that differ, but for seconds and memory: {len(different_cells)}")
    for text in [*different, *different_cells]:
        print(f"  {text}")
    return 1 if different or different_cells else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
