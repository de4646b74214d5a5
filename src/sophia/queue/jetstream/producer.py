"""The producer's and reader's side of the queue on JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from sophia.nouns.budget import Reservation
from sophia.nouns.errors import Conflict, ErrorInfo, SophiaError, Unavailable
from sophia.nouns.task import Priority, Task, TaskRecord, TaskState
from sophia.queue.base import Balances, Poison, PoisonEntry, Receipt, Redrive, StreamStats, Wait, WorkerBeat
from sophia.queue.budgets import caps_of, closed, day_of, periods_of, refusal, rest_of
from sophia.queue.jetstream import names, steps
from sophia.queue.jetstream.accounts import Book
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.clock import ServerClock
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.failures import Mismatch, persistently
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.record import Known
from sophia.queue.jetstream.statistics import stream_stats, wait_of
from sophia.queue.jetstream.step import Step
from sophia.queue.submission import request_hash
from sophia.redis.coalesce import Coalescer

CONTENTION_TRIES = 50
DEAD_SCAN_MAX = 10_000
POISON_MAX = 1_000
_beat = msgspec.json.Decoder(WorkerBeat)


class Claim(msgspec.Struct, frozen=True):
    """Who an idempotency key belongs to."""

    task_id: str
    request: str
    at_ms: int


_claim = msgspec.json.Decoder(Claim)
_encode = msgspec.json.Encoder().encode


class JetStreamTaskQueue:
    """Implements ``TaskQueue``, ``PoisonShelf`` and ``BudgetBalances``. ``bus`` is closed by whoever opened it."""

    def __init__(self, bus: Bus, options: JetStreamOptions, clock: ServerClock | None = None) -> None:
        self._bus = bus
        self._options = options
        self._clock = clock or ServerClock(bus)
        self._committer = Committer(bus)
        self._submits: Coalescer[Task, Receipt] = Coalescer(self._submit)
        self._admission = asyncio.Lock()

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        if len({task.tenant for task in tasks}) > 1:
            raise ValueError("tasks of one submission belong to one tenant")
        # A refusal is of the whole call: only what cannot be refused shares one with other callers.
        if any(task.idempotency_key or task.reserved for task in tasks):
            # One at a time: they would spoil each other's compare-and-set of the tenant's account.
            async with self._admission:
                return await self._submit(tasks)
        return await self._submits.many(tasks) if len(tasks) == 1 else await self._submit(tasks)

    async def _submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        # Repeating it is harmless: an id that is known changes nothing.
        for _ in range(CONTENTION_TRIES):
            try:
                return await persistently(lambda: self._try_submit(tasks))
            except Mismatch:
                continue
        raise Unavailable("too many submissions of this tenant at once", retry_after_s=1)

    async def _try_submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        now_ms = await self._clock.now_ms()
        if not any(task.idempotency_key or task.reserved for task in tasks) and tasks:
            accepted = await self._accept_new(tasks, now_ms)
            if accepted is not None:
                return accepted
        admission = await _Admission.of(self._bus, self._committer, self._options, tasks)
        receipts = [admission.consider(task, now_ms) for task in tasks]
        if admission.steps:
            await self._committer.all_or_none(admission.steps, guards=admission.claims, book=admission.book)
        return receipts

    async def _accept_new(self, tasks: Sequence[Task], now_ms: int) -> list[Receipt] | None:
        """In one round trip what is new, as nearly everything is; ``None`` when something was known."""
        if len({task.id for task in tasks}) < len(tasks):
            return None
        made = [steps.accept(task, now_ms, self._options.lane_of(task), "") for task in tasks]
        try:
            await self._committer.all_or_none(made)
        except Mismatch:
            return None
        return [Receipt(task_id=step.after.task.id, state=step.after.state) for step in made]

    async def get(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        known = await persistently(lambda: self._committer.known(task_ids))
        return [known[task_id].record.public() if task_id in known else None for task_id in task_ids]

    async def cancel(self, task_id: str, reason: str) -> TaskRecord | None:
        for _ in range(CONTENTION_TRIES):
            known = (await persistently(lambda: self._committer.known([task_id]))).get(task_id)
            if known is None:
                return None
            step = await persistently(lambda k=known: self._cancellation(k, reason))  # type: ignore[misc]
            if step is None:
                return known.record.public()
            (revision,) = await persistently(lambda s=step: self._committer.each([s]))  # type: ignore[misc]
            if revision is not None:
                return step.after.public()
        raise Unavailable("the task changes too often to be cancelled now", retry_after_s=1)

    async def _cancellation(self, known: Known, reason: str) -> Step | None:
        record, now_ms = known.record, await self._clock.now_ms()
        if record.state is TaskState.RUNNING:
            return steps.ask_to_cancel(known, reason, now_ms)
        if not record.is_waiting:
            return None
        return steps.cancel_waiting(known, reason, now_ms, await index_entries(self._bus, known))

    async def wait_of(self, task_id: str) -> Wait | None:
        known = (await persistently(lambda: self._committer.known([task_id]))).get(task_id)
        return None if known is None else await persistently(lambda: wait_of(self._bus, known.record))

    async def stats(self) -> list[StreamStats]:
        async def read() -> list[StreamStats]:
            return await stream_stats(self._bus, self._options.streams, await self._clock.now_ms())

        return await persistently(read)

    async def workers(self) -> list[WorkerBeat]:
        stored = await persistently(lambda: self._bus.newest([names.ALL_WORKERS]))
        now_ms = await persistently(self._clock.now_ms)
        beats = [
            msgspec.structs.replace(_beat.decode(message.data), seen_at_ms=message.at_ms) for message in stored.values()
        ]
        return [beat for beat in beats if beat.seen_at_ms + beat.listed_for_s * 1000 > now_ms]

    async def dead(self, tenant: str | None, limit: int) -> list[TaskRecord]:
        entries = await persistently(lambda: self._bus.after(0, names.dead_in(tenant=tenant), DEAD_SCAN_MAX))
        ids = [names.task_id_of(entry.subject) for entry in reversed(entries)]
        records = await self.get(ids[:limit])
        return [record for record in records if record is not None and record.state is TaskState.DEAD]

    async def redrive(self, tenant: str | None, task_ids: Sequence[str]) -> Redrive:
        async with self._admission:
            for _ in range(CONTENTION_TRIES):
                try:
                    return await persistently(lambda: self._try_redrive(tenant, task_ids))
                except Mismatch:
                    continue
        raise Unavailable("the dead letters change too often to be queued now", retry_after_s=1)

    async def _try_redrive(self, tenant: str | None, task_ids: Sequence[str]) -> Redrive:
        """All that find room, or ``Mismatch`` and none."""
        found = await self._committer.known(list(dict.fromkeys(task_ids)))
        dead = [
            known
            for task_id in dict.fromkeys(task_ids)
            if (known := found.get(task_id)) is not None
            and known.record.state is TaskState.DEAD
            and tenant in (None, known.record.task.tenant)
        ]
        budgeted = {
            known.record.task.tenant
            for known in dead
            if known.record.task.reserved and known.record.task.tenant in self._options.budgets
        }
        book = await Book.read(self._bus, budgeted) if budgeted else None
        now_ms = await self._clock.now_ms()
        made: list[Step] = []
        refused: dict[str, ErrorInfo] = {}
        for known in dead:
            task, reserve = known.record.task, rest_of(known.record.task.reserved, known.record.spent)
            try:
                day = reserved_day(self._options, book, made, task, reserve, now_ms)
            except SophiaError as refusal_:
                refused[task.id] = refusal_.info()
                continue
            made.append(steps.redrive(known, now_ms, await index_entries(self._bus, known), day, reserve))
        if made:
            await self._committer.all_or_none(made, book=book)
        return Redrive(went=[step.after.task.id for step in made], refused=refused)

    async def poison(self, limit: int) -> Poison:
        """Implements ``PoisonShelf``."""
        total = await persistently(lambda: self._bus.count(names.ALL_POISON))
        kept = await persistently(lambda: self._bus.after(0, names.ALL_POISON, POISON_MAX)) if limit else []
        return Poison(total=total, newest=[_poison_entry(entry) for entry in reversed(kept)][:limit])

    async def balances(self, tenant: str, at_ms: int) -> Balances:
        """Implements ``BudgetBalances``."""
        book = await persistently(lambda: Book.read(self._bus, [tenant]))
        return book.balances(tenant, day_of(at_ms))

    async def close(self) -> None:
        await self._submits.close()


class _Admission:
    """Decides one submission on what was read: known ids, keys in use, budgets."""

    def __init__(
        self, options: JetStreamOptions, known: dict[str, Known], keys: dict[str, Stored], book: Book | None
    ) -> None:
        self.book = book
        self.steps: list[Step] = []
        self.claims: list[Put] = []
        self._options = options
        self._known = known
        self._keys = keys
        self._fresh: dict[str, Claim] = {}

    @classmethod
    async def of(cls, bus: Bus, committer: Committer, options: JetStreamOptions, tasks: Sequence[Task]) -> _Admission:
        subjects = [names.idempotency(task.tenant, task.idempotency_key) for task in tasks if task.idempotency_key]
        keys = await bus.newest(subjects) if subjects else {}
        firsts = [_claim.decode(stored.data).task_id for stored in keys.values()]
        known = await committer.known([*(task.id for task in tasks), *firsts])
        budgeted = {task.tenant for task in tasks if task.reserved and task.tenant in options.budgets}
        return cls(options, known, keys, await Book.read(bus, budgeted) if budgeted else None)

    def consider(self, task: Task, now_ms: int) -> Receipt:
        """Raises ``Conflict`` or ``BudgetExceeded``."""
        same = self._known.get(task.id)
        if same is not None:
            return Receipt(task_id=task.id, state=same.record.state)
        if task.idempotency_key:
            first = self._claimed(task, now_ms)
            if first is not None:
                return first
        day = reserved_day(self._options, self.book, self.steps, task, task.reserved, task.submitted_at_ms)
        step = steps.accept(task, now_ms, self._options.lane_of(task), day, task.reserved)
        self.steps.append(step)
        self._known[task.id] = Known(step.after, 0)
        return Receipt(task_id=task.id, state=step.after.state)

    def _claimed(self, task: Task, now_ms: int) -> Receipt | None:
        """The first task with this key; ``None`` after claiming it for this one."""
        assert task.idempotency_key is not None
        subject = names.idempotency(task.tenant, task.idempotency_key)
        request, stored = request_hash(task), self._keys.get(subject)
        claim = self._fresh.get(subject) or (_claim.decode(stored.data) if stored else None)
        if claim is not None and claim.task_id != task.id and not self._is_orphan(claim, now_ms):
            if claim.request != request:
                raise Conflict(
                    f"the idempotency key {task.idempotency_key!r} was used for another request, which made task "
                    f"{claim.task_id}",
                    field="Idempotency-Key",
                    mend="send the same request again, or a new key",
                )
            first = self._known.get(claim.task_id)
            state = TaskState.QUEUED if first is None else first.record.state
            return Receipt(task_id=claim.task_id, state=state, duplicate=True)
        self._fresh[subject] = Claim(task.id, request, now_ms)
        expect = 0 if stored is None else stored.seq
        ttl_s = max(1, round(self._options.idempotency_ttl_s))
        self.claims.append(Put(subject, _encode(self._fresh[subject]), expect, ttl_s=ttl_s))
        return None

    def _is_orphan(self, claim: Claim, now_ms: int) -> bool:
        """A key without its task: the server died between the two. A task that was let go is older than this."""
        return claim.task_id not in self._known and now_ms - claim.at_ms < self._options.result_ttl_s * 1000


def reserved_day(
    options: JetStreamOptions,
    book: Book | None,
    others: Sequence[Step],
    task: Task,
    reserve: Reservation | None,
    at_ms: int,
) -> str:
    """The day whose budgets have room for this reservation beside those of ``others``, which belong to the same write;
    empty without any budget. Raises ``BudgetExceeded``, and ``Unavailable`` while accounts are closed."""
    budget = options.budgets.get(task.tenant)
    if budget is None or reserve is None or book is None:
        return ""
    if not book.is_open:
        raise closed(task.tenant)
    day = day_of(at_ms)
    also = [step.spending for step in others if step.spending is not None and step.spending.tenant == task.tenant]
    asked_usd = sum(spending.reserve_nano_usd for spending in also)
    asked_tokens = sum(spending.reserve_tokens for spending in also)
    for period, (cap_usd, cap_tokens) in zip(periods_of(day), caps_of(budget), strict=True):
        account = book.of(task.tenant, period)
        for kind, cap, spent, reserved, wanted in (
            ("usd", cap_usd, account.nano_usd, account.reserved_nano_usd + asked_usd, reserve.nano_usd),
            ("tok", cap_tokens, account.tokens, account.reserved_tokens + asked_tokens, reserve.tokens),
        ):
            if cap is not None and spent + reserved + wanted > cap:
                raise refusal(task, reserve, period, kind, cap, spent, reserved, at_ms)
    return day


def _poison_entry(stored: Stored) -> PoisonEntry:
    subject, _, content = stored.data.partition(b"\n")
    words = subject.decode(errors="replace").split(".")
    stream, priority = words[3:5] if len(words) > 4 else ("", "")
    known = priority.isdecimal() and int(priority) in (*Priority,)
    return PoisonEntry(
        id=stored.subject.rpartition(".")[2],
        stream=names.text_of(stream),
        priority=Priority(int(priority)).label if known else priority,
        set_aside_at_ms=stored.at_ms,
        content=content.decode(errors="replace"),
    )


async def index_entries(bus: Bus, known: Known) -> tuple[int, ...]:
    """The sequence of the index entry that a task has in its present state, if it is there."""
    record = known.record
    task = record.task
    where = task.route.stream, int(task.priority)
    if record.state is TaskState.QUEUED:
        subject = names.waiting(*where, record.lane, task.id)
    elif record.state is TaskState.DEAD:
        subject = names.dead(*where, task.tenant, task.id)
    elif record.due_at_ms is not None:
        subject = names.due(record.state.value, *where, record.due_at_ms, task.id)
    elif record.state is TaskState.RUNNING:
        subject = names.lease(*where, task.tenant, task.type, task.id)
    else:
        return ()
    stored = await bus.last(subject)
    return () if stored is None else (stored.seq,)
