"""The producer's and reader's side of the queue on Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from sophia.nouns.budget import Reservation
from sophia.nouns.errors import Conflict
from sophia.nouns.task import Priority, Task, TaskRecord, TaskState
from sophia.queue.base import Balances, Poison, Receipt, Redrive, StreamStats, Wait, WorkerBeat
from sophia.queue.budgets import closed, rest_of
from sophia.queue.redis.budgets import balances, budget_args, refusal
from sophia.queue.redis.poison import poison
from sophia.queue.redis.shared import GROUP, ID_LENGTH, QueueOptions, Scripts
from sophia.queue.submission import request_hash
from sophia.redis.base import Redis
from sophia.redis.bodies import pack
from sophia.redis.coalesce import Coalescer
from sophia.redis.connection import persistently
from sophia.redis.records import decode_record, packed_submission

_encode = msgspec.json.Encoder()
_beat = msgspec.json.Decoder(WorkerBeat)


class RedisTaskQueue:
    """Implements ``TaskQueue``, ``PoisonShelf`` and ``BudgetBalances``. Owns no connection: ``client`` is closed by whoever made it."""

    def __init__(self, client: Redis, options: QueueOptions) -> None:
        self._client = client
        self._scripts = Scripts(client, options)
        self._options = options
        self._submits: dict[str, Coalescer[Task, Receipt]] = {}

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        prefixes = {self._scripts.prefix_of(task.tenant) for task in tasks}
        if len(prefixes) > 1:
            raise ValueError("tasks of one submission belong to one tenant")
        (prefix,) = prefixes
        # A refusal is of the whole call: only what cannot be refused shares one with other callers.
        if any(task.idempotency_key or task.reserved for task in tasks):
            return await self._submit(prefix, tasks)
        coalescer = self._submits.get(prefix)
        if coalescer is None:
            coalescer = self._submits[prefix] = Coalescer(lambda items: self._submit(prefix, items))
        return await coalescer.many(tasks) if len(tasks) == 1 else await self._submit(prefix, tasks)

    async def _submit(self, prefix: str, tasks: Sequence[Task]) -> list[Receipt]:
        args = [
            arg
            for task in tasks
            for arg in submission_args(
                task, self._options, task.run_at_ms, task.idempotency_key, task.reserved, task.submitted_at_ms
            )
        ]
        # Repeating it is harmless: an id that is known changes nothing.
        answers = await persistently(lambda: self._scripts.call("submit", prefix, *args))
        receipts = []
        for task, (task_id, state, verdict, *details) in zip(tasks, answers, strict=True):
            if verdict == b"budget":
                raise refusal(task, task.reserved, details, task.submitted_at_ms)
            if verdict == b"closed":
                raise closed(task.tenant)
            if verdict == b"conflict":
                raise Conflict(
                    f"the idempotency key {task.idempotency_key!r} was used for another request, which made task "
                    f"{task_id.decode()}",
                    field="Idempotency-Key",
                    mend="send the same request again, or a new key",
                )
            receipts.append(
                Receipt(
                    task_id=task_id.decode(),
                    state=TaskState(state.decode()) if state else TaskState.QUEUED,
                    duplicate=verdict == b"same" and task_id.decode() != task.id,
                )
            )
        return receipts

    async def get(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        found: dict[str, TaskRecord] = {}

        async def look(prefix: str) -> None:
            answers = await persistently(lambda: self._scripts.call("get", prefix, *task_ids))
            for task_id, fields in zip(task_ids, answers, strict=True):
                record = decode_record(fields)
                if record is not None:
                    found[task_id] = record

        failure = await self._scripts.until(look, lambda: all(task_id in found for task_id in task_ids))
        if failure is not None:
            raise failure
        return [found.get(task_id) for task_id in task_ids]

    async def cancel(self, task_id: str, reason: str) -> TaskRecord | None:
        known, failure = await self._scripts.everywhere(
            lambda prefix: persistently(lambda: self._scripts.call("cancel", prefix, task_id, reason))
        )
        if failure is not None and not any(known):
            raise failure
        return (await self.get([task_id]))[0]

    async def wait_of(self, task_id: str) -> Wait | None:
        answers, failure = await self._scripts.everywhere(
            lambda prefix: persistently(lambda: self._scripts.call("wait", prefix, task_id))
        )
        answer = next(filter(None, answers), None)
        if answer is None:
            if failure is not None:
                raise failure
            return None
        state, stream, priority, due, ahead = answer
        return Wait(
            state=TaskState(state.decode()),
            ahead=ahead if ahead >= 0 else None,
            due_at_ms=int(due) if due else None,
            stream=stream.decode(),
            priority=Priority(int(priority)).label,
        )

    async def stats(self) -> list[StreamStats]:
        rows: dict[tuple[str, int], StreamStats] = {}
        for answers in await self._scripts.all_of(
            lambda prefix: persistently(lambda: self._scripts.call("stats", prefix, *self._options.streams))
        ):
            for stream, priority, waiting, running, delayed, retrying, age_ms, first, last, dead in answers:
                key = (stream.decode(), int(priority))
                row = StreamStats(
                    stream=key[0],
                    priority=Priority(key[1]).label,
                    waiting=waiting,
                    running=running,
                    delayed=delayed,
                    retrying=retrying,
                    dead=dead,
                    oldest_age_s=age_ms / 1000 if age_ms >= 0 else None,
                    first_entry=first.decode() or None,
                    last_entry=last.decode() or None,
                    groups=(GROUP,),
                )
                rows[key] = _merged(rows[key], row) if key in rows else row
        return list(rows.values())

    async def workers(self) -> list[WorkerBeat]:
        answers = await persistently(lambda: self._scripts.call("workers", self._scripts.prefixes[0]))
        return [
            msgspec.structs.replace(_beat.decode(report), seen_at_ms=int(seen_at_ms)) for seen_at_ms, report in answers
        ]

    async def dead(self, tenant: str | None, limit: int) -> list[TaskRecord]:
        ids: list[str] = []
        for prefix in self._prefixes(tenant):
            found = await persistently(lambda p=prefix: self._scripts.call("dead", p, tenant or "", limit))  # type: ignore[misc]
            ids += [task_id.decode() for task_id in found]
        ids.sort(reverse=True)
        return [record for record in await self.get(ids[:limit]) if record is not None]

    async def redrive(self, tenant: str | None, task_ids: Sequence[str]) -> Redrive:
        at_ms = time.time_ns() // 1_000_000
        records = {record.task.id: record for record in await self._budgeted(task_ids)}
        rest = {task_id: rest_of(record.task.reserved, record.usage) for task_id, record in records.items()}
        args: list[str | int] = []
        for task_id in task_ids:
            record = records.get(task_id)
            budget = None if record is None else self._options.budgets.get(record.task.tenant)
            args += (task_id, *budget_args(budget, rest.get(task_id), at_ms))
        outcome = Redrive(went=[], refused={})
        for prefix in self._prefixes(tenant):
            answers = await persistently(
                lambda p=prefix: self._scripts.call("redrive", p, tenant or "", *args)  # type: ignore[misc]
            )
            for key, _, verdict, *details in answers:
                task_id = key.decode()
                if verdict == b"new":
                    outcome.went.append(task_id)
                else:
                    task = records[task_id].task
                    not_now = closed(task.tenant) if verdict == b"closed" else None
                    outcome.refused[task_id] = (not_now or refusal(task, rest[task_id], details, at_ms)).info()
        return outcome

    async def _budgeted(self, task_ids: Sequence[str]) -> list[TaskRecord]:
        """Those of the tasks that have to be admitted against a budget. Records may be large: nothing is read in vain."""
        if not any(budget.caps_usd or budget.caps_tokens for budget in self._options.budgets.values()):
            return []
        records = await self.get(task_ids)
        return [record for record in records if record is not None and record.task.reserved is not None]

    async def poison(self, limit: int) -> Poison:
        return await poison(self._scripts, self._client, limit)

    async def balances(self, tenant: str, at_ms: int) -> Balances:
        return await balances(self._scripts, tenant, at_ms)

    def _prefixes(self, tenant: str | None) -> list[str]:
        return self._scripts.prefixes if tenant is None else [self._scripts.prefix_of(tenant)]

    async def close(self) -> None:
        for coalescer in self._submits.values():
            await coalescer.close()


def submission_args(
    task: Task,
    options: QueueOptions,
    run_at_ms: int | None,
    idempotency_key: str | None,
    reserve: Reservation | None,
    admitted_at_ms: int,
) -> tuple[str | bytes | int, ...]:
    """One task as ``submit.lua`` takes it."""
    if len(task.id) != ID_LENGTH:
        raise ValueError(f"task ids have {ID_LENGTH} characters, not {len(task.id)}")
    return (
        task.id,
        task.tenant,
        task.type,
        task.route.stream,
        int(task.priority),
        run_at_ms or 0,
        task.deadline_at_ms or 0,
        task.max_attempts,
        idempotency_key or "",
        request_hash(task) if idempotency_key else "",
        round(options.idempotency_ttl_s * 1000),
        _encode.encode(packed_submission(task)),
        pack(task),
        *budget_args(options.budgets.get(task.tenant), reserve, admitted_at_ms),
    )


def _merged(a: StreamStats, b: StreamStats) -> StreamStats:
    """One stream over two partitions."""

    def total(x: int | None, y: int | None) -> int | None:
        return None if x is None or y is None else x + y

    ages = [age for age in (a.oldest_age_s, b.oldest_age_s) if age is not None]
    return msgspec.structs.replace(
        a,
        waiting=total(a.waiting, b.waiting),
        running=total(a.running, b.running),
        delayed=total(a.delayed, b.delayed),
        retrying=total(a.retrying, b.retrying),
        dead=total(a.dead, b.dead),
        oldest_age_s=max(ages) if ages else None,
        first_entry=min(filter(None, (a.first_entry, b.first_entry)), default=None),
        last_entry=max(filter(None, (a.last_entry, b.last_entry)), default=None),
    )
