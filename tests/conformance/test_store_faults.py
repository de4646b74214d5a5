"""What a ledger says when its database fails: never a driver's exception."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import ConfigError, StorageFull, Unavailable
from sophia.store.base import TaskFilter
from sophia.store.engine import Database
from sophia.store.sql import SqlLedger, open_ledger
from sophia.store.sqlite import sqlite_engine
from tests.support.postgres import PostgresServer
from tests.support.records import finished
from tests.support.waiting import eventually


class TestSqlite:
    async def test_locked_by_another_process(self, tmp_path: Path) -> None:
        ledger = _impatient(tmp_path, busy_timeout_s=0.1)
        await ledger.migrate()
        other = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        done = finished()
        with pytest.raises(Unavailable, match="locked"):
            await ledger.record([done])
        assert (await ledger.tasks(TaskFilter(), None, 1)).tasks == []
        other.close()
        await ledger.record([done])
        assert await ledger.task(done.task.id) == done
        await ledger.close()

    async def test_the_file_is_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.sqlite3").write_bytes(b"not a database " * 100)
        ledger = open_ledger(None, tmp_path)
        with pytest.raises(ConfigError, match="not a database"):
            await ledger.migrate()
        await ledger.close()

    async def test_the_folder_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        ledger = open_ledger(None, tmp_path / "file" / "data")
        with pytest.raises(Unavailable):
            await ledger.migrate()
        with pytest.raises(Unavailable):
            await ledger.task("nobody")
        await ledger.close()

    async def test_only_its_owner_reads_the_file(self, tmp_path: Path) -> None:
        ledger = open_ledger(None, tmp_path / "data")
        await ledger.migrate()
        assert (tmp_path / "data" / "ledger.sqlite3").stat().st_mode & 0o777 == 0o600
        await ledger.close()

    async def test_a_caller_that_gives_up_leaves_the_ledger_usable(self, tmp_path: Path) -> None:
        ledger = _impatient(tmp_path, busy_timeout_s=0.5)
        await ledger.migrate()
        other = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        given_up, done = finished(), finished()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ledger.record([given_up])
        other.close()
        await ledger.record([done])
        assert await ledger.task(given_up.task.id) is None
        assert await ledger.task(done.task.id) == done
        await ledger.close()


class TestPostgres:
    async def test_nobody_listens(self, tmp_path: Path) -> None:
        ledger = open_ledger(f"postgresql://sophia@/ledger?host={tmp_path}", tmp_path)
        with pytest.raises(Unavailable):
            await ledger.task("nobody")
        await ledger.close()

    async def test_a_database_that_does_not_exist(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        ledger = open_ledger(postgres_server.url("nowhere"), tmp_path)
        with pytest.raises(ConfigError, match='"nowhere" does not exist'):
            await ledger.migrate()
        await ledger.close()

    async def test_a_user_without_rights(
        self, postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        connection = await postgres_server.admin()
        await connection.execute("CREATE ROLE visitor LOGIN")
        ledger = open_ledger(postgres_url.replace("sophia@", "visitor@"), tmp_path)
        try:
            with pytest.raises(ConfigError, match="permission denied"):
                await ledger.migrate()
        finally:
            await ledger.close()
            await connection.execute("DROP ROLE visitor")
            await connection.close()

    async def test_a_full_disk_and_a_read_only_server(
        self, postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        """The server's own codes for these, raised by a trigger, as no small disk can be had for its files."""
        ledger = open_ledger(postgres_url, tmp_path)
        await ledger.migrate()
        connection = await postgres_server.admin(_database(postgres_url))
        for code, error in (("53100", StorageFull), ("25006", Unavailable), ("57P01", Unavailable)):
            await connection.execute(
                f"""CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$"""
            )
            await connection.execute(
                "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON ledger_tasks FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
            with pytest.raises(error, match="refused"):
                await ledger.record([finished()])
        await connection.close()
        await ledger.close()

    async def test_a_connection_lost_while_idle_and_while_in_use(
        self, postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        ledger = open_ledger(postgres_url, tmp_path)
        await ledger.migrate()
        connection = await postgres_server.admin(_database(postgres_url))
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        await connection.fetch(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
        done = finished()
        await ledger.record([done])

        lock = connection.transaction()
        await lock.start()
        await connection.execute("LOCK TABLE ledger_tasks")
        writing = asyncio.create_task(ledger.record([finished()]))
        waits = f"SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {others}"
        [row] = await eventually(lambda: connection.fetch(waits))
        await connection.execute(f"SELECT pg_terminate_backend({row['pid']})")
        with pytest.raises(Unavailable):
            await writing
        await lock.rollback()
        assert await ledger.task(done.task.id) == done
        await connection.close()
        await ledger.close()

    async def test_a_server_that_crashes_and_comes_back(self, own_postgres: PostgresServer, tmp_path: Path) -> None:
        ledger = open_ledger(own_postgres.url(await own_postgres.create_database()), tmp_path)
        await ledger.migrate()
        done = finished()
        await ledger.record([done])
        own_postgres.kill()
        with pytest.raises(Unavailable):
            await ledger.record([finished()])
        with pytest.raises(Unavailable):
            await ledger.task(done.task.id)
        own_postgres.start()
        assert await ledger.task(done.task.id) == done
        await ledger.close()


def _impatient(folder: Path, busy_timeout_s: float) -> SqlLedger:
    path = folder / "ledger.sqlite3"
    return SqlLedger(Database(sqlite_engine(path, busy_timeout_s), "sqlite", "the ledger", path), SystemClock())


def _database(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
