"""Finds what time has come for: due tasks, missed starts, ended leases, records whose retention is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sophia.nouns.task import TaskState
from sophia.queue.jetstream import names, steps
from sophia.queue.jetstream.attempts import newest_event
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.floor import raise_floor
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.picking import UNRIPE_MS
from sophia.queue.jetstream.producer import index_entries
from sophia.queue.jetstream.record import Known, decode_record
from sophia.queue.jetstream.step import Step, Tenure

MARGIN_MIN = 2
"""Minutes are looked at again for so long after they are over: who writes into one may be a little late."""
UNRECORDED_FACTOR = 10
"""A record that the ledger has not taken up is kept so many times its retention."""
_tenure = msgspec.json.Decoder(Tenure)


class Found(msgspec.Struct):
    """One pass."""

    done: int = 0
    dead: int = 0
    next_ms: int | None = None
    """The next known moment."""

    def later(self, at_ms: int) -> None:
        self.next_ms = at_ms if self.next_ms is None else min(self.next_ms, at_ms)


class Sweep:
    def __init__(self, bus: Bus, committer: Committer, options: JetStreamOptions, now_ms: int, limit: int) -> None:
        self._bus = bus
        self._committer = committer
        self._options = options
        self._now_ms = now_ms
        self._limit = limit

    async def minutes(self) -> range:
        """Those in which something may be due, and the next one."""
        now = self._now_ms // names.MINUTE_MS
        stored = await self._bus.last(names.SWEPT)
        start = now - MARGIN_MIN
        if stored is not None:
            start = min(start, int(stored.data))
        else:
            entries = await self._bus.newest([names.due_in(), names.start_by_in()])
            start = min((int(subject.split(".")[-2]) for subject in entries), default=start)
        return range(min(start, now), now + 2)

    async def remember(self, minutes: range, left: Sequence[Stored]) -> None:
        """Minutes before the first in which something is left need not be looked at any more."""
        first_left = min((int(entry.subject.split(".")[-2]) for entry in left), default=minutes[-1])
        done = min(first_left, self._now_ms // names.MINUTE_MS - MARGIN_MIN)
        if done > minutes[0]:
            await self._bus.write([Put(names.SWEPT, str(done).encode())])

    async def missed_starts(self, minutes: range) -> tuple[Found, list[Stored]]:
        entries = await self._in_minutes([names.start_by_in(minute) for minute in minutes])
        return await self._timed(entries, self._miss_start)

    async def due(self, minutes: range) -> tuple[Found, list[Stored]]:
        entries = await self._in_minutes([names.due_in(minute=minute) for minute in minutes])
        return await self._timed(entries, self._promote)

    async def _in_minutes(self, patterns: list[str]) -> list[Stored]:
        return sorted((await self._bus.newest(patterns)).values(), key=lambda entry: int(entry.data))

    async def _timed(
        self, entries: list[Stored], step: Callable[[Known, Stored, tuple[int, ...]], Step | None]
    ) -> tuple[Found, list[Stored]]:
        """Make the steps of those whose time has come; gives those that are left as well."""
        found = Found()
        ripe = [entry for entry in entries if int(entry.data) <= self._now_ms][: self._limit]
        known = await self._committer.known([names.task_id_of(entry.subject) for entry in ripe])
        made: list[Step] = []
        void: list[int] = []
        for entry in ripe:
            current = known.get(names.task_id_of(entry.subject))
            planned = None
            if current is not None:
                planned = step(current, entry, tuple({*await index_entries(self._bus, current), entry.seq}))
            if planned is not None:
                made.append(planned)
            elif self._now_ms - entry.at_ms > UNRIPE_MS:
                void.append(entry.seq)
        done = await self._committer.each(made)
        found.done = sum(1 for revision in done if revision is not None)
        await self._bus.delete(void)
        gone = {seq for planned in made for seq in planned.stale} | set(void)
        left = [entry for entry in entries if entry.seq not in gone]
        for entry in left:
            found.later(int(entry.data))
        return found, left

    def _miss_start(self, known: Known, entry: Stored, stale: tuple[int, ...]) -> Step | None:
        if not known.record.is_waiting:
            return None
        return steps.miss_start(known, self._now_ms, stale)

    def _promote(self, known: Known, entry: Stored, stale: tuple[int, ...]) -> Step | None:
        record = known.record
        if record.state not in (TaskState.SCHEDULED, TaskState.RETRYING) or record.due_at_ms != int(entry.data):
            return None
        return steps.promote(known, self._now_ms, stale)

    async def ended_leases(self) -> Found:
        found = Found()
        entries = (await self._bus.newest([names.leases_in()])).values()
        tenures = [(entry, _tenure.decode(entry.data)) for entry in entries]
        for _, tenure in tenures:
            if tenure.until_ms > self._now_ms:
                found.later(tenure.until_ms)
        ended = sorted(
            ((entry, tenure) for entry, tenure in tenures if tenure.until_ms <= self._now_ms),
            key=lambda pair: pair[1].until_ms,
        )[: self._limit]
        known = await self._committer.known([names.task_id_of(entry.subject) for entry, _ in ended])
        made: list[Step] = []
        void: list[int] = []
        for entry, tenure in ended:
            current = known.get(names.task_id_of(entry.subject))
            if (
                current is not None
                and current.record.state is TaskState.RUNNING
                and current.record.attempt == tenure.attempt
            ):
                newest = await newest_event(self._bus, current.record)
                made.append(steps.lose(current, self._now_ms, newest, entry.seq))
            elif self._now_ms - entry.at_ms > UNRIPE_MS:
                void.append(entry.seq)
        for step, revision in zip(made, await self._committer.each(made), strict=True):
            if revision is not None and step.after.state is TaskState.DEAD:
                found.dead += 1
            elif revision is not None and step.after.state is TaskState.QUEUED:
                found.done += 1
        await self._bus.delete(void)
        return found

    async def let_go(self, recorded: int) -> None:
        """Final records after their retention, with all their events; not before the ledger has them.

        A record that changes moves to the end, so those behind which this has come need not be looked at again.
        """
        ttl_ms = round(self._options.result_ttl_s * 1000)
        stored = await self._bus.last(names.LET_GO)
        done = before = 0 if stored is None else int(stored.data)
        for entry in await self._old_records(done, ttl_ms):
            record = decode_record(entry).record
            if record.finished_at_ms is not None and record.state is not TaskState.DEAD:
                if entry.seq > recorded and entry.at_ms + UNRECORDED_FACTOR * ttl_ms > self._now_ms:
                    break
                await self._drop(record.task.id, entry.seq)
            done = entry.seq
        if done > before:
            await self._bus.write([Put(names.LET_GO, str(done).encode())])
        await self._trim_platform_events(ttl_ms)

    async def _old_records(self, after: int, ttl_ms: int) -> list[Stored]:
        """Those behind ``after`` whose last change is so long ago. Mostly there is none, which one small read tells."""
        oldest = await self._bus.first(names.ALL_RECORDS, after)
        if oldest is None or oldest.at_ms + ttl_ms > self._now_ms:
            return []
        records = await self._bus.after(after, names.ALL_RECORDS, self._limit)
        return [record for record in records if record.at_ms + ttl_ms <= self._now_ms]

    async def _drop(self, task_id: str, revision: int) -> None:
        newest = await self._bus.last(names.events_of(task_id))
        if newest is not None:
            await raise_floor(self._bus, newest.seq)
            await self._bus.purge(names.events_of(task_id))
        await self._bus.delete([revision])

    async def _trim_platform_events(self, ttl_ms: int) -> None:
        old = [
            event
            for event in await self._bus.after(0, names.PLATFORM_EVENTS, self._limit)
            if event.at_ms + ttl_ms <= self._now_ms
        ]
        if old:
            await raise_floor(self._bus, old[-1].seq)
            await self._bus.delete([event.seq for event in old])
