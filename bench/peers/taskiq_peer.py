"""taskiq: asyncio over Redis Streams with its Redis result backend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.peers.base import CONCURRENCY, OverRedis, Places


def build(places: Places) -> tuple[RedisStreamBroker, Any]:
    results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(places.redis_url, result_ex_time=3600)
    broker = RedisStreamBroker(places.redis_url, consumer_id="0").with_result_backend(results)

    @broker.task(task_name="noop")
    async def noop(payload: str) -> str:
        return "ok"

    return broker, noop


class Taskiq(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self.broker, self._noop = build(places)

    async def submit_one(self, payload: str) -> str:
        return (await self._noop.kiq(payload)).task_id

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for at in range(0, len(payloads), CONCURRENCY):
            ids += await asyncio.gather(*map(self.submit_one, payloads[at : at + CONCURRENCY]))
        return ids

    async def done(self, ids: Sequence[str]) -> int:
        return self.existing(ids)

    async def close(self) -> None:
        await self.broker.shutdown()
        await super().close()


async def open_peer(places: Places) -> Taskiq:
    peer = Taskiq(places)
    await peer.broker.startup()
    return peer


def work(places: Places) -> None:
    from bench.child import new_loop

    async def run() -> None:
        broker, _ = build(places)
        broker.is_worker_process = True
        await broker.startup()
        await run_receiver_task(broker, max_async_tasks=CONCURRENCY, max_prefetch=CONCURRENCY)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
