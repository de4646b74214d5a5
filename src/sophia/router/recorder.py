"""Takes every change of a task from the queue into the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sophia.nouns.errors import InvalidInput
from sophia.nouns.task import Durability, TaskRecord
from sophia.queue.base import Change, ChangeFeed, TaskQueue
from sophia.store.base import Ledger

log = logging.getLogger(__name__)

BATCH = 500


class Recorder:
    """At least once: a change is acknowledged only after the ledger has it, and recording twice changes nothing."""

    def __init__(self, queue: TaskQueue, upkeep: ChangeFeed, ledger: Ledger) -> None:
        self._queue = queue
        self._upkeep = upkeep
        self._ledger = ledger
        self.caught_up = asyncio.Event()
        """The ledger has had everything that had changed by the time of the last look."""
        self.durable_open = asyncio.Event()
        """Unfinished tasks of durability ``ledger`` were recorded since this was last cleared."""

    async def record_some(self, wait_s: float) -> int:
        """One batch; waits up to ``wait_s`` seconds for the first change. Gives how many changes it took up."""
        changes = await self._upkeep.changes(BATCH, wait_s)
        if changes:
            await self._record(changes)
        if len(changes) < BATCH // 2:
            self.caught_up.set()
        return len(changes)

    async def _record(self, changes: Sequence[Change]) -> None:
        ids = list(dict.fromkeys(change.task_id for change in changes))
        records = await self._queue.get(ids)
        await self._take_up([record for record in records if record is not None])
        missing = [task_id for task_id, record in zip(ids, records, strict=True) if record is None]
        if missing:
            log.error("tasks left the queue before the ledger had them", extra={"tasks": missing[:20]})
        await self._upkeep.acknowledge(changes)

    async def _take_up(self, records: Sequence[TaskRecord]) -> None:
        """All at once; one by one when some record cannot be stored at all, so that it does not hold up the others."""
        try:
            await self._ledger.record(records)
            if any(r.task.durability is Durability.LEDGER and not r.state.is_final for r in records):
                self.durable_open.set()
            return
        except InvalidInput:
            if len(records) == 1:
                log.exception("a task cannot be recorded", extra={"task": records[0].task.id})
                return
        for record in records:
            await self._take_up([record])
