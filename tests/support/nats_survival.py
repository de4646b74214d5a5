"""Tasks that are submitted and worked off over two connections while a test kills servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from sophia.cancel import cancel_all
from sophia.events.jetstream import JetStreamEventLog
from sophia.nouns.errors import SophiaError
from sophia.nouns.task import AttemptOutcome, TaskState
from sophia.queue.base import Lease, Settlement
from sophia.queue.jetstream import Bus, JetStreamOptions, JetStreamTaskQueue, JetStreamUpkeep, JetStreamWorkQueue
from tests.support.tasks import make_task
from tests.support.waiting import eventually


def done(lease: Lease) -> Settlement:
    return Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result="ok")


class Survival:
    def __init__(self, bus: Bus, other: Bus, *, tasks: int, lease_s: float) -> None:
        options = JetStreamOptions(streams=("light",), lease_s=lease_s)
        self.producer, self._events = JetStreamTaskQueue(bus, options), JetStreamEventLog(bus)
        self._upkeep = JetStreamUpkeep(other, options)
        self.workers = [JetStreamWorkQueue(each, options) for each in (bus, other)]
        self._tasks = [make_task(tenant=f"t{n % 3}") for n in range(tasks)]
        self._accepted: set[str] = set()
        self._applied: list[str] = []

    def loops(self) -> list[asyncio.Task[None]]:
        working = [self._work(queue, f"w{n}") for n, queue in enumerate(self.workers)]
        return [asyncio.create_task(each) for each in (self._produce(), self._keep_up(), *working)]

    async def accepted(self, count: int) -> None:
        await eventually(lambda: len(self._accepted) >= count, timeout_s=60)

    async def _produce(self) -> None:
        for task in self._tasks:
            while task.id not in self._accepted:
                with contextlib.suppress(SophiaError):
                    await self.producer.submit([task])
                    self._accepted.add(task.id)

    async def _work(self, queue: JetStreamWorkQueue, name: str) -> None:
        while True:
            with contextlib.suppress(SophiaError):
                leases = await queue.lease(name, ["light"], 4, 0.2)
                for lease, ok in zip(leases, await queue.settle([done(lease) for lease in leases]), strict=True):
                    if ok:
                        self._applied.append(lease.task.id)

    async def _keep_up(self) -> None:
        while True:
            with contextlib.suppress(SophiaError):
                await self._upkeep.upkeep(100)
            await asyncio.sleep(0.2)

    async def all_succeeded(self) -> bool:
        with contextlib.suppress(SophiaError):
            records = await self.producer.get([task.id for task in self._tasks])
            return all(record is not None and record.state is TaskState.SUCCEEDED for record in records)
        return False

    async def swept_up(self) -> bool:
        await self._upkeep.upkeep(100)
        return all((row.waiting, row.running) == (0, 0) for row in await self.producer.stats())

    async def check(self) -> None:
        """Each was committed once, and nothing is left of it in the queue."""
        assert len(self._applied) == len(set(self._applied))
        for task in self._tasks:
            kinds = [event.kind.value for event in await self._events.task_log(task.id, 0)]
            assert Counter(kinds)["task.succeeded"] == 1
            assert kinds[-1] == "task.succeeded"
        await eventually(self.swept_up, timeout_s=20)


@contextlib.asynccontextmanager
async def surviving(bus: Bus, other: Bus, *, tasks: int, lease_s: float) -> AsyncIterator[Survival]:
    """At the end every task must have succeeded, whatever was done to the servers meanwhile."""
    survival = Survival(bus, other, tasks=tasks, lease_s=lease_s)
    loops = survival.loops()
    try:
        yield survival
        await survival.accepted(tasks)
        await eventually(survival.all_succeeded, timeout_s=60)
    finally:
        await cancel_all(*loops)
    await survival.check()
    for queue in survival.workers:
        await queue.close()
    await survival.producer.close()
