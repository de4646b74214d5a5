"""Attempts that run here: heartbeats, events, settlements, each fenced by the record's revision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from sophia.nouns.errors import Unavailable
from sophia.nouns.event import Event, EventKind
from sophia.queue.base import Emission, Lease, LeaseStatus, Settlement
from sophia.queue.jetstream import names, settling, steps
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.clock import ServerClock
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.failures import persistently
from sophia.queue.jetstream.floor import trim_task_log
from sophia.queue.jetstream.messages import Put
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.producer import index_entries
from sophia.queue.jetstream.record import Known, Record, encode_event, event_seq
from sophia.queue.jetstream.step import Step

TRIES = 20


class Held(msgspec.Struct):
    """What this process knows of an attempt that it runs."""

    known: Known
    newest_event: int
    entry: int | None = None
    """Sequence of the lease's index entry."""


class Attempts:
    def __init__(self, bus: Bus, committer: Committer, clock: ServerClock, options: JetStreamOptions) -> None:
        self._bus = bus
        self._committer = committer
        self._clock = clock
        self._options = options
        self._held: dict[tuple[str, int], Held] = {}
        # A settlement's event follows those that were emitted before: one at a time keeps their numbers in order.
        self._writing = asyncio.Lock()

    def begun(self, record: Record, revision: int, entry: int | None) -> None:
        self._held[record.task.id, record.attempt] = Held(Known(record, revision), record.events, entry)

    async def extend(self, leases: Sequence[Lease]) -> list[LeaseStatus]:
        held = await persistently(lambda: self._current(list(leases)))
        answered: dict[int, bool] = {}
        for _ in range(TRIES):
            open_ = [n for n in range(len(leases)) if n not in answered]
            if not open_:
                break
            lost = [n for n in open_ if held[n] is None]
            answered.update((n, False) for n in lost)
            live = [(n, one) for n in open_ if (one := held[n]) is not None]
            until_ms = await persistently(self._clock.now_ms) + self._options.lease_ms
            puts = [steps.hold(one.known.record, until_ms, revision=one.known.revision) for _, one in live]
            seqs = await persistently(lambda p=puts: self._bus.write_each(p))  # type: ignore[misc]
            stale = []
            for (n, one), seq in zip(live, seqs, strict=True):
                if seq is None:
                    stale.append(n)
                else:
                    one.entry = seq
                    answered[n] = True
            # The record has changed: somebody asked to cancel, or it is not ours any more.
            again = await persistently(lambda s=stale: self._current([leases[n] for n in s], fresh=True))  # type: ignore[misc]
            for n, current in zip(stale, again, strict=True):
                held[n] = current
        return [
            LeaseStatus(
                task_id=lease.task.id,
                attempt=lease.attempt,
                held=answered.get(n, False),
                cancel_requested=answered.get(n, False)
                and (one := held[n]) is not None
                and one.known.record.cancel_reason is not None,
            )
            for n, lease in enumerate(leases)
        ]

    async def emit(self, emissions: Sequence[Emission]) -> list[bool]:
        """Written one after another; repeating one whose reply was lost writes nothing twice."""
        async with self._writing:
            leases = [emission.lease for emission in emissions]
            held = await persistently(lambda: self._current(leases))
            now_ms = await persistently(self._clock.now_ms)
            answers: dict[int, bool] = {}
            for _ in range(TRIES):
                open_ = [n for n in range(len(emissions)) if n not in answers]
                if not open_:
                    break
                live: list[tuple[int, Held, Put]] = []
                numbers: dict[int, int] = {}
                for n in open_:
                    one = held[n]
                    if one is None:
                        answers[n] = False
                        continue
                    number = numbers.get(id(one), one.newest_event) + 1
                    numbers[id(one)] = number
                    live.append((n, one, _event_put(emissions[n], one.known, number, now_ms)))
                seqs = await self._write_events([put for _, _, put in live], [one for _, one, _ in live])
                stale = []
                for (n, one, _), seq in zip(live, seqs, strict=True):
                    if seq is None:
                        stale.append(n)
                    else:
                        one.newest_event += 1
                        answers[n] = True
                again = await persistently(
                    lambda s=stale: self._current([leases[n] for n in s], fresh=True)  # type: ignore[misc]
                )
                for n, current in zip(stale, again, strict=True):
                    held[n] = current
            for one in {id(one): one for one in held if one is not None}.values():
                await trim_task_log(
                    self._bus, one.known.record.task.id, one.newest_event, self._options.task_events_max
                )
            return [answers.get(n, False) for n in range(len(emissions))]

    async def _write_events(self, puts: list[Put], held: list[Held]) -> list[int | None]:
        try:
            return await persistently(lambda: self._bus.write_each(puts))
        except BaseException:
            # Which of them were written is not known: look at the log before the next one.
            for one in held:
                self._held.pop((one.known.record.task.id, one.known.record.attempt), None)
            raise

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        answers: list[bool | None] = [None] * len(settlements)
        async with self._writing:
            while open_ := _first_of_each_task(settlements, answers):
                for n, answer in zip(open_, await self._settle_each([settlements[n] for n in open_]), strict=True):
                    answers[n] = answer
        return [bool(answer) for answer in answers]

    async def _settle_each(self, settlements: list[Settlement]) -> list[bool]:
        """At most one of each task."""
        answers: dict[int, bool] = {}
        fresh = False
        for _ in range(TRIES):
            open_ = [n for n in range(len(settlements)) if n not in answers]
            if not open_:
                return [answers[n] for n in range(len(settlements))]
            answers.update(await persistently(lambda o=open_, f=fresh: self._try_settle(settlements, o, f)))  # type: ignore[misc]
            fresh = True
        raise Unavailable("the tasks change too often to be settled now", retry_after_s=1)

    async def _try_settle(self, settlements: list[Settlement], open_: list[int], fresh: bool) -> dict[int, bool]:
        held = await self._current([settlements[n].lease for n in open_], fresh=fresh)
        now_ms = await self._clock.now_ms()
        answers: dict[int, bool] = {}
        made: list[tuple[int, Step]] = []
        missing: list[int] = []
        for n, one in zip(open_, held, strict=True):
            if one is None:
                missing.append(n)
                continue
            entry = (one.entry,) if one.entry is not None else await index_entries(self._bus, one.known)
            made.append((n, settling.settle(one.known, settlements[n], now_ms, one.newest_event, entry)))
        answers.update(await self._settled_before(settlements, missing))
        revisions = await self._committer.each([step for _, step in made])
        for (n, step), revision in zip(made, revisions, strict=True):
            self._held.pop((step.after.task.id, settlements[n].lease.attempt), None)
            if revision is not None:
                answers[n] = True
        return answers

    async def _settled_before(self, settlements: list[Settlement], missing: list[int]) -> dict[int, bool]:
        if not missing:
            return {}
        known = await self._committer.known([settlements[n].lease.task.id for n in missing])
        answers = {}
        for n in missing:
            found = known.get(settlements[n].lease.task.id)
            answers[n] = found is not None and found.record.settled == settling.settlement_mark(settlements[n])
        return answers

    async def _current(self, leases: list[Lease], *, fresh: bool = False) -> list[Held | None]:
        """What is known of these attempts, read where it is not (or ``fresh``); ``None`` where they are over."""
        unknown = [lease for lease in leases if fresh or (lease.task.id, lease.attempt) not in self._held]
        if unknown:
            known = await self._committer.known(list(dict.fromkeys(lease.task.id for lease in unknown)))
            for lease in unknown:
                key = lease.task.id, lease.attempt
                found = known.get(lease.task.id)
                if found is None or not found.record.held_by(lease.worker, lease.attempt):
                    self._held.pop(key, None)
                    continue
                newest = await newest_event(self._bus, found.record)
                was = self._held.get(key)
                if was is None:
                    self._held[key] = Held(found, newest)
                else:
                    was.known, was.newest_event = found, newest
        held: list[Held | None] = []
        for lease in leases:
            one = self._held.get((lease.task.id, lease.attempt))
            held.append(one if one is not None and one.known.record.worker == lease.worker else None)
        return held


async def newest_event(bus: Bus, record: Record) -> int:
    """``seq`` of the newest event in a task's log."""
    stored = await bus.last(names.events_of(record.task.id))
    return record.events if stored is None else max(record.events, event_seq(stored))


def _event_put(emission: Emission, known: Known, number: int, now_ms: int) -> Put:
    task = known.record.task
    event = Event(
        kind=EventKind(emission.kind),
        at_ms=now_ms,
        subject=task.id,
        tenant=task.tenant,
        seq=number,
        data=emission.data,
    )
    return Put(
        names.event(task.id, number),
        encode_event(event),
        known.revision,
        names.record(task.id),
        unique=f"{task.id}.{known.record.attempt}.{number}",
    )


def _first_of_each_task(settlements: Sequence[Settlement], answers: Sequence[bool | None]) -> list[int]:
    seen: set[str] = set()
    first = []
    for n, settlement in enumerate(settlements):
        if answers[n] is None and settlement.lease.task.id not in seen:
            seen.add(settlement.lease.task.id)
            first.append(n)
    return first
