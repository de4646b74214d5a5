"""The event log on JetStream: events of tasks and of the platform in the order of one stream, and snapshots."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence

import msgspec

from sophia.events.base import Page
from sophia.events.cursors import parse
from sophia.nouns.errors import InvalidInput
from sophia.nouns.event import Event
from sophia.nouns.task import TaskState
from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.failures import Mismatch, persistently, translated
from sophia.queue.jetstream.floor import floor
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.record import decode_event, encode_event, event_seq

LOOK_AGAIN_S = 15.0
LOG_MAX = 100_000


class JetStreamEventLog:
    """Implements ``EventLog``. A cursor is when the stream was made and a sequence in it: positions in a stream that was
    wiped are told apart."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._unique = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    async def publish(self, events: Sequence[Event]) -> None:
        puts = [
            Put(names.platform_event(f"{self._unique}-{next(self._numbers)}"), encode_event(event)) for event in events
        ]
        async with translated():
            await self._bus.write_each(puts)

    async def head(self) -> str:
        async def newest() -> int:
            last = await self._bus.last(names.ALL_EVENTS)
            return max(await floor(self._bus), 0 if last is None else last.seq)

        return self._cursor(await persistently(newest))

    async def read(self, after: str, limit: int, wait_s: float) -> Page:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        page = await self._page(after, limit)
        if page.events or wait_s <= 0:
            return page
        async with self._bus.listening([names.ALL_EVENTS]) as bell:
            while True:
                heard = bell.rings
                page = await self._page(after, limit)
                left_s = until - loop.time()
                if page.events or page.gap or left_s <= 0:
                    return page
                await bell.wait(heard, min(left_s, LOOK_AGAIN_S))

    async def _page(self, after: str, limit: int) -> Page:
        async with translated():
            seq, known = self._position(after)
            gap = not known or (seq > 0 and seq < await floor(self._bus))
            stored = await self._bus.after(seq, names.ALL_EVENTS, limit)
        events = [self._event(message) for message in stored]
        return Page(events=events, cursor=self._cursor(stored[-1].seq if stored else seq), gap=gap)

    def _event(self, stored: Stored) -> Event:
        return msgspec.structs.replace(decode_event(stored), cursor=self._cursor(stored.seq))

    def _position(self, cursor: str) -> tuple[int, bool]:
        """Where to read on, and whether the cursor is of this very stream."""
        positions = parse(cursor)
        if not positions:
            return 0, True
        if len(positions) != 1:
            raise InvalidInput(
                f"{cursor[:80]!r} is not a cursor of this event log",
                field="after",
                mend="a cursor from an earlier event",
            )
        made, seq = positions[0]
        return (seq, True) if made == self._bus.created_ms else (0, made == 0 and seq == 0)

    def _cursor(self, seq: int) -> str:
        return f"{self._bus.created_ms}-{seq}"

    async def task_log(self, task_id: str, after_seq: int) -> list[Event]:
        async def read() -> list[Event]:
            known = (await Committer(self._bus).known([task_id])).get(task_id)
            if known is None:
                return []
            stored = await self._bus.after(0, names.events_of(task_id), LOG_MAX)
            record = known.record
            by_seq = {event_seq(message): decode_event(message) for message in stored}
            by_seq[1] = record.first_event()
            # Beyond the record's last transition there is something only while it runs: see ``docs/jetstream.md``.
            last = None if record.state is TaskState.RUNNING else record.events
            return [by_seq[seq] for seq in sorted(by_seq) if seq > after_seq and (last is None or seq <= last)]

        return await persistently(read)

    async def put_snapshot(self, name: str, body: bytes) -> None:
        await persistently(lambda: self._bus.write([Put(names.snapshot(name), body)]))

    async def swap_snapshot(self, name: str, was: bytes | None, body: bytes) -> bool:
        async def swap() -> bool:
            stored = await self._bus.last(names.snapshot(name))
            if (None if stored is None else stored.data) != was:
                return False
            try:
                await self._bus.write([Put(names.snapshot(name), body, expect=0 if stored is None else stored.seq)])
            except Mismatch:
                return False
            return True

        return await persistently(swap)

    async def snapshot(self, name: str) -> bytes | None:
        stored = await persistently(lambda: self._bus.last(names.snapshot(name)))
        return None if stored is None else stored.data

    async def close(self) -> None:
        """Nothing of its own to close: the bus belongs to whoever opened it."""
