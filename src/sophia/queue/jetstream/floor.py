"""Letting events go without hiding it: the floor rises first, so that a reader from before it learns of the gap."""

from __future__ import annotations

from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.failures import Mismatch
from sophia.queue.jetstream.messages import Put

TRIES = 20


async def floor(bus: Bus) -> int:
    """Sequence of the newest event that may be gone."""
    stored = await bus.last(names.FLOOR)
    return 0 if stored is None else int(stored.data)


async def raise_floor(bus: Bus, seq: int) -> None:
    for _ in range(TRIES):
        stored = await bus.last(names.FLOOR)
        if stored is not None and int(stored.data) >= seq:
            return
        try:
            await bus.write([Put(names.FLOOR, str(seq).encode(), 0 if stored is None else stored.seq)])
            return
        except Mismatch:
            continue


async def trim_task_log(bus: Bus, task_id: str, newest: int, most: int) -> None:
    """Keep about ``most`` events of one task: a tenth is cut off at a time."""
    slack = max(1, most // 10)
    if newest <= most or (newest - most) % slack != 0:
        return
    last_cut = await bus.last(names.event(task_id, newest - most))
    if last_cut is None:
        return
    await raise_floor(bus, last_cut.seq)
    await bus.purge(names.events_of(task_id), below=last_cut.seq + 1)
