"""Counts of what is where, read from the index entries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sophia.nouns.task import Priority, TaskState
from sophia.queue.base import StreamStats, Wait
from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.messages import Stored
from sophia.queue.jetstream.record import Record


async def stream_stats(bus: Bus, streams: Sequence[str], now_ms: int) -> list[StreamStats]:
    await bus.discards.done()
    # What there is none of anywhere need not be counted everywhere.
    some = dict(
        zip(
            ("waiting", "running", "scheduled", "retrying", "dead"),
            await asyncio.gather(
                bus.first(names.waiting_in()),
                bus.first(names.leases_in()),
                bus.first(names.due_in(kind="scheduled")),
                bus.first(names.due_in(kind="retrying")),
                bus.first(names.dead_in()),
            ),
            strict=True,
        )
    )

    async def count(kind: str, pattern: str) -> int:
        return await bus.count(pattern) if some[kind] else 0

    async def row(stream: str, priority: Priority) -> StreamStats:
        where = stream, int(priority)
        waiting = names.waiting_in(*where)
        head = await bus.first(waiting) if some["waiting"] else None
        last = await bus.last(waiting) if head else None
        running, delayed, retrying, dead = await asyncio.gather(
            count("running", names.leases_in(*where)),
            count("scheduled", names.due_in("scheduled", *where)),
            count("retrying", names.due_in("retrying", *where)),
            count("dead", names.dead_in(*where)),
        )
        return StreamStats(
            stream=stream,
            priority=priority.label,
            waiting=head.pending + 1 if head else 0,
            running=running,
            delayed=delayed,
            retrying=retrying,
            dead=dead,
            oldest_age_s=max(0, now_ms - head.at_ms) / 1000 if head else None,
            first_entry=_entry(head),
            last_entry=_entry(last),
            groups=("workers",),
        )

    return await asyncio.gather(*(row(stream, priority) for stream in streams for priority in Priority))


def _entry(stored: Stored | None) -> str | None:
    return None if stored is None else f"{stored.at_ms}-{stored.seq}"


async def wait_of(bus: Bus, record: Record) -> Wait:
    task = record.task
    await bus.discards.done()
    stream, priority = task.route.stream, int(task.priority)
    ahead: int | None = None
    if record.state is TaskState.QUEUED:
        ahead = await _ahead(bus, record, stream, priority)
    return Wait(
        state=record.state, ahead=ahead, due_at_ms=record.due_at_ms, stream=stream, priority=task.priority.label
    )


async def _ahead(bus: Bus, record: Record, stream: str, priority: int) -> int | None:
    entry = await bus.last(names.waiting(stream, priority, record.lane, record.task.id))
    if entry is None:
        return None
    higher = [bus.count(names.waiting_in(stream, other)) for other in range(priority)]
    ahead = sum(await asyncio.gather(*higher))
    lane = await bus.first(names.waiting_in(stream, priority, record.lane))
    rest = await bus.first(names.waiting_in(stream, priority, record.lane), entry.seq - 1)
    everybody = await bus.count(names.waiting_in(stream, priority))
    lanes = len(await bus.newest([names.active_in(stream, priority)]))
    if lane is None or rest is None:
        return ahead
    # Lanes take turns: at most as many of every other lane go first as of this one.
    mine = lane.pending - rest.pending
    return ahead + max(0, min((mine + 1) * max(1, lanes) - 1, everybody - 1))
