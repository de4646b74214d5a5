"""The queue on JetStream as the state machine's test drives it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from sophia.events.base import EventLog
from sophia.events.jetstream import JetStreamEventLog
from sophia.nouns.task import Task, TaskRecord, TaskState
from sophia.queue.base import Lease, QueueUpkeep, Receipt, TaskQueue, WorkQueue
from sophia.queue.jetstream import (
    Bus,
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamUpkeep,
    JetStreamWorkQueue,
    close_bus,
    names,
    open_bus,
)
from sophia.queue.jetstream.clock import Bounds, ServerClock
from tests.support.nats import empty_nats
from tests.support.waiting import eventually

PLACES = {
    "waiting": names.waiting_in(),
    "leases": names.leases_in(),
    "due": names.due_in(),
    "dead": names.dead_in(),
}
EXPECTED = {
    TaskState.QUEUED: ["waiting"],
    TaskState.RUNNING: ["leases"],
    TaskState.SCHEDULED: ["due"],
    TaskState.RETRYING: ["due"],
    TaskState.DEAD: ["dead"],
}


class MovedClock(ServerClock):
    """The server's clock, ahead by as much as the test says."""

    ahead_ms = 0

    def _estimate_ms(self, at_s: float, bounds: Bounds) -> int:
        return super()._estimate_ms(at_s, bounds) + self.ahead_ms

    def advance(self, ms: int) -> None:
        self.ahead_ms += ms


class MovedTasks(JetStreamTaskQueue):
    """Tasks name times of the real clock: they are moved on the way in, and back on the way out."""

    def __init__(self, bus: Bus, options: JetStreamOptions, clock: MovedClock) -> None:
        super().__init__(bus, options, clock)
        self._moved = clock
        self.originals: dict[str, Task] = {}

    async def submit(self, tasks: Sequence[Task]) -> list[Receipt]:
        for task in tasks:
            self.originals.setdefault(task.id, task)
        return await super().submit([self._move(task) for task in tasks])

    def _move(self, task: Task) -> Task:
        def move(at_ms: int | None) -> int | None:
            return None if at_ms is None else at_ms + self._moved.ahead_ms

        return msgspec.structs.replace(task, run_at_ms=move(task.run_at_ms), deadline_at_ms=move(task.deadline_at_ms))

    async def get(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        return [
            None if record is None else msgspec.structs.replace(record, task=self.originals[record.task.id])
            for record in await super().get(task_ids)
        ]


class MovedWork(JetStreamWorkQueue):
    """Leases with the tasks as they were submitted."""

    def __init__(self, tasks: MovedTasks, bus: Bus, options: JetStreamOptions, clock: MovedClock) -> None:
        super().__init__(bus, options, clock)
        self._tasks = tasks

    async def lease(self, worker: str, streams: Sequence[str], count: int, wait_s: float) -> list[Lease]:
        leases = await super().lease(worker, streams, count, wait_s)
        return [msgspec.structs.replace(lease, task=self._tasks.originals[lease.task.id]) for lease in leases]


class JetStreamBench:
    def __init__(self, bus: Bus, streams: tuple[str, ...], lease_s: float, **options: Any) -> None:
        self._bus = bus
        self._clock = MovedClock(bus)
        self._options = JetStreamOptions(
            streams=streams, lease_s=lease_s, age_boost_s=86_400, result_ttl_s=10**6, **options
        )
        tasks = MovedTasks(bus, self._options, self._clock)
        self.tasks: TaskQueue = tasks
        self.work: WorkQueue = MovedWork(tasks, bus, self._options, self._clock)
        self.events: EventLog = JetStreamEventLog(bus)

    def upkeep(self) -> QueueUpkeep:
        return JetStreamUpkeep(self._bus, self._options, self._clock)

    async def advance(self, seconds: float) -> None:
        self._clock.advance(round(seconds * 1000))

    async def lose_delivery(self, stream: str) -> str | None:
        """Nothing is delivered before an attempt begins."""
        return None

    async def poison(self, stream: str, priority: int) -> bool:
        """Counts are made of the entries themselves, so one that is no task is counted until it is set aside."""
        return False

    async def poisoned(self) -> int:
        return await self._bus.count("sophia.k.poison.*")

    async def reader_is_waiting(self) -> None:
        await eventually(lambda: bool(self._bus._bells))

    async def audit(self, states: Mapping[str, TaskState]) -> list[str]:
        await self._bus.discards.done()
        found: dict[str, list[str]] = {}
        for place, pattern in PLACES.items():
            for subject in await self._bus.newest([pattern]):
                found.setdefault(names.task_id_of(subject), []).append(place)
        wrong = [
            f"task {task_id} is {state} and in {places}"
            for task_id, state in states.items()
            if (places := found.pop(task_id, [])) != EXPECTED.get(state, [])
        ]
        return [*wrong, *(f"unknown {one} in {at}" for one, at in found.items())]


@contextlib.asynccontextmanager
async def jetstream_bench(
    url: str, *, streams: tuple[str, ...], lease_s: float, **options: Any
) -> AsyncIterator[JetStreamBench]:
    """An emptied server."""
    await empty_nats(url)
    bus = await open_bus(url)
    bench = JetStreamBench(bus, streams, lease_s, **options)
    try:
        yield bench
    finally:
        await bench.work.close()
        await bench.tasks.close()
        await close_bus(bus)
