"""Queues again what the queue lost although the ledger had accepted it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from sophia.nouns.task import FINAL_STATES, Durability, TaskRecord, TaskState
from sophia.queue.base import QueueUpkeep, TaskQueue
from sophia.store.base import Ledger, TaskFilter

log = logging.getLogger(__name__)

PAGE = 100
PAGES_A_PASS = 10
PASS_EVERY_S = 5.0
"""While tasks of durability ``ledger`` are under way."""
IDLE_PASS_EVERY_S = 3_600.0
"""While none is known to be: a ledger that sleeps when nobody asks it anything is left to sleep."""

_OPEN = TaskFilter(
    durability=Durability.LEDGER, states=tuple(state for state in TaskState if state not in FINAL_STATES)
)


class Reconciler:
    """Walks the ledger's unfinished tasks of durability ``ledger``, page by page, and asks the queue for each. One that
    it does not know was lost with it: a task is in the queue before it is in the ledger, and leaves the queue only some
    time after its end was recorded."""

    def __init__(self, queue: TaskQueue, upkeep: QueueUpkeep, ledger: Ledger, open_seen: asyncio.Event) -> None:
        self._queue = queue
        self._upkeep = upkeep
        self._ledger = ledger
        self._open_seen = open_seen
        """Set by whoever records; cleared here, before the walk that finds out."""
        self._cursor: str | None = None

    async def reconcile_some(self) -> float:
        """One bounded pass; gives the seconds until the next one is worth while."""
        if self._cursor is None:
            self._open_seen.clear()
        restored = 0
        for _ in range(PAGES_A_PASS):
            page = await self._ledger.tasks(_OPEN, self._cursor, PAGE)
            if page.tasks:
                self._open_seen.set()
            restored += await self._restore_lost(page.tasks)
            self._cursor = page.next_cursor
            if self._cursor is None:
                break
        if restored:
            log.warning("the queue had lost tasks that the ledger had accepted", extra={"queued_again": restored})
            return 0.0
        return PASS_EVERY_S if self._cursor or self._open_seen.is_set() else IDLE_PASS_EVERY_S

    async def restore_all(self, tenant: str) -> None:
        """What the queue has lost of one tenant, whatever the walk has come to."""
        where = msgspec.structs.replace(_OPEN, tenant=tenant)
        cursor: str | None = None
        while True:
            page = await self._ledger.tasks(where, cursor, PAGE)
            await self._restore_lost(page.tasks)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _restore_lost(self, records: Sequence[TaskRecord]) -> int:
        if not records:
            return 0
        found = await self._queue.get([record.task.id for record in records])
        lost = [record for record, known in zip(records, found, strict=True) if known is None]
        # The page may be older than the end of a task that the queue has let go meanwhile.
        now = [await self._ledger.task(record.task.id) for record in lost]
        still_open = [record for record in now if record is not None and not record.state.is_final]
        still_open.sort(key=lambda record: record.task.id)
        restored = await self._upkeep.restore(still_open)
        for record in still_open:
            if record.cancel_requested:
                await self._queue.cancel(record.task.id, "cancelled before the queue was lost")
        return len(restored)
