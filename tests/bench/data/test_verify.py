"""Originals are read without building anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench import child_processes
from bench.contracts import DataError, Made
from bench.data.build import verify
from tests.bench.data.toys import JOB, Make, counts, failing


def test_verify_counts_and_reads_everything(toys):
    calls, wrapped = toys
    assert [item.name for item in verify(JOB)] == ["n0", "n1", "n2", "n3", "t4", "t5"]
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    marker = calls.parent / "marker"
    marker.touch()
    wrapped["t5"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        verify(JOB)


def waiting(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    """Make the sample as soon as the marker exists."""
    while not marker.exists():
        time.sleep(0.01)
    return inner(rng)


def test_verify_reads_no_more_after_a_damaged_file(toys, tmp_path, monkeypatch):
    calls, wrapped = toys
    damaged, released = tmp_path / "damaged", tmp_path / "released"
    damaged.touch()

    class Pool(ProcessPoolExecutor):
        """Two processes that pass the damaged file only after the pool's shutdown."""

        def __init__(self, workers: int | None = None, **options: Callable[[], None]):
            super().__init__(2, **options)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            working = self._executor_manager_thread
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            released.touch()
            if working:
                working.join()

    monkeypatch.setattr(child_processes, "ProcessPoolExecutor", Pool)
    wrapped["n0"] = lambda make: partial(failing, inner=make, marker=damaged)
    for name in [f"n{number}" for number in range(1, 60)] + ["t60", "t61"]:
        wrapped[name] = lambda make: partial(waiting, inner=make, marker=released)
    job = replace(JOB, options={"draws": 60})
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        verify(job)
    assert len(counts(calls)) < 10  # two being read, three handed out, and what is handed out meanwhile
    damaged.unlink()
    assert len(verify(job)) == 62 and len(counts(calls)) == 62
