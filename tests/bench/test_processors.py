"""The processors that a process may use: by its affinity and by the quotas of its control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import processors
from bench.processors import available

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with sixteen processors and no control group yet; return the folder of the groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(processors, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "OWN_GROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_groups_the_affinity_counts(machine, monkeypatch):
    assert available() == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available() == 1


@pytest.mark.parametrize(
    ("own", "root", "expected"),
    [
        ("max 100000", "max 100000", 16),
        ("250000 100000", "max 100000", 3),
        ("800000 100000", "200000 100000", 2),
        ("5000 100000", "", 1),
    ],
)
def test_a_quota_of_this_group_or_of_one_around_it_counts(machine, own, root, expected):
    write(processors.OWN_GROUPS, "0::/slurm/job_7/task_0\n")
    write(machine / "slurm/job_7/cpu.max", own)
    write(machine / "slurm/job_7/task_0/cpu.max", "max 100000")
    write(machine / "cpu.max", root)
    assert available() == expected


def test_in_a_container_the_root_is_the_containers_group(machine):
    write(processors.OWN_GROUPS, "0::/docker/0123456789\n")
    write(machine / "cpu.max", "400000 100000")
    assert available() == 4


def test_quotas_of_the_first_version_of_control_groups_count(machine):
    write(processors.OWN_GROUPS, "5:cpu,cpuacct:/job\n4:memory:/job\n")
    write(machine / "cpu,cpuacct/job/cpu.cfs_quota_us", "150000")
    write(machine / "cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    write(machine / "cpu,cpuacct/cpu.cfs_quota_us", "-1")
    write(machine / "cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert available() == 2


def test_threads_and_processes_follow_the_affinity_of_this_process():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    code = """
import os
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from bench.data.workers import processes
from bench.training.device import set_threads
with processes() as pool:
    print(set_threads(0), pool._max_workers)
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"1", b"1"]
