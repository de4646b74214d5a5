"""The worker's side of the queue on Redis."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Emission, Lease, LeaseStatus, Settlement, WorkerBeat
from sophia.queue.redis.reading import Entry, Lines, first_that_brings
from sophia.queue.redis.shared import QueueOptions, Scripts
from sophia.queue.redis.words import emission_args, settlement_args
from sophia.redis.base import Redis
from sophia.redis.bodies import unpack
from sophia.redis.coalesce import Coalescer
from sophia.redis.connection import persistently, translated
from sophia.redis.records import spent

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder()
SETTLE_AT_ONCE = 64
"""So that this worker goes on with what is settled while the server is busy with the next."""

REST_S = 1.0
"""A partition that does not answer is asked again after this, while the others are served."""
KEEP_S = 0.1
"""What a read has brought and nobody asks for within this goes back to the others."""

Item = TypeVar("Item")
Fenced = TypeVar("Fenced", Emission, Settlement)


class RedisWorkQueue:
    """Implements ``WorkQueue``. ``blocking`` is a second client for reads that wait, see ``Lines``."""

    def __init__(self, client: Redis, blocking: Redis, options: QueueOptions) -> None:
        self._scripts = Scripts(client, options)
        self._lines = Lines(blocking, self._scripts)
        self._options = options
        self._lease_ms = round(options.lease_s * 1000)
        self._pools: dict[str, str] = {}
        self._reads: dict[tuple[str, str], asyncio.Task[list[Entry]]] = {}
        self._emptied: set[tuple[str, str]] = set()
        self._unheard: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Calls that may have begun attempts, and whose replies were lost."""
        self._strays: set[asyncio.Task[None]] = set()
        self._settles = {p: Coalescer(partial(self._settle, p), SETTLE_AT_ONCE) for p in self._scripts.prefixes}
        self._emits = {p: Coalescer(partial(self._emit, p)) for p in self._scripts.prefixes}
        self._turn = random.randrange(options.partitions)  # noqa: S311 - workers shall not all begin with the same one
        self._resting: dict[str, tuple[float, Unavailable]] = {}
        """Partitions that did not answer: when they are asked again, and what was wrong."""

    async def lease(self, worker: str, streams: Sequence[str], count: int, wait_s: float) -> list[Lease]:
        leases: list[Lease] = []
        prefixes = self._in_turn()
        if len(prefixes) > 1:
            leases += await self._begin_given(prefixes, worker, streams, count)
        for prefix in prefixes:
            # Where the last call found less than it asked for, the blocking read sees first whether there is more.
            if len(leases) < count and (wait_s <= 0 or (worker, prefix) not in self._emptied):
                leases += await self._begin_at(prefix, worker, streams, count - len(leases))
        if leases or wait_s <= 0:
            return leases
        prefixes = [prefix for prefix in prefixes if prefix not in self._resting]
        if not prefixes:
            raise next(iter(self._resting.values()))[1]
        reads = [self._read(worker, prefix, streams, wait_s) for prefix in prefixes]
        # A read goes on when nobody waits for it any more: what it then brings is begun by the next call.
        try:
            await first_that_brings(reads, min(wait_s, REST_S) if self._resting else wait_s)
        except asyncio.CancelledError:
            # Who is cancelled wants no more: an entry must not be delivered to a reader that is leaving.
            self._stray(self._end_reads(worker))
            raise
        return await self._begin_given(prefixes, worker, streams, count)

    def _in_turn(self) -> list[str]:
        """The partitions that are well, another one first each time: none goes before the others. Raises
        ``Unavailable`` when there is none."""
        prefixes = self._scripts.prefixes
        if len(prefixes) == 1:
            return prefixes
        now_s = time.monotonic()
        self._resting = {prefix: rest for prefix, rest in self._resting.items() if rest[0] > now_s}
        self._turn = (self._turn + 1) % len(prefixes)
        turn = [*prefixes[self._turn :], *prefixes[: self._turn]]
        well = [prefix for prefix in turn if prefix not in self._resting]
        if not well:
            raise self._resting[turn[0]][1]
        return well

    async def _begin_given(
        self, prefixes: Sequence[str], worker: str, streams: Sequence[str], count: int
    ) -> list[Lease]:
        """What reads have brought."""
        leases: list[Lease] = []
        for prefix in prefixes:
            read = self._reads.get((worker, prefix))
            if read is not None and read.done() and len(leases) < count:
                leases += await self._begin_at(prefix, worker, streams, count - len(leases), only_given=True)
        return leases

    async def _begin_at(
        self, prefix: str, worker: str, streams: Sequence[str], count: int, *, only_given: bool = False
    ) -> list[Lease]:
        """What a partition has. One that does not answer rests for a while, and the others are served."""
        try:
            given = self._taken_read(worker, prefix)
            if only_given and not given:
                return []
            return await self._begin_shielded(prefix, worker, streams, count, given)
        except Unavailable as error:
            if len(self._scripts.prefixes) == 1:
                raise
            log.warning("%s cannot be served at the moment: %s", prefix, error)
            self._resting[prefix] = (time.monotonic() + REST_S, error)
            return []

    async def _begin_shielded(
        self, prefix: str, worker: str, streams: Sequence[str], count: int, given: Sequence[Entry]
    ) -> list[Lease]:
        """A caller that is cancelled while attempts begin has them handed back instead of lost."""
        begin = asyncio.create_task(self._begin(prefix, worker, streams, count, given))
        try:
            return await asyncio.shield(begin)
        except asyncio.CancelledError:
            self._stray(self._hand_back(prefix, begin))
            raise

    def _stray(self, work: Coroutine[None, None, None]) -> None:
        """Do it although nobody waits for it; ``close`` does."""
        task = asyncio.create_task(work)
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    async def _hand_back(self, prefix: str, begin: Awaitable[list[Lease]]) -> None:
        try:
            leases = await begin
            await self._settle(
                prefix, [Settlement(lease=lease, outcome=AttemptOutcome.HANDED_BACK) for lease in leases]
            )
        except SophiaError as error:
            log.warning("leases that nobody waits for will expire: %s", error)

    async def _begin(
        self, prefix: str, worker: str, streams: Sequence[str], count: int, given: Sequence[Entry]
    ) -> list[Lease]:
        adopted = await self._adopt(prefix, worker)
        count = max(count - len(adopted), len(given))
        if not count:
            return adopted
        call = secrets.token_hex(4)
        args: list[Any] = [worker, self._pools.get(worker, ""), self._lease_ms, count, call, len(given)]
        for stream, priority, entry, task_id, _ in given:
            args += (stream, priority, entry, task_id)
        bodies = {task_id: body for _, _, _, task_id, body in given}
        try:
            async with translated():
                answers = await self._scripts.call("lease", prefix, *args, *streams)
        except Unavailable:
            self._unheard[worker, prefix].add(call)
            if adopted:
                return adopted
            raise
        if len(answers) < count:
            self._emptied.add((worker, prefix))
        else:
            self._emptied.discard((worker, prefix))
        return adopted + [_lease(worker, answer, bodies) for answer in answers]

    async def _adopt(self, prefix: str, worker: str) -> list[Lease]:
        """What calls whose replies were lost have begun: it goes on here, instead of being a lost attempt later."""
        calls = self._unheard.get((worker, prefix))
        if not calls:
            return []
        async with translated():
            answers = await self._scripts.call(
                "adopt", prefix, worker, self._lease_ms, len(calls), *calls, *self._options.streams
            )
        del self._unheard[worker, prefix]
        return [_lease(worker, answer, {}) for answer in answers]

    def _taken_read(self, worker: str, prefix: str) -> list[Entry]:
        read = self._reads.get((worker, prefix))
        if read is None or not read.done():
            return []
        del self._reads[worker, prefix]
        return read.result()

    def _read(self, worker: str, prefix: str, streams: Sequence[str], wait_s: float) -> asyncio.Task[list[Entry]]:
        key = (worker, prefix)
        if key not in self._reads:
            read = self._reads[key] = asyncio.create_task(self._lines.read(worker, prefix, streams, wait_s))
            if len(self._scripts.prefixes) > 1:
                loop = asyncio.get_running_loop()
                read.add_done_callback(lambda _: loop.call_later(KEEP_S, self._give_back, key, read))
        return self._reads[key]

    def _give_back(self, key: tuple[str, str], read: asyncio.Task[list[Entry]]) -> None:
        """A worker that other partitions keep busy has not asked for what this read has brought."""
        if self._reads.get(key) is not read:
            return
        del self._reads[key]
        worker, prefix = key
        if not read.cancelled() and read.exception() is None and (entries := read.result()):
            self._stray(self._hand_back(prefix, self._begin(prefix, worker, (), len(entries), entries)))

    async def extend(self, leases: Sequence[Lease]) -> list[LeaseStatus]:
        statuses: list[LeaseStatus] = []
        failure: Exception | None = None
        groups = self._by_prefix(leases, lambda lease: lease)
        for outcome in await asyncio.gather(
            *(self._extend(*group) for group in groups.items()), return_exceptions=True
        ):
            if isinstance(outcome, SophiaError):
                failure = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                statuses += outcome
        if failure is not None and not statuses:
            raise failure
        return statuses

    async def _extend(self, prefix: str, leases: Sequence[Lease]) -> list[LeaseStatus]:
        statuses: list[LeaseStatus] = []
        by_worker: defaultdict[str, list[Lease]] = defaultdict(list)
        for lease in leases:
            by_worker[lease.worker].append(lease)
        for worker, held in by_worker.items():
            args: list[Any] = [worker, self._lease_ms]
            for lease in held:
                args += (lease.task.id, lease.attempt)
            answers = await persistently(lambda a=args: self._scripts.call("extend", prefix, *a))  # type: ignore[misc]
            statuses += [
                LeaseStatus(task_id=lease.task.id, attempt=lease.attempt, held=answer > 0, cancel_requested=answer == 2)
                for lease, answer in zip(held, answers, strict=True)
            ]
        return statuses

    async def emit(self, emissions: Sequence[Emission]) -> list[bool]:
        return await self._fenced(self._emits, emissions)

    async def _emit(self, prefix: str, emissions: Sequence[Emission]) -> list[bool]:
        # Repeated when a reply is lost: output carries its offset, so a piece that is there twice is told apart.
        args = [arg for emission in emissions for arg in emission_args(emission)]
        answers = await persistently(lambda: self._scripts.call("emit", prefix, *args))
        return [answer == 1 for answer in answers]

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return await self._fenced(self._settles, settlements)

    async def _settle(self, prefix: str, settlements: Sequence[Settlement]) -> list[bool]:
        args = [arg for settlement in settlements for arg in settlement_args(settlement)]
        answers = await persistently(lambda: self._scripts.call("settle", prefix, *args))
        return [answer == 1 for answer in answers]

    async def _fenced(self, coalescers: dict[str, Coalescer[Fenced, bool]], items: Sequence[Fenced]) -> list[bool]:
        groups = self._by_prefix(list(enumerate(items)), lambda pair: pair[1].lease)
        if len(groups) == 1:
            (prefix,) = groups
            return await coalescers[prefix].many(items)
        given = await asyncio.gather(
            *(coalescers[prefix].many([item for _, item in group]) for prefix, group in groups.items())
        )
        answers = {
            place: answer
            for group, answered in zip(groups.values(), given, strict=True)
            for (place, _), answer in zip(group, answered, strict=True)
        }
        return [answers[place] for place in range(len(items))]

    def _by_prefix(self, items: Sequence[Item], lease_of: Callable[[Item], Lease]) -> dict[str, list[Item]]:
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(self._scripts.prefix_of(lease_of(item).task.tenant), []).append(item)
        return groups

    async def beat(self, beat: WorkerBeat) -> bool:
        self._pools[beat.worker] = beat.pool
        answer = await persistently(
            lambda: self._scripts.call(
                "beat", self._scripts.prefixes[0], beat.worker, _encode.encode(beat), round(beat.listed_for_s * 1000)
            )
        )
        return bool(answer)

    async def leave(self, worker: str) -> None:
        """Say goodbye and give up the consumer's name."""
        await self._end_reads(worker)
        for prefix in self._scripts.prefixes:
            await persistently(
                lambda p=prefix: self._scripts.call("leave", p, worker, *self._options.streams)  # type: ignore[misc]
            )

    async def _end_reads(self, worker: str) -> None:
        """End blocking reads; what one brought just now is handed back."""
        # Taken out before the first wait: who leases meanwhile begins reads of its own.
        ended = [
            (prefix, read, self._lines.taken(worker, prefix))
            for prefix in self._scripts.prefixes
            if (read := self._reads.pop((worker, prefix), None)) is not None
        ]
        for prefix, read, line in ended:
            read.cancel()
            await asyncio.wait({read})
            if line is not None:
                await line.close()
            if not read.cancelled() and read.exception() is None and read.result():
                await self._hand_back(prefix, self._begin(prefix, worker, (), len(read.result()), read.result()))

    async def close(self) -> None:
        for read in self._reads.values():
            read.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        self._reads.clear()
        await self._lines.close()
        await asyncio.gather(*self._strays)
        for coalescer in (*self._emits.values(), *self._settles.values()):
            await coalescer.close()


def _lease(worker: str, answer: Sequence[Any], bodies: Mapping[str, bytes]) -> Lease:
    task_id, attempt, counted, body, now_ms, history = answer
    return Lease(
        task=unpack(body or bodies[task_id.decode()]),
        attempt=attempt,
        attempts_counted=counted,
        worker=worker,
        leased_at_ms=now_ms,
        spent_before=spent(history),
    )
