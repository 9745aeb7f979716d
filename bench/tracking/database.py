"""The SQLite file of MLflow's store: it is made whole or not at all.

MLflow makes it in dozens of steps. A process that is killed between two of them would leave a file that MLflow can
neither use nor repair. So a new store is made under another name, and renamed when it is complete.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench.contracts import UserError
from bench.files import temporary

COMPANIONS = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite has next to a database while it is in use."""


def complete(path: Path, artifacts: str) -> None:
    """Make the store where there is none, and again where an earlier one was left half-made without any run.

    The caller holds the store's lock.

    Args:
        path: the SQLite file. Another program's database is left as it is.
        artifacts: the folder of artifacts.

    Raises:
        UserError: the store holds runs and is of an older MLflow.
    """
    for leftover in path.parent.glob(f".{path.name}.*.part*"):
        leftover.unlink(missing_ok=True)
    if path.is_file() and path.stat().st_size and not _is_half_made(path):
        return
    part = temporary(path)
    try:
        _make(part, artifacts)
        for ending in COMPANIONS:  # SQLite would write the journal of the half-made store into the new one
            path.with_name(path.name + ending).unlink(missing_ok=True)
        part.replace(path)
    finally:
        for ending in ("", *COMPANIONS):
            part.with_name(part.name + ending).unlink(missing_ok=True)


def _make(path: Path, artifacts: str) -> None:
    """Let MLflow make a store, and close it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    made = SqlAlchemyStore(f"sqlite:///{path}", artifacts)
    made.engine.dispose()


def _is_half_made(path: Path) -> bool:
    """Return whether a file is a store of MLflow that was never completed and holds nothing.

    Raises UserError for an older store with runs, which MLflow would change without asking.
    """
    from mlflow.store.db.utils import Base

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=60)) as database:
            tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            used = any(_count(database, name) for name in tables & {"runs", "registered_models"})
            version = _version(database) if "alembic_version" in tables else ""
    except sqlite3.DatabaseError:
        return False  # not a database, or one that cannot be read: MLflow says so
    missing = set(Base.metadata.tables) - tables
    if used:
        if missing:
            raise UserError(
                f"{path}: a store of an older MLflow, which lacks {len(missing)} tables; make a copy of it, then run: "
                f"mlflow db upgrade sqlite:///{path.absolute()}"
            )
        return False
    if {name for name in tables if not name.startswith(("alembic_", "_alembic_", "sqlite_"))} - set(
        Base.metadata.tables
    ):
        return False  # of another program
    return bool(missing) or version != _newest_version()


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _version(database: sqlite3.Connection) -> str:
    """Return the version of the store's tables, "" before the first step."""
    row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _newest_version() -> str | None:
    """Return the version of the tables that this MLflow makes."""
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory

    return ScriptDirectory(mlflow.store.db_migrations.__path__[0]).get_current_head()
