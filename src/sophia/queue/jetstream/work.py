"""The worker's side of the queue on JetStream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec

from sophia.nouns.errors import SophiaError
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Emission, Lease, LeaseStatus, Settlement, WorkerBeat
from sophia.queue.jetstream import names, steps
from sophia.queue.jetstream.attempts import Attempts
from sophia.queue.jetstream.bells import Bell
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.clock import ServerClock
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.failures import Mismatch, persistently
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.picking import Entry, Picked, Picker
from sophia.queue.jetstream.record import Record
from sophia.queue.jetstream.step import Step
from sophia.queue.jetstream.unanswered import Unanswered
from sophia.redis.coalesce import Coalescer

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 30.0
"""Announcements are not repeated when one is lost: a waiting worker looks by itself so often."""
UNRIPE_PAUSES_S = (0.0005, 0.001, 0.002, 0.004, 0.01)
"""An entry is announced just before its record is stored."""
CAPPED_AGAIN_S = 0.5
"""The end of a task elsewhere makes room under a cap, and is not announced to those who wait for it."""
CROWDED_TRIES = 20
_encode = msgspec.json.Encoder().encode


class Took(msgspec.Struct):
    """One look for something to lease."""

    leases: list[Lease]
    more: bool = False
    """There may be more to lease at once."""
    unripe: bool = False
    capped: bool = False


class Ears:
    """Hear of what comes into some streams while their worker has free slots. They are closed while there is more
    than it can take: announcements of what it finds anyway would only cost it time."""

    def __init__(self, bus: Bus, streams: Sequence[str]) -> None:
        self._bus = bus
        self._patterns = [names.waiting_in(stream) for stream in streams]
        self._bell: Bell | None = None
        self._heard = 0
        self._emptied = False
        """The last look has left nothing."""

    @property
    def are_open(self) -> bool:
        return self._bell is not None

    @property
    def nothing_new(self) -> bool:
        """Looking would find nothing."""
        return self._emptied and self._bell is not None and self._bell.rings == self._heard

    async def open(self) -> None:
        bell = await self._bus.bell(self._patterns)
        if self.are_open:
            await self._bus.silence(bell)
        else:
            self._bell = bell

    async def look(self, take: Callable[[list[Stored] | None], Awaitable[Took]]) -> Took:
        """``take`` is given all that there can be to find, or ``None`` when it has to look for itself."""
        rings, news = 0, None
        if self._bell is not None:
            rings, news = self._bell.rings, self._bell.take_news()
        if not self._emptied:
            news = None
        self._emptied = False
        took = await take(news)
        self._heard, self._emptied = rings, not (took.more or took.unripe or took.capped)
        if took.more:
            await self.close()
        return took

    async def wait(self, timeout_s: float) -> None:
        """Until something new is heard of; whatever ends it, the next thing is to look."""
        if self._bell is not None:
            await self._bell.wait(self._heard, timeout_s)
            if self._bell is not None and self._bell.rings == self._heard:
                # Announcements may be lost: once in a while it is looked without one.
                self._emptied = False

    async def close(self) -> None:
        bell, self._bell, self._emptied = self._bell, None, False
        if bell is not None:
            await self._bus.silence(bell)


class JetStreamWorkQueue:
    """Implements ``WorkQueue``. ``bus`` is closed by whoever opened it."""

    def __init__(self, bus: Bus, options: JetStreamOptions, clock: ServerClock | None = None) -> None:
        self._bus = bus
        self._options = options
        self._clock = clock or ServerClock(bus)
        self._committer = Committer(bus)
        self._picker = Picker(bus, self._committer, options)
        self._attempts = Attempts(bus, self._committer, self._clock, options)
        self._unanswered = Unanswered(bus, self._committer, options.lease_ms)
        self._picking = asyncio.Lock()
        self._pools: dict[str, str] = {}
        self._ears: dict[tuple[str, ...], Ears] = {}
        self._strays: set[asyncio.Task[None]] = set()
        self._settles: Coalescer[Settlement, bool] = Coalescer(self._attempts.settle)
        self._emits: Coalescer[Emission, bool] = Coalescer(self._attempts.emit)

    async def lease(self, worker: str, streams: Sequence[str], count: int, wait_s: float) -> list[Lease]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        ears = self._ears.setdefault(tuple(streams), Ears(self._bus, streams))
        pauses = iter(UNRIPE_PAUSES_S)
        while True:
            pause_s = LOOK_AGAIN_S
            if wait_s <= 0 or not ears.nothing_new:
                took = await ears.look(lambda news: self._take_shielded(worker, streams, count, news))
                if took.leases or wait_s <= 0:
                    return took.leases
                if not ears.are_open:
                    # What is stored before they are open is not heard of: look once more.
                    await ears.open()
                    continue
                if took.unripe:
                    pause_s = next(pauses, UNRIPE_PAUSES_S[-1])
                elif took.capped:
                    pause_s = CAPPED_AGAIN_S
            left_s = until - loop.time()
            if left_s <= 0:
                return []
            await ears.wait(min(left_s, pause_s))

    async def _take_shielded(self, worker: str, streams: Sequence[str], count: int, news: list[Stored] | None) -> Took:
        """A caller that is cancelled while attempts begin has them handed back instead of lost."""
        take = asyncio.create_task(persistently(lambda: self._take(worker, streams, count, news)))
        try:
            return await asyncio.shield(take)
        except asyncio.CancelledError:
            self._stray(self._hand_back(take))
            raise

    async def _take(self, worker: str, streams: Sequence[str], count: int, news: list[Stored] | None) -> Took:
        async with self._picking:
            for attempt in range(CROWDED_TRIES):
                now_ms = await self._clock.now_ms()
                if self._unanswered and (own := await self._begun_unheard(worker, count, now_ms)):
                    return Took(own, more=True)
                if news is not None and attempt == 0 and len(news) <= count:
                    picked = await self._picker.pick_announced(news, now_ms)
                else:
                    picked = await self._picker.pick(streams, count, now_ms, crowded=attempt > 0)
                if not picked.entries:
                    return Took([], unripe=picked.unripe, capped=picked.capped)
                leases = await self._begin(worker, picked, now_ms)
                if leases:
                    more = picked.unripe or picked.capped or len(leases) < len(picked.entries)
                    return Took(leases, more=more or len(leases) == count)
            return Took([], unripe=True)

    async def _begin(self, worker: str, picked: Picked, now_ms: int) -> list[Lease]:
        """Lease what was picked; where others were faster, what is left of it one by one."""
        made = [self._beginning(worker, entry, now_ms) for entry in picked.entries]
        unsure = self._unanswered.unsure()
        self._unanswered.ask(made)
        revisions = await self._made(made, picked.guards)
        self._unanswered.answer(made, revisions, unsure)
        leases: list[Lease] = []
        for step, revision in zip(made, revisions, strict=True):
            record = step.after
            if revision is None or step.before is None or record.worker != worker:
                continue
            # The messages of one write follow each other: the lease's entry is the first of the step's.
            self._attempts.begun(record, revision, revision - len(step.messages()) + 1)
            leases.append(_lease(record))
        return leases

    async def _made(self, made: Sequence[Step], guards: Sequence[Put]) -> Sequence[int | None]:
        try:
            return await self._committer.all_or_none(made, guards=guards)
        except Mismatch:
            return [None] * len(made) if guards else await self._committer.each(made)

    async def _begun_unheard(self, worker: str, count: int, now_ms: int) -> list[Lease]:
        """Attempts of an earlier look that have begun although it was not answered."""
        own = await self._unanswered.begun(worker, count, now_ms)
        for known in own:
            self._attempts.begun(known.record, known.revision, None)
        return [_lease(known.record) for known in own]

    def _beginning(self, worker: str, entry: Entry, now_ms: int) -> Step:
        deadline_ms = entry.known.record.task.deadline_at_ms
        if deadline_ms is not None and deadline_ms < now_ms:
            return steps.miss_start(entry.known, now_ms, (entry.seq,))
        pool = self._pools.get(worker, "")
        return steps.begin(entry.known, worker, pool, now_ms, self._options.lease_ms, entry.seq)

    def _stray(self, work: Coroutine[None, None, None]) -> None:
        """Do it although nobody waits for it; ``close`` does."""
        task = asyncio.create_task(work)
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    async def _hand_back(self, take: asyncio.Task[Took]) -> None:
        try:
            leases = (await take).leases
            await self.settle([Settlement(lease=lease, outcome=AttemptOutcome.HANDED_BACK) for lease in leases])
        except SophiaError as error:
            log.warning("leases that nobody waits for will expire: %s", error)

    async def extend(self, leases: Sequence[Lease]) -> list[LeaseStatus]:
        return await self._attempts.extend(leases)

    async def emit(self, emissions: Sequence[Emission]) -> list[bool]:
        return await self._emits.many(emissions)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return await self._settles.many(settlements)

    async def beat(self, beat: WorkerBeat) -> bool:
        self._pools[beat.worker] = beat.pool

        async def report() -> Any:
            await self._bus.write([Put(names.worker(beat.worker), _encode(beat), ttl_s=round(beat.listed_for_s))])
            return await self._bus.last(names.stop(beat.worker))

        return await persistently(report) is not None

    async def leave(self, worker: str) -> None:
        async def forget() -> None:
            await self._bus.purge(names.worker(worker))
            await self._bus.purge(names.stop(worker))

        await persistently(forget)

    async def close(self) -> None:
        await asyncio.gather(*self._strays)
        for ears in self._ears.values():
            await ears.close()
        await self._emits.close()
        await self._settles.close()


def _lease(record: Record) -> Lease:
    return Lease(
        task=record.task,
        attempt=record.attempt,
        attempts_counted=record.counted,
        worker=record.worker,
        leased_at_ms=record.started_at_ms,
        spent_before=record.spent,
    )
