"""The router's side of the queue on JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from sophia.nouns.task import TaskRecord
from sophia.queue.base import Change, Spent, UpkeepReport
from sophia.queue.budgets import admitted_at_ms, closed, day_of
from sophia.queue.jetstream import accounts, names, steps
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.clock import ServerClock
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.failures import Mismatch, persistently, translated
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.sweep import Sweep

STOP_REQUEST_TTL_S = 3_600
LOOK_AGAIN_S = 15.0
LET_GO_EVERY_S = 5.0


class Leadership(msgspec.Struct, frozen=True):
    holder: str
    until_ms: int


_leadership = msgspec.json.Decoder(Leadership)
_encode = msgspec.json.Encoder().encode


class JetStreamUpkeep:
    """Implements ``QueueUpkeep``. The feed of changes is the records themselves in the stream's order: a record that
    changes again moves to the end, so only the newest state of each task is given."""

    def __init__(self, bus: Bus, options: JetStreamOptions, clock: ServerClock | None = None) -> None:
        self._bus = bus
        self._options = options
        self._clock = clock or ServerClock(bus)
        self._committer = Committer(bus)
        self._given: list[int] = []
        self._acknowledged: set[int] = set()
        self._recorded: int | None = None
        self._made_ms = bus.created_ms
        self._let_go_at_s = 0.0

    async def upkeep(self, limit: int) -> UpkeepReport:
        return await persistently(lambda: self._pass(limit))

    async def _pass(self, limit: int) -> UpkeepReport:
        now_ms = await self._clock.sync()
        await self._bus.discards.done()
        sweep = Sweep(self._bus, self._committer, self._options, now_ms, limit)
        minutes = await sweep.minutes()
        missed, starts_left = await sweep.missed_starts(minutes)
        due, due_left = await sweep.due(minutes)
        await sweep.remember(minutes, [*starts_left, *due_left])
        leases = await sweep.ended_leases()
        now_s = asyncio.get_running_loop().time()
        if now_s - self._let_go_at_s >= LET_GO_EVERY_S:
            self._let_go_at_s = now_s
            await sweep.let_go(await self._recorded_up_to())
        moments = [at_ms for at_ms in (missed.next_ms, due.next_ms, leases.next_ms) if at_ms is not None]
        return UpkeepReport(
            promoted=due.done,
            reclaimed=leases.done,
            expired=missed.done,
            dead=leases.dead,
            next_due_in_s=max(0, min(moments) - now_ms) / 1000 if moments else None,
            accounts_open=await accounts.are_open(self._bus),
        )

    async def changes(self, limit: int, wait_s: float) -> list[Change]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        async with self._bus.listening([names.ALL_RECORDS]) as bell:
            while True:
                heard = bell.rings
                made, changed = await persistently(lambda: self._changed(limit))
                left_s = until - loop.time()
                if changed or left_s <= 0:
                    return [
                        Change(token=f"{made}-{entry.seq}", task_id=names.task_id_of(entry.subject))
                        for entry in changed
                    ]
                await bell.wait(heard, min(left_s, LOOK_AGAIN_S))

    async def _changed(self, limit: int) -> tuple[int, list[Stored]]:
        """And of which stream they are, as far as is known here."""
        after = await self._recorded_up_to()
        made = self._made_ms
        while True:
            page = await self._bus.after(after, names.ALL_RECORDS, limit)
            self._given = [entry.seq for entry in page]
            fresh = [entry for entry in page if entry.seq not in self._acknowledged]
            if fresh or not page:
                return made, fresh
            after = page[-1].seq

    async def acknowledge(self, changes: Sequence[Change]) -> None:
        recorded = before = await persistently(self._recorded_up_to)
        given = [change.token.partition("-") for change in changes]
        # Sequences of another stream say nothing about this one's.
        self._acknowledged.update(int(seq) for made, _, seq in given if made == str(self._made_ms))
        for seq in self._given:
            if seq > recorded and seq not in self._acknowledged:
                break
            recorded = max(recorded, seq)
        if recorded > before:
            mark = f"{self._made_ms}-{recorded}".encode()
            await persistently(lambda: self._bus.write([Put(names.RECORDED, mark)]))
            self._recorded = recorded
            self._acknowledged = {seq for seq in self._acknowledged if seq > recorded}

    async def _recorded_up_to(self) -> int:
        await self._bus.check()
        if self._made_ms != self._bus.created_ms:
            # Another stream, whose sequences count anew.
            self._made_ms, self._recorded = self._bus.created_ms, None
            self._given, self._acknowledged = [], set()
        if self._recorded is None:
            made, stored = self._made_ms, await self._bus.last(names.RECORDED)
            # Whoever has not noticed yet that the stream is another one writes sequences of the one before.
            of, _, seq = ("", "", "") if stored is None else stored.data.decode().partition("-")
            if made != self._made_ms:
                return 0
            self._recorded = int(seq) if of == str(made) else 0
        return self._recorded

    async def restore(self, records: Sequence[TaskRecord]) -> list[str]:
        async def attempt() -> list[str]:
            known = await self._committer.known([record.task.id for record in records])
            now_ms = await self._clock.now_ms()
            days = [self._day_of(record) for record in records]
            if any(days) and not await accounts.are_filled(self._bus):
                raise closed(next(record.task.tenant for record, day in zip(records, days, strict=True) if day))
            made = [
                steps.restore(record, now_ms, self._options.lane_of(record.task), self._day_of(record))
                for record in records
                if record.task.id not in known
            ]
            done = await self._committer.each(made)
            return [step.after.task.id for step, revision in zip(made, done, strict=True) if revision is not None]

        return await persistently(attempt) if records else []

    def _day_of(self, record: TaskRecord) -> str:
        """The day of its admission, whose budgets it holds its reservation of again; empty without any."""
        if record.task.reserved is None or record.task.tenant not in self._options.budgets:
            return ""
        return day_of(admitted_at_ms(record))

    async def begin_accounts(self, token: str) -> bool:
        return await persistently(lambda: accounts.begin(self._bus, token))

    async def fill_accounts(self, token: str, spent: Sequence[Spent]) -> bool:
        return await self._unless_changed(lambda: accounts.fill(self._bus, token, spent))

    async def open_accounts(self, token: str) -> bool:
        return await self._unless_changed(lambda: accounts.open_filled(self._bus, token))

    async def _unless_changed(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await persistently(step)
        except Mismatch:
            return False

    async def request_stop(self, worker: str) -> None:
        put = Put(names.stop(worker), b"1", ttl_s=STOP_REQUEST_TTL_S)
        await persistently(lambda: self._bus.write([put]))

    async def lead(self, name: str, holder: str, ttl_s: float) -> bool:
        # Not repeated on trouble: a leader that cannot reach the server must not believe it leads.
        async with translated():
            stored = await self._bus.last(names.leader(name))
            now_ms = await self._clock.now_ms()
            if stored is not None:
                current = _leadership.decode(stored.data)
                if current.holder not in ("", holder):
                    now_ms = await self._clock.sync()
                    if current.until_ms > now_ms:
                        return False
            lease = Leadership(holder, now_ms + max(1, round(ttl_s * 1000)))
            try:
                await self._bus.write([Put(names.leader(name), _encode(lease), 0 if stored is None else stored.seq)])
            except Mismatch:
                return False
            return True

    async def resign(self, name: str, holder: str) -> None:
        async with translated():
            stored = await self._bus.last(names.leader(name))
            if stored is not None and _leadership.decode(stored.data).holder == holder:
                await self._bus.delete([stored.seq])
