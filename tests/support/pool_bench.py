"""Pools of real worker processes over a real queue and a real ledger."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from sophia.events.redis import RedisEventLog
from sophia.nouns.clock import SystemClock
from sophia.nouns.event import Event
from sophia.nouns.pool import Instance, PoolSpec, PoolsSnapshot, PoolStatus
from sophia.nouns.task import Task
from sophia.pools.journal import SNAPSHOT, shown_state
from sophia.pools.manager import PoolManager
from sophia.providers.base import LaunchRequest, Provider
from sophia.providers.instance_files import InstanceFiles
from sophia.providers.local import LocalProvider
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep
from sophia.redis.connection import connect
from sophia.settings.load import load
from sophia.settings.model import Settings
from sophia.store.sql import open_ledger
from tests.support.tasks import make_task

REPOSITORY = Path(__file__).parents[2]
TICK_S = 0.1
OPTIONS = QueueOptions(streams=("planning", "coding", "embedding", "research", "light"), lease_s=2.0)


def pool_spec(**changes: Any) -> PoolSpec:
    values: dict[str, Any] = {
        "provider": "local",
        "streams": ("light",),
        "instance_types": ("process",),
        "min": 0,
        "max": 2,
        "idle_timeout_s": 0.5,
        "slots": 2,
        "target_wait_s": 5.0,
        "boot_timeout_s": 30.0,
        "drain_timeout_s": 10.0,
    }
    return PoolSpec(**(values | changes))


class PoolBench:
    """One platform; managers come and go on it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.mode = "normal"
        self.client, self.blocking = connect(url), connect(url, reply_timeout_s=70)
        self.tasks = RedisTaskQueue(self.client, OPTIONS)
        self.upkeep = RedisUpkeep(self.client, self.blocking, OPTIONS)
        self.events = RedisEventLog(self.client, self.blocking, OPTIONS)
        self.ledger = open_ledger(None, folder)
        self.provider: Provider = self.local_provider()
        self._running: list[tuple[PoolManager, asyncio.Task[None]]] = []

    def local_provider(self, kind: type[LocalProvider] = LocalProvider) -> LocalProvider:
        return kind(self._command, self.folder / "workers", dict(os.environ), None)

    def _command(self, request: LaunchRequest) -> list[str]:
        return [
            *(sys.executable, "-m", "tests.support.beating_worker", self.url, request.instance_id, request.pool),
            *(",".join(request.spec.streams), str(request.spec.slots), self.mode),
        ]

    def settings(self, pools: dict[str, PoolSpec]) -> Settings:
        packaged = load(None, self.folder, {}, "local").settings
        loop = msgspec.structs.replace(packaged.pools_loop, tick_s=TICK_S)
        return msgspec.structs.replace(packaged, pools=pools, pools_loop=loop)

    def manager(self, **pools: PoolSpec) -> PoolManager:
        named = {name.replace("_", "-"): spec for name, spec in pools.items()}
        return PoolManager(
            self.settings(named),
            {"local": self.provider},
            self.tasks,
            self.upkeep,
            self.events,
            self.ledger,
            SystemClock(),
        )

    def start(self, manager: PoolManager) -> asyncio.Task[None]:
        task = asyncio.create_task(manager.run())
        self._running.append((manager, task))
        return task

    async def stop(self) -> None:
        for manager, task in self._running:
            await manager.stop()
            await task
        self._running.clear()

    async def close(self) -> None:
        await self.stop()
        provider = self.local_provider()
        for machine in await provider.machines():
            await provider.terminate(machine.ref)
        await self.ledger.close()
        await self.client.aclose()
        await self.blocking.aclose()

    async def submit(self, hold_s: float = 0.0, stream: str = "light") -> Task:
        task = make_task(payload={"prompt": str(hold_s)})
        task = msgspec.structs.replace(task, route=msgspec.structs.replace(task.route, stream=stream))
        await self.tasks.submit([task])
        return task

    async def status(self, pool: str) -> PoolStatus | None:
        body = await self.events.snapshot(SNAPSHOT)
        if body is None:
            return None
        return {one.name: one for one in msgspec.json.decode(body, type=PoolsSnapshot).pools}.get(pool)

    async def instances(self, pool: str, *states: str) -> list[Instance]:
        """Of the snapshot, in one of the states as users see them."""
        status = await self.status(pool)
        return [one for one in (status.instances if status else ()) if shown_state(one) in states]

    async def published(self) -> list[Event]:
        return (await self.events.read("", 10_000, 0)).events

    def pid(self, instance_id: str) -> int:
        instance = InstanceFiles(self.folder / "workers" / "instances").read(instance_id)
        assert instance is not None
        assert instance.process is not None
        return instance.process.pid
