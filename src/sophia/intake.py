"""From checked tasks to accepted ones, the same for the API and for schedules.

A task of durability ``ledger`` is accepted once queue and ledger both have it, in that order: what the queue refuses
(a budget, a conflict) is then nowhere, and what is in the ledger alone was accepted and lost by the queue, so that the
router may queue it again. Its idempotency key is claimed in the ledger first and thus outlives the queue too; a claim
without a task, left by a crash, only makes the next try take up the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from sophia.nouns.clock import Clock
from sophia.nouns.errors import ErrorClass, SophiaError
from sophia.nouns.task import Durability, Task, TaskRecord, TaskState
from sophia.objects.packing import Packing
from sophia.queue.base import Receipt, TaskQueue
from sophia.queue.submission import request_hash
from sophia.store.base import Claim, Claims, Ledger

log = logging.getLogger(__name__)


class Intake:
    """``submit`` is ``TaskQueue.submit`` for tasks with payloads of any size and of any durability."""

    def __init__(
        self,
        queue: TaskQueue,
        ledger: Ledger,
        claims: Claims,
        packing: Packing,
        clock: Clock,
        *,
        idempotency_ttl_s: float,
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._claims = claims
        self._packing = packing
        self._clock = clock
        self._ttl_ms = round(idempotency_ttl_s * 1000)

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        """Accept all tasks of one tenant or raise. What was not answered may have been accepted: send it again with
        the same idempotency key."""
        packed = await self._packing.tasks(tasks)
        if all(task.durability is Durability.QUEUE for task in packed):
            return await self._queue.submit(packed)
        return await self._submit_durably(packed)

    async def _submit_durably(self, tasks: Sequence[Task]) -> list[Receipt]:
        claims = self._wanted_claims(tasks)
        first_ids = dict(
            zip(claims, await self._claims.claim(list(claims.values()), self._clock.now_ms()), strict=True)
        )
        named = [_with_id(task, first_ids.get(task.id, task.id)) for task in tasks]
        known = await self._known({task.id for task in named} - {task.id for task in tasks})
        new = [task for task in named if task.id not in known]
        try:
            receipts = await self._queue.submit(new) if new else []
        except SophiaError as refusal:
            if refusal.error_class is ErrorClass.PERMANENT:
                await self._release([claim for own_id, claim in claims.items() if first_ids[own_id] == own_id])
            raise
        await self._record(new, receipts)
        accepted = dict(zip((task.id for task in new), receipts, strict=True))
        return [
            _receipt(known.get(task.id) or accepted[task.id], repeated=task.id != asked.id)
            for task, asked in zip(named, tasks, strict=True)
        ]

    def _wanted_claims(self, tasks: Sequence[Task]) -> dict[str, Claim]:
        """By the id of the task that wants it."""
        expires_at_ms = self._clock.now_ms() + self._ttl_ms
        return {
            task.id: Claim(
                tenant=task.tenant,
                key=task.idempotency_key,
                task_id=task.id,
                request_hash=request_hash(task),
                expires_at_ms=expires_at_ms,
            )
            for task in tasks
            if task.durability is Durability.LEDGER and task.idempotency_key is not None
        }

    async def _known(self, task_ids: set[str]) -> dict[str, Receipt]:
        """Tasks of repeated requests that were accepted already: they are not queued a second time, not even when the
        queue has lost them, because the router does that with their history."""
        known = {}
        for task_id in task_ids:
            record = await self._ledger.task(task_id)
            if record is not None:
                known[task_id] = Receipt(task_id=task_id, state=record.state, duplicate=True)
        return known

    async def _record(self, tasks: Sequence[Task], receipts: Sequence[Receipt]) -> None:
        """As the queue has them, so that no version is newer than what the queue will say next."""
        durable = {
            receipt.task_id: (task, receipt)
            for task, receipt in zip(tasks, receipts, strict=True)
            if task.durability is Durability.LEDGER
        }
        found = await self._queue.get(list(durable))
        records = [
            record or _lost(task)
            for record, (task, receipt) in zip(found, durable.values(), strict=True)
            if record is not None or not receipt.duplicate
        ]
        await self._ledger.record(records)

    async def _release(self, claims: Sequence[Claim]) -> None:
        try:
            await self._claims.release(claims)
        except SophiaError as error:
            log.warning("idempotency keys of a refused request stay claimed until they expire: %s", error)


def _with_id(task: Task, task_id: str) -> Task:
    return task if task.id == task_id else msgspec.structs.replace(task, id=task_id)


def _lost(task: Task) -> TaskRecord:
    """Queued and lost again before it could be read: older than any version that may come of it."""
    return TaskRecord(task=task, state=TaskState.QUEUED, updated_at_ms=0)


def _receipt(receipt: Receipt, *, repeated: bool) -> Receipt:
    return msgspec.structs.replace(receipt, duplicate=True) if repeated else receipt
