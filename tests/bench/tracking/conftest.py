"""What tests of tracking share: an empty store, and a client of a copy of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bench.tracking import store


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """Make one store; making it takes seconds, copying it none."""
    folder = tmp_path_factory.mktemp("store")
    before = Path.cwd()
    os.chdir(folder)
    try:
        store.connect()
    finally:
        os.chdir(before)
    return folder / store.DATABASE


@pytest.fixture
def client(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, store.DATABASE)
    return store.connect()
