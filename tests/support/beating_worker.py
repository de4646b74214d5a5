"""``python -m tests.support.beating_worker REDIS_URL INSTANCE POOL STREAM[,STREAM] SLOTS MODE``: a worker for tests of pools.

It leases, holds each task for the number of seconds its prompt says, settles it, and reports ten times a second. Modes:
``normal``; ``stubborn``, which never drains; ``silent``, which runs and never reports; ``crash``, which ends at once.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from sophia.nouns.errors import Unavailable
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Lease, Settlement, WorkerBeat
from sophia.queue.redis import QueueOptions, RedisWorkQueue
from sophia.redis.connection import connect

LEASE_S = 2.0
BEAT_EVERY_S = 0.1


class BeatingWorker:
    def __init__(self, url: str, worker: str, pool: str, streams: tuple[str, ...], slots: int, mode: str) -> None:
        options = QueueOptions(streams=streams, lease_s=LEASE_S)
        self.queue = RedisWorkQueue(connect(url), connect(url, reply_timeout_s=70), options)
        self.worker, self.pool, self.streams, self.slots, self.mode = worker, pool, streams, slots, mode
        self.started_at_ms = time.time_ns() // 1_000_000
        self.running: dict[str, Lease] = {}
        self.done = 0
        self.draining = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        async with asyncio.TaskGroup() as group:
            while not (self.draining and not self.running):
                try:
                    await self.step(group)
                except Unavailable as error:
                    print(error, flush=True)
                await asyncio.sleep(BEAT_EVERY_S)
        await self.queue.leave(self.worker)

    async def step(self, group: asyncio.TaskGroup) -> None:
        if self.mode == "silent":
            return
        if await self.queue.beat(self.beat()):
            self.drain()
        if self.running:
            await self.queue.extend(list(self.running.values()))
        free = 0 if self.draining else self.slots - len(self.running)
        if free:
            for lease in await self.queue.lease(self.worker, self.streams, free, 0.05):
                self.running[lease.task.id] = lease
                group.create_task(self.hold(lease))

    def drain(self) -> None:
        self.draining = self.mode != "stubborn"

    def beat(self) -> WorkerBeat:
        return WorkerBeat(
            worker=self.worker,
            pool=self.pool,
            state="draining" if self.draining else "ready",
            busy=len(self.running),
            slots=self.slots,
            started_at_ms=self.started_at_ms,
            done=self.done,
        )

    async def hold(self, lease: Lease) -> None:
        await asyncio.sleep(float(lease.task.payload["prompt"]))
        await self.queue.settle([Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result={"text": "held"})])
        del self.running[lease.task.id]
        self.done += 1


if __name__ == "__main__":
    url, worker, pool, streams, slots, mode = sys.argv[1:]
    if mode == "crash":
        sys.exit(3)
    asyncio.run(BeatingWorker(url, worker, pool, tuple(streams.split(",")), int(slots), mode).run())
