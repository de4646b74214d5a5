"""SQLite as several processes use it at once: write-ahead log, waiting for locks, transactions that say what they are."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sophia.store.faults import sqlite_fault

BUSY_TIMEOUT_S = 10.0
_POOL_SIZE = 4
"""Connections, each with a thread. There is one writer at a time, so these are mostly readers."""

# FULL, not NORMAL: with NORMAL a power cut takes back transactions of the last seconds, but the queue was told that
# they are kept, and a machine's intent must be on disk before the machine costs money. A transaction is a whole batch,
# so this is one fsync a batch.
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
)


def sqlite_engine(path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> AsyncEngine:
    """An engine on ``path``; ``prepare_file`` must have run once. The execution option ``sophia_begin`` is the kind
    of transaction: IMMEDIATE takes the write lock first, so that a reader never has to become a writer half-way,
    which SQLite refuses without waiting."""
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": busy_timeout_s},
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    event.listen(engine.sync_engine, "invalidate", _on_invalidate)
    return engine


def prepare_file(path: Path) -> None:
    """Create the file, readable by its owner only, and switch it to the write-ahead log, which stays with the file.

    Raises ``OSError`` or one of ``nouns.errors``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            while not _switch_to_wal(connection):
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.02)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise sqlite_fault(error, f"the ledger {path}", path) from error


def _switch_to_wal(connection: sqlite3.Connection) -> bool:
    """``False``: another process has the file open right now. SQLite's own busy timeout does not cover this switch."""
    try:
        return bool(connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise


def _on_connect(connection: Any, _record: object) -> None:
    # The driver's own guess at when to begin is switched off: _on_begin says it.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
    finally:
        cursor.close()


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sophia_begin', 'DEFERRED')}")


def _on_invalidate(connection: Any, _record: object, _error: object) -> None:
    """A transaction that was interrupted (its task was cancelled) ends now. To close the connection, which comes next,
    is not enough: SQLite keeps one with an unfinished statement open, and its write lock with it, until the statement
    is garbage collected."""
    with contextlib.suppress(sqlite3.Error):  # it is closed already
        connection.rollback()
