"""The file of MLflow's store is made whole, and made again where an earlier process was killed while it made it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bench.contracts import UserError
from bench.tracking import database, store
from tests.bench.tracking.toys import all_runs, made_record

ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sqlite3
from bench.tracking import store
from alembic.operations import Operations

calls, add = [], Operations.create_index

def killed(*arguments, **options):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.{signal})
    return add(*arguments, **options)

Operations.create_index = killed
store.connect()
"""


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def drop_most(path: Path) -> None:
    """Leave the first tables, as after a kill in the first step; the last version was not noted yet."""
    change(path, "DROP TABLE alembic_version", "DROP TABLE spans", "DROP TABLE logged_models")


HALF_MADE: dict[str, Callable[[Path], None]] = {
    "no tables": lambda path: (path.unlink(), change(path, "CREATE TABLE a (b)", "DROP TABLE a"))[0],
    "few tables": drop_most,
    "no version": lambda path: change(path, "DELETE FROM alembic_version"),
    "an early version": lambda path: change(path, "UPDATE alembic_version SET version_num = '451aebb31d03'"),
    "a table of a step": lambda path: change(path, "CREATE TABLE _alembic_tmp_runs (a)", "DELETE FROM alembic_version"),
}


@pytest.mark.parametrize("damage", HALF_MADE.values(), ids=HALF_MADE)
def test_a_store_that_was_never_completed_is_told_from_a_complete_one(empty_store, tmp_path, damage):
    shutil.copy(empty_store, path := tmp_path / store.DATABASE)
    assert not database._is_half_made(path)
    damage(path)
    assert database._is_half_made(path)


@pytest.mark.parametrize("damage", [drop_most, lambda path: path.write_bytes(b"")], ids=["few tables", "empty"])
def test_a_store_that_was_never_completed_is_made_again(empty_store, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, path := tmp_path / store.DATABASE)
    damage(path)
    (tmp_path / "mlflow.db-journal").touch()  # of the killed process
    (tmp_path / ".mlflow.db.00000000-1.part").write_bytes(b"of another one")
    store.start(store.connect(), made_record(), "key")
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["mlflow.db", "mlflow.db.lock"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_an_older_store_with_runs_says_what_to_do_and_stays_as_it_is(client, tmp_path):
    store.start(client, made_record(), "key")
    path = tmp_path / store.DATABASE
    drop_most(path)
    before = path.read_bytes()
    message = (
        r"mlflow\.db: a store of an older MLflow, which lacks 2 tables; make a copy of it, then run: "
        rf"mlflow db upgrade sqlite:///{path}$"
    )
    with pytest.raises(UserError, match=message):
        store.connect()
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change(tmp_path / "mlflow.db", "CREATE TABLE photographs (name)")
    assert not database._is_half_made(tmp_path / "mlflow.db")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_the_store_is_made_the_next_command_goes_on(tmp_path, monkeypatch, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = KILLED.format(signal=number.name)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -number
    assert not (tmp_path / store.DATABASE).exists() and list(tmp_path.glob(".mlflow.db.*.part"))
    monkeypatch.chdir(tmp_path)
    assert all_runs(store.connect()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
