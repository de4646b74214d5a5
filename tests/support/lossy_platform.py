"""Intake, router and workers in one process, over a Redis that a test may wipe."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sophia.app.build import queue_options
from sophia.embedded.redis_server import RedisServer
from sophia.events.redis import RedisEventLog
from sophia.inference.directory import ModelDirectory
from sophia.intake import Intake
from sophia.nouns.clock import SystemClock
from sophia.objects.packing import Packing
from sophia.objects.places import open_objects
from sophia.queue.base import Lease
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.redis.connection import Client, connect
from sophia.router.service import Router
from sophia.router.sweep import Sweeper
from sophia.settings.load import load
from sophia.settings.loaded import Loaded
from sophia.settings.model import TenantSettings
from sophia.store.sql import SqlLedger, open_ledger
from sophia.worker.context import Handler
from sophia.worker.runtime import Worker

LEASE_S = 2.0


class LossyPlatform:
    """``wipe`` and ``lose_the_disk`` leave the server as new; whatever is known afterwards is known by the ledger."""

    def __init__(self, loaded: Loaded, server: RedisServer) -> None:
        self.loaded = loaded
        self.server = server
        self.client: Client = connect(server.url)
        self.blocking: Client = connect(server.url, reply_timeout_s=70)
        self.options: QueueOptions = msgspec.structs.replace(queue_options(loaded), lease_s=LEASE_S)
        self.queue = RedisTaskQueue(self.client, self.options)
        self.upkeep = RedisUpkeep(self.client, self.blocking, self.options)
        self.events = RedisEventLog(self.client, self.blocking, self.options)
        self.ledger: SqlLedger = open_ledger(None, loaded.data_dir)
        self.objects = open_objects(None, loaded.data_dir)
        self.packing = Packing(self.objects, loaded.settings.objects.inline_max_bytes)
        self.intake = Intake(
            self.queue, self.ledger, self.ledger, self.packing, SystemClock(), idempotency_ttl_s=86_400
        )

    @contextlib.asynccontextmanager
    async def router(self, name: str = "router-1") -> AsyncIterator[Router]:
        router = Router(
            name,
            queue=self.queue,
            upkeep=self.upkeep,
            events=self.events,
            ledger=self.ledger,
            intake=self.intake,
            sweeper=Sweeper(self.objects, self.ledger, SystemClock()),
            pools=None,
            settings=self.loaded.settings,
            clock=SystemClock(),
        )
        running = asyncio.create_task(router.run())
        try:
            yield router
        finally:
            router.stop()
            await asyncio.wait_for(running, 30)

    @contextlib.asynccontextmanager
    async def workers(
        self,
        handlers: Mapping[str, Handler],
        streams: Sequence[str],
        *,
        name: str = "w",
        count: int = 2,
        slots: int = 8,
    ) -> AsyncIterator[None]:
        settings = self.loaded.settings
        queues = [RedisWorkQueue(self.client, self.blocking, self.options) for _ in range(count)]
        workers = [
            Worker(
                f"{name}{number}",
                "cpu-workers",
                streams,
                slots,
                queue=queue,
                models=ModelDirectory(settings, {}),
                settings=settings,
                handlers=handlers,
                clock=SystemClock(),
                drain_s=10.0,
                packing=self.packing,
            )
            for number, queue in enumerate(queues)
        ]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            yield
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*running), 30)
            for queue in queues:
                await queue.close()

    async def work_lease(self, count: int) -> list[Lease]:
        """What a worker gets that asks for that many tasks now."""
        queue = RedisWorkQueue(self.client, self.blocking, self.options)
        try:
            return await queue.lease("w-asking", ["light"], count, 0)
        finally:
            await queue.close()

    async def wipe(self) -> None:
        await self.client.flushall()

    async def lose_the_disk(self) -> None:
        """Kill the server and start it without anything that it had written."""
        assert self.server.process is not None
        self.server.process.kill()
        await self.server.process.wait()
        await asyncio.to_thread(shutil.rmtree, self.server.data_dir / "appendonlydir")
        await self.server.start()

    async def close(self) -> None:
        await self.queue.close()
        await self.events.close()
        await self.ledger.close()
        await self.client.aclose()
        await self.blocking.aclose()


@contextlib.asynccontextmanager
async def lossy_platform(
    server: RedisServer,
    data_dir: Path,
    *,
    inline_max_bytes: int = 262_144,
    tenants: Mapping[str, TenantSettings] | None = None,
    **queue: Any,
) -> AsyncIterator[LossyPlatform]:
    loaded = load(None, data_dir, {}, "local")
    settings = loaded.settings
    retry = msgspec.structs.replace(settings.queue.retry, base_s=0.3, max_s=0.6)
    figures: dict[str, Any] = {"lease_s": LEASE_S, "heartbeat_s": 0.3, "retry": retry, **queue}
    settings = msgspec.structs.replace(
        settings,
        queue=msgspec.structs.replace(settings.queue, **figures),
        tenants=tenants or {},
        objects=msgspec.structs.replace(settings.objects, inline_max_bytes=inline_max_bytes),
    )
    platform = LossyPlatform(msgspec.structs.replace(loaded, settings=settings), server)
    await platform.ledger.migrate()
    try:
        yield platform
    finally:
        await platform.close()
