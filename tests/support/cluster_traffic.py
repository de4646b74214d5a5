"""Tasks of many tenants under way on a cluster that is being rearranged or broken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sophia.inference.directory import ModelDirectory
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import Unavailable
from sophia.nouns.payloads import LightAnswer
from sophia.nouns.task import AttemptOutcome, Task, TaskRecord
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.queue.redis.shared import Scripts, partition_prefix
from sophia.redis.connection import connect_any
from sophia.settings.load import load
from sophia.worker.context import TaskContext
from sophia.worker.runtime import Worker
from tests.support.tasks import make_task

LEASE_S = 2.0
PARTITIONS = 8
TENANTS = 24
PREFIXES = [partition_prefix(number) for number in range(PARTITIONS)]
OPTIONS = QueueOptions(streams=("light",), partitions=PARTITIONS, lease_s=LEASE_S)


class Traffic:
    """Two real workers, upkeep as the router does it, and a producer that tries until it is told that all is accepted."""

    def __init__(self, url: str, folder: Path) -> None:
        self._client, self._blocking = connect_any(url), connect_any(url, reply_timeout_s=70)
        self._folder = folder
        self.queue = RedisTaskQueue(self._client, OPTIONS)
        self.partition_of = Scripts(self._client, OPTIONS).prefix_of
        self.task_s = 0.005

    @contextlib.asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        loaded = load(None, self._folder, {}, "local").settings
        queue = msgspec.structs.replace(loaded.queue, lease_s=LEASE_S, heartbeat_s=LEASE_S / 4)
        settings = msgspec.structs.replace(loaded, queue=queue)

        async def answer(context: TaskContext, payload: Any) -> LightAnswer:
            await asyncio.sleep(self.task_s)
            return LightAnswer(text="ok", finish_reason="stop", model="none")

        at_work = [RedisWorkQueue(self._client, self._blocking, OPTIONS) for _ in range(2)]
        workers = [
            Worker(
                f"w{number}",
                "cpu-workers",
                ["light"],
                8,
                queue=each,
                models=ModelDirectory(settings, {}),
                settings=settings,
                handlers={"light": answer},
                clock=SystemClock(),
                drain_s=5.0,
            )
            for number, each in enumerate(at_work)
        ]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        upkeep = asyncio.create_task(self._keep_up())
        try:
            yield
        finally:
            upkeep.cancel()
            for worker in workers:
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*running), 30)
            await asyncio.gather(upkeep, return_exceptions=True)
            for each in at_work:
                await each.close()

    async def _keep_up(self) -> None:
        upkeep = RedisUpkeep(self._client, self._blocking, OPTIONS)
        while True:
            with contextlib.suppress(Unavailable):
                await upkeep.upkeep(100)
            await asyncio.sleep(0.1)

    def tasks(self, count: int, *, within: Collection[str] = PREFIXES) -> list[Task]:
        """Of tenants in turn whose partitions are ``within``."""
        tenants = [name for number in range(TENANTS) if self.partition_of(name := f"tenant-{number}") in within]
        return [make_task(tenant=tenants[number % len(tenants)], max_attempts=10) for number in range(count)]

    async def submit(self, tasks: Sequence[Task]) -> None:
        async def until_accepted(task: Task) -> None:
            while True:
                try:
                    await self.queue.submit([task])
                    return
                except Unavailable:
                    await asyncio.sleep(0.1)

        await asyncio.gather(*map(until_accepted, tasks))

    async def records(self, tasks: Sequence[Task]) -> list[TaskRecord]:
        try:
            found = await self.queue.get([task.id for task in tasks])
        except Unavailable:
            return []
        return [record for record in found if record is not None]

    async def all_succeeded_once(self, tasks: Sequence[Task]) -> bool:
        records = await self.records(tasks)
        return len(records) == len(tasks) and all(
            [attempt.outcome for attempt in record.attempts].count(AttemptOutcome.SUCCEEDED) == 1 for record in records
        )

    async def close(self) -> None:
        await self.queue.close()
        await self._client.aclose()
        await self._blocking.aclose()
