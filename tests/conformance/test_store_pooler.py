"""The ledger through a real PgBouncer in transaction mode, the strictest pooler there is: where it is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sophia.store.base import TaskFilter
from sophia.store.sql import SqlLedger, open_ledger
from tests.support.postgres import PostgresServer
from tests.support.records import finished
from tests.support.waiting import eventually

_PORT = 6432


@pytest_asyncio.fixture
async def pooler_url(postgres_server: PostgresServer, postgres_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Two server connections for any number of clients."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (apt install pgbouncer)")
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"""[databases]
        * = host={postgres_server.folder} port=5432 user=sophia
        [pgbouncer]
        pool_mode = transaction
        default_pool_size = 2
        auth_type = any
        listen_addr =
        listen_port = {_PORT}
        unix_socket_dir = {postgres_server.folder}
        logfile = {tmp_path}/pgbouncer.log
        """
    )
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(*user, program, "-q", str(config))
    socket = postgres_server.folder / f".s.PGSQL.{_PORT}"
    try:
        await eventually(socket.exists)
        yield f"postgresql://sophia@:{_PORT}/postgres?host={postgres_server.folder}"
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            await process.wait()


async def test_many_transactions_over_few_connections(pooler_url: str, tmp_path: Path) -> None:
    ledgers = [open_ledger(pooler_url, tmp_path) for _ in range(3)]
    await asyncio.gather(*(ledger.migrate() for ledger in ledgers))

    async def use(ledger: SqlLedger) -> None:
        for _ in range(5):
            batch = [finished() for _ in range(5)]
            await ledger.record(batch)
            assert await ledger.task(batch[0].task.id) == batch[0]
            assert (await ledger.tasks(TaskFilter(tenant="default"), None, 3)).next_cursor is not None

    await asyncio.gather(*(use(ledger) for ledger in ledgers * 3))
    [row] = await ledgers[0].usage(None, "2026-01-01", "2026-01-01")
    assert row.usage.cost_nano_usd == row.tasks == 9 * 5 * 5
    for ledger in ledgers:
        await ledger.close()
