"""saq: asyncio over Redis lists and Lua."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis.asyncio as aioredis
from saq import Worker
from saq.queue.redis import RedisQueue

from bench.peers.base import CONCURRENCY, OverRedis, Places


class Queue(RedisQueue):
    """Without the sweep for stuck jobs, which a worker makes as it starts and then once a minute: it takes a job that was
    fetched and is not yet marked as active for a stuck one, and aborts it, so that a result never comes."""

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        return []


def build(places: Places) -> Queue:
    # redis-py's own limit of 100 connections is too few for 100 tasks at once.
    return Queue(aioredis.Redis.from_url(places.redis_url, max_connections=500))


async def noop(context: Any, *, payload: str) -> str:
    return "ok"


class Saq(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self._queue = build(places)

    async def submit_one(self, payload: str) -> str:
        job = await self._queue.enqueue("noop", payload=payload, ttl=3600, timeout=600)
        return job.id  # type: ignore[union-attr]

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for at in range(0, len(payloads), CONCURRENCY):
            ids += await asyncio.gather(*map(self.submit_one, payloads[at : at + CONCURRENCY]))
        return ids

    async def done(self, ids: Sequence[str]) -> int:
        return sum(
            b'"status": "complete"' in text or b'"status":"complete"' in text for text in self.raw.mget(ids) if text
        )  # type: ignore[union-attr]

    async def close(self) -> None:
        await self._queue.disconnect()
        await super().close()


async def open_peer(places: Places) -> Saq:
    peer = Saq(places)
    await peer._queue.connect()
    return peer


def work(places: Places) -> None:
    from bench.child import new_loop

    async def run() -> None:
        queue = build(places)
        await Worker(queue, [noop], concurrency=CONCURRENCY).start()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
