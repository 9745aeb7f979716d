"""How many processors this process may use: `python -m bench.processors` prints the number, for the Makefile.

A scheduler, a container or `taskset` gives a process fewer than the machine has: by its affinity (cpusets), or by a
quota of its control group. joblib knows both too, but takes half a second to import, and reads the quota of the root
group alone, which is not that of a Slurm job.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows its control groups."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""The control groups of this process, one line per hierarchy: "number:controllers:path"."""


def available() -> int:
    """Return the number of processors that this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the quota, in processors, of each control group around this process that has one."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for folder in _upwards(CGROUPS, path):
                yield from _ratio(_values(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for root in (CGROUPS / "cpu", CGROUPS / controllers):
                for folder in _upwards(root, path):
                    yield from _ratio(_values(folder / "cpu.cfs_quota_us") + _values(folder / "cpu.cfs_period_us"))


def _upwards(root: Path, path: str) -> list[Path]:
    """Return the folder of a group and those of the groups around it, up to the root.

    In a container the path may be that of the host, whose folder is not there: the root is then the container's group.
    """
    folder = root / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _values(path: Path) -> list[str]:
    """Return the words in a file of a group; none where there is no file."""
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _ratio(values: list[str]) -> Iterator[float]:
    """Yield quota / period; nothing for a group without a quota ("max" or -1).

    >>> list(_ratio(["150000", "100000"])), list(_ratio(["max", "100000"])), list(_ratio(["-1", "100000"]))
    ([1.5], [], [])
    """
    if len(values) == 2 and values[0].isdigit() and values[1].isdigit() and int(values[1]):
        yield int(values[0]) / int(values[1])


if __name__ == "__main__":
    print(available())
