"""arq: asyncio over a Redis sorted set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker

from bench.peers.base import CONCURRENCY, OverRedis, Places


async def noop(context: Any, payload: str) -> str:
    return "ok"


class Arq(OverRedis):
    def __init__(self, places: Places, pool: ArqRedis) -> None:
        super().__init__(places)
        self._pool = pool

    async def submit_one(self, payload: str) -> str:
        job = await self._pool.enqueue_job("noop", payload)
        return f"arq:result:{job.job_id}"  # type: ignore[union-attr]

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for at in range(0, len(payloads), CONCURRENCY):
            ids += await asyncio.gather(*map(self.submit_one, payloads[at : at + CONCURRENCY]))
        return ids

    async def done(self, ids: Sequence[str]) -> int:
        return self.existing(ids)

    async def close(self) -> None:
        await self._pool.aclose()
        await super().close()


async def open_peer(places: Places) -> Arq:
    return Arq(places, await create_pool(RedisSettings.from_dsn(places.redis_url)))


def work(places: Places) -> None:
    from bench.child import new_loop

    async def run() -> None:
        worker = Worker(
            functions=[noop],
            redis_settings=RedisSettings.from_dsn(places.redis_url),
            max_jobs=CONCURRENCY,
            queue_read_limit=5 * CONCURRENCY,
            # The smallest pause that does not take the processor for itself: its latency is this pause.
            poll_delay=0.01,
            handle_signals=False,
        )
        await worker.async_run()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
