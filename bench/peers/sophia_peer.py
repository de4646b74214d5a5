"""Ours: the real queue and the real worker, with one handler that returns at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.peers.base import BULK, CONCURRENCY, OverRedis, Places
from sophia.nouns.task import Route, Target, Task
from sophia.queue.base import WorkQueue
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisWorkQueue
from sophia.redis.connection import Client, connect

STREAMS = ("planning", "coding", "embedding", "research", "light")
ROUTE = Route(stream="light", target=Target.CPU, reason="no rule matched")


def options_of(changes: dict[str, Any]) -> QueueOptions:
    return QueueOptions(streams=STREAMS, **changes)


def new_task(payload: str) -> Task:
    now_ms = time.time_ns() // 1_000_000
    return Task(
        id=f"{now_ms:012x}{secrets.token_hex(10)}",
        type="light",
        payload={"prompt": payload},
        route=ROUTE,
        submitted_at_ms=now_ms,
    )


class Sophia(OverRedis):
    def __init__(self, places: Places, options: QueueOptions) -> None:
        super().__init__(places)
        self._client = connect(places.redis_url)
        self._queue = RedisTaskQueue(self._client, options)

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        async def some(part: Sequence[str]) -> list[str]:
            return [receipt.task_id for receipt in await self._queue.submit([new_task(text) for text in part])]

        parts = [payloads[at : at + BULK] for at in range(0, len(payloads), BULK)]
        return [task_id for ids in await asyncio.gather(*map(some, parts)) for task_id in ids]

    async def submit_one(self, payload: str) -> str:
        (receipt,) = await self._queue.submit([new_task(payload)])
        return receipt.task_id

    async def done(self, ids: Sequence[str]) -> int:
        keys = [f"sophia:{{0}}:t:{task_id}" for task_id in ids]
        return sum(self.answers("HEXISTS", keys, ["res"] * len(keys)))

    async def close(self) -> None:
        await self._queue.close()
        await self._client.aclose()
        await super().close()


async def open_peer(places: Places, *, work_ms: float = 0.0, **changes: Any) -> Sophia:
    return Sophia(places, options_of(changes))


def handler(work_ms: float) -> Any:
    """Computes for so long, and answers."""
    from sophia.nouns.payloads import LightAnswer

    async def answer(context: Any, payload: Any) -> msgspec.Struct:
        until_s = time.thread_time() + work_ms / 1000
        while work_ms and time.thread_time() < until_s:
            pass
        return LightAnswer(text="ok", finish_reason="stop", model="none")

    return answer


async def run_worker(queue: WorkQueue, work_ms: float) -> None:
    """The real worker over a queue, until SIGTERM."""
    from sophia.inference.directory import ModelDirectory
    from sophia.nouns.clock import SystemClock
    from sophia.settings.load import load
    from sophia.worker.runtime import Worker

    with tempfile.TemporaryDirectory() as folder:
        settings = load(None, Path(folder), {}, "local").settings
    worker = Worker(
        f"bench-{os.getpid()}",
        "bench",
        ("light",),
        CONCURRENCY,
        queue=queue,
        models=ModelDirectory(settings, {}),
        settings=settings,
        handlers={"light": handler(work_ms)},
        clock=SystemClock(),
        drain_s=5.0,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await queue.close()


async def _work(places: Places, work_ms: float, changes: dict[str, Any]) -> None:
    client: Client = connect(places.redis_url)
    blocking = connect(places.redis_url, reply_timeout_s=65.0)
    await run_worker(RedisWorkQueue(client, blocking, options_of(changes)), work_ms)
    await client.aclose()
    await blocking.aclose()


def work(places: Places, *, work_ms: float = 0.0, **changes: Any) -> None:
    from bench.child import new_loop

    with asyncio.Runner(loop_factory=new_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_work(places, work_ms, changes))
