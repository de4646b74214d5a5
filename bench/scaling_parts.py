"""The processes of the scaling measurements: ``python -m bench.scaling_parts work|route|lead '{"url": …, …}'``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from bench.child import new_loop
from bench.environment import ROOT
from sophia.nouns.clock import SystemClock
from sophia.nouns.payloads import LightAnswer
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep, RedisWorkQueue
from sophia.redis.cluster import Cluster
from sophia.redis.connection import Client, connect_any
from tests.support.clusters import RedisCluster

STREAMS = ("planning", "coding", "embedding", "research", "light")
SLOTS = 16
DURABLE = {"appendonly": "yes"}


def options(partitions: int) -> QueueOptions:
    return QueueOptions(streams=STREAMS, partitions=partitions)


def clients(url: str) -> tuple[Client | Cluster, Client | Cluster]:
    return connect_any(url), connect_any(url, reply_timeout_s=70)


async def work(url: str, partitions: int) -> None:
    """The real worker, with a handler that returns at once."""
    from sophia.inference.directory import ModelDirectory
    from sophia.settings.load import load
    from sophia.worker.runtime import Worker

    async def answer(context: Any, payload: Any) -> LightAnswer:
        return LightAnswer(text="ok", finish_reason="stop", model="none")

    with tempfile.TemporaryDirectory() as folder:
        settings = load(None, Path(folder), {}, "local").settings
    queue = RedisWorkQueue(*clients(url), options(partitions))
    worker = Worker(
        f"bench-{os.getpid()}",
        "bench",
        ("light",),
        SLOTS,
        queue=queue,
        models=ModelDirectory(settings, {}),
        settings=settings,
        handlers={"light": answer},
        clock=SystemClock(),
        drain_s=5.0,
    )
    await worker.run()


async def route(url: str, partitions: int) -> None:
    """What the router's leader costs Redis: it takes every change, reads the records and acknowledges. Without ledger."""
    client, blocking = clients(url)
    upkeep, queue = RedisUpkeep(client, blocking, options(partitions)), RedisTaskQueue(client, options(partitions))
    while True:
        changes = await upkeep.changes(500, 20.0)
        if changes:
            await queue.get(list(dict.fromkeys(change.task_id for change in changes)))
            await upkeep.acknowledge(changes)
        await upkeep.upkeep(500)
        await asyncio.sleep(0.02)


async def lead(url: str, partitions: int) -> None:
    """A router without pools and with a ledger of its own; says so when it leads."""
    from sophia.app.build import Backbone, queue_options
    from sophia.events.redis import RedisEventLog
    from sophia.intake import Intake
    from sophia.objects.packing import Packing
    from sophia.objects.places import open_objects
    from sophia.router.service import Router
    from sophia.router.sweep import Sweeper
    from sophia.settings.load import load
    from sophia.store.sql import open_ledger

    class Telling(RedisUpkeep):
        async def lead(self, name: str, holder: str, ttl_s: float) -> bool:
            leads = await super().lead(name, holder, ttl_s)
            if leads:
                print("leads", flush=True)
            return leads

    with tempfile.TemporaryDirectory() as folder:
        loaded = load(None, Path(folder), {}, "local")
        client, blocking = clients(url)
        chosen = queue_options(loaded)
        queue = RedisTaskQueue(client, chosen)
        ledger = open_ledger(None, Path(folder))
        await ledger.migrate()
        objects, clock = open_objects(None, Path(folder)), SystemClock()
        parts = Backbone(
            queue=queue,
            poison=queue,
            work=RedisWorkQueue(client, blocking, chosen),
            upkeep=Telling(client, blocking, chosen),
            events=RedisEventLog(client, blocking, chosen),
        )
        packing = Packing(objects, loaded.settings.objects.inline_max_bytes)
        router = Router(
            f"router-{os.getpid()}",
            queue=parts.queue,
            upkeep=parts.upkeep,
            events=parts.events,
            ledger=ledger,
            intake=Intake(queue, ledger, ledger, packing, clock, idempotency_ttl_s=86_400),
            sweeper=Sweeper(objects, ledger, clock),
            pools=None,
            settings=loaded.settings,
            clock=clock,
        )
        await router.run()


@contextlib.asynccontextmanager
async def part(name: str, url: str, partitions: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.scaling_parts", name, json.dumps({"url": url, "partitions": partitions})),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


class Place(contextlib.AsyncExitStack):
    """One server, or a cluster, and the processor time that each of its masters has used."""

    def __init__(self, masters: int) -> None:
        super().__init__()
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="sophia-scaling-")))
        self.cluster = RedisCluster(folder, max(masters, 1), **DURABLE)
        self._alone = masters == 0

    async def __aenter__(self) -> Place:
        if self._alone:
            self.cluster.masters[0].alone()
            await self.cluster.masters[0].server.start()
        else:
            await self.cluster.start()
        self.push_async_callback(self.cluster.stop)
        return self

    @property
    def url(self) -> str:
        return self.cluster.masters[0].server.url if self._alone else self.cluster.url

    def used_s(self) -> list[float]:
        return [cpu_s(node.server.process.pid) for node in self.cluster.masters if node.server.process]

    async def info(self, section: str) -> list[dict[str, Any]]:
        self.cluster.connect()
        answers = [await node.client.info(section) for node in self.cluster.masters]
        await self.cluster.disconnect()
        return answers


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run({"work": work, "route": route, "lead": lead}[sys.argv[1]](**json.loads(sys.argv[2])))
