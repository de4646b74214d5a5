"""A database behind two kinds of transaction, with time limits and with errors translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sophia.nouns.errors import ConfigError
from sophia.store.faults import translated

Dialect = Literal["sqlite", "postgresql"]

OPERATION_TIMEOUT_S = 30.0
"""The longest that one transaction may take, waiting for a connection and for locks included."""


class Database:
    """An engine with what differs between the two dialects settled. ``place`` names it in errors, without secrets."""

    def __init__(self, engine: AsyncEngine, dialect: Dialect, place: str, path: Path | None = None) -> None:
        self.dialect: Dialect = dialect
        self._engine = engine
        self._place = place
        self._path = path
        if dialect == "sqlite":
            self._reader = engine.execution_options(sophia_begin="DEFERRED")
            self._writer = engine.execution_options(sophia_begin="IMMEDIATE")
            # One writer at a time is SQLite's rule. Waiting here is fair and wakes at once; its own waiting polls.
            self._turn: AbstractAsyncContextManager[object] = asyncio.Lock()
        else:
            # Several statements of one read see the same moment. Set per transaction, so it works over a pooler.
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writer = engine
            self._turn = nullcontext()

    async def prepare(self) -> None:
        """Make the database usable at all: for SQLite, its folder and file."""
        if self._path is not None:
            from sophia.store.sqlite import prepare_file

            with translated(self._place, self._path):
                await asyncio.to_thread(prepare_file, self._path)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, all of it at one moment."""
        with translated(self._place, self._path):
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                async with self._reader.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end, or not at all."""
        with translated(self._place, self._path):
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                async with self._turn, self._writer.begin() as connection:
                    yield connection

    async def close(self) -> None:
        with translated(self._place, self._path):
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                await self._engine.dispose()


def open_database(url: str | None, data_dir: Path) -> Database:
    """``None``: ``ledger.sqlite3`` in ``data_dir``; else a ``postgresql://`` URL. Connects to nothing yet.

    Raises ``ConfigError`` for another URL or a missing driver. The driver is imported here and not before.
    """
    if url is None:
        from sophia.store.sqlite import sqlite_engine

        path = data_dir / "ledger.sqlite3"
        return Database(sqlite_engine(path), "sqlite", f"the ledger {path}", path)
    if url.startswith(("postgresql://", "postgres://")):
        from sophia.store.postgres import postgres_engine

        engine, place = postgres_engine(url)
        return Database(engine, "postgresql", f"the ledger {place}")
    raise ConfigError(
        f"the ledger's URL has the unknown scheme {url.partition(':')[0]!r}",
        field="ledger.url",
        mend="a postgresql:// URL, or null for SQLite in the data folder",
    )
