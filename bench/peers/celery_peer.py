"""celery: a process (or threads) over Redis lists, with its Redis result backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery

from bench.peers.base import OverRedis, Places


def build(places: Places) -> tuple[Celery, Any]:
    app = Celery("bench", broker=places.redis_url, backend=places.redis_url)
    app.conf.update(worker_prefetch_multiplier=100, task_ignore_result=False, broker_connection_retry_on_startup=True)

    @app.task(name="noop")
    def noop(payload: str) -> str:
        return "ok"

    return app, noop


class Celeryd(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self._app, self._noop = build(places)

    async def submit_one(self, payload: str) -> str:
        return f"celery-task-meta-{self._noop.apply_async((payload,)).id}"

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        return [await self.submit_one(payload) for payload in payloads]

    async def done(self, ids: Sequence[str]) -> int:
        return self.existing(ids)


async def open_peer(places: Places) -> Celeryd:
    return Celeryd(places)


def work(places: Places, pool: str = "solo") -> None:
    app, _ = build(places)
    app.worker_main(["worker", f"--pool={pool}", "--concurrency=8", "--loglevel=ERROR", "--without-mingle"])
