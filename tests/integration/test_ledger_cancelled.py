"""A ledger's caller that is cancelled in the middle of a transaction, as a router is that no longer leads."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

from sophia.nouns.task import TaskRecord, TaskState
from sophia.store.sql import open_ledger
from tests.support.tasks import make_task
from tests.support.waiting import settle_for

TIMES = 120


async def test_whoever_is_cancelled_leaves_the_ledger_to_others(tmp_path: Path) -> None:
    ledger = open_ledger(None, tmp_path)
    await ledger.migrate()
    other = sqlite3.connect(tmp_path / "ledger.sqlite3", timeout=2.0, isolation_level=None)
    chance = random.Random(1)
    for _ in range(TIMES):
        records = [TaskRecord(task=make_task(), state=TaskState.QUEUED, updated_at_ms=1) for _ in range(50)]
        callers = [asyncio.create_task(ledger.record(records)), asyncio.create_task(ledger.prune(0, 10))]
        await settle_for(chance.uniform(0, 0.012))
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        # Raises "database is locked" while the write lock of one that was cancelled is held.
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    await ledger.close()
