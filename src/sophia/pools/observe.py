"""What can be seen of the pools at one moment. What does not answer in time is unknown, never zero."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import Demand, PoolSpec
from sophia.providers.base import Machine, Provider
from sophia.queue.base import StreamStats, TaskQueue, WorkerBeat

log = logging.getLogger(__name__)

OBSERVE_TIMEOUT_S = 15.0

T = TypeVar("T")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """``None`` where there was no answer."""

    at_ms: int
    streams: Sequence[StreamStats] | None
    beats: Mapping[str, WorkerBeat] | None
    """By worker, which is the instance id."""
    machines: Mapping[str, Mapping[str, Machine] | None]
    """By provider, then by machine name, which is the instance id."""
    doubles: Sequence[tuple[str, Machine]] = ()
    """Provider and machine, where a name is listed more than once."""


async def observe(queue: TaskQueue, providers: Mapping[str, Provider], clock: Clock) -> Observation:
    """Ask everybody at once, for ``OBSERVE_TIMEOUT_S`` at most."""
    async with asyncio.TaskGroup() as group:
        streams = group.create_task(_answer("queue statistics", queue.stats()))
        workers = group.create_task(_answer("workers", queue.workers()))
        listings = {
            name: group.create_task(_answer(f"machines of {name}", provider.machines()))
            for name, provider in providers.items()
        }
    beats = workers.result()
    return Observation(
        at_ms=clock.now_ms(),
        streams=streams.result(),
        beats=None if beats is None else {beat.worker: beat for beat in beats},
        machines={name: _by_name(listing.result()) for name, listing in listings.items()},
        doubles=[(name, double) for name, listing in listings.items() for double in _doubles(listing.result())],
    )


def _by_name(machines: Sequence[Machine] | None) -> Mapping[str, Machine] | None:
    """Of several with one name the first one listed."""
    return None if machines is None else {machine.name: machine for machine in reversed(machines)}


def _doubles(machines: Sequence[Machine] | None) -> list[Machine]:
    kept = {machine.name: machine.ref for machine in reversed(machines or ())}
    return [machine for machine in machines or () if kept[machine.name] != machine.ref]


def demand_for(spec: PoolSpec, seen: Observation, task_s: float | None) -> Demand:
    """What waits for a pool; unknown as a whole while its streams, the workers or its machines cannot be seen."""
    nothing = Demand(waiting=None, running=None)
    if seen.streams is None or seen.beats is None or seen.machines.get(spec.provider) is None:
        return nothing
    rows = [row for row in seen.streams if row.stream in spec.streams]
    if {row.stream for row in rows} != set(spec.streams):
        return nothing
    return Demand(
        waiting=_total([row.waiting for row in rows]),
        running=_total([row.running for row in rows]),
        oldest_age_s=max((row.oldest_age_s for row in rows if row.oldest_age_s is not None), default=None),
        task_s=task_s,
    )


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


async def _answer(what: str, question: Coroutine[Any, Any, T]) -> T | None:
    try:
        async with asyncio.timeout(OBSERVE_TIMEOUT_S):
            return await question
    except (SophiaError, TimeoutError) as error:
        log.warning("%s unknown: %s", what, error or f"no answer within {OBSERVE_TIMEOUT_S:g} s")
        return None
