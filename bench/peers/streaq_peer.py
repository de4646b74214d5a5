"""streaq: asyncio over Redis Streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streaq import Worker

from bench.peers.base import CONCURRENCY, OverRedis, Places


def build(places: Places) -> tuple[Worker[Any], Any]:
    worker: Worker[Any] = Worker(
        redis_url=places.redis_url, concurrency=CONCURRENCY, anyio_kwargs={"use_uvloop": True}, idle_timeout=30
    )

    @worker.task(expire=3600)
    async def noop(payload: str) -> str:
        return "ok"

    return worker, noop


class Streaq(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self.worker, self._noop = build(places)

    def _result_key(self, task_id: str) -> str:
        return f"{self.worker.results_key}{task_id}"

    async def submit_one(self, payload: str) -> str:
        return self._result_key((await self._noop.enqueue(payload)).id)

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        tasks = [self._noop.enqueue(payload) for payload in payloads]
        await self.worker.enqueue_many(tasks)
        return [self._result_key(task.id) for task in tasks]

    async def done(self, ids: Sequence[str]) -> int:
        return self.existing(ids)

    async def close(self) -> None:
        await self.worker.__aexit__(None, None, None)
        await super().close()


async def open_peer(places: Places) -> Streaq:
    peer = Streaq(places)
    await peer.worker.__aenter__()
    return peer


def work(places: Places) -> None:
    worker, _ = build(places)
    worker.run_sync()
