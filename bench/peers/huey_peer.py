"""huey: threads over a Redis list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huey import RedisHuey
from huey.consumer import Consumer

from bench.peers.base import OverRedis, Places

RESULTS = "huey.results.bench"


def build(places: Places) -> tuple[RedisHuey, Any]:
    huey = RedisHuey("bench", url=places.redis_url)

    @huey.task()
    def noop(payload: str) -> str:
        return "ok"

    return huey, noop


class Huey(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self._huey, self._noop = build(places)

    async def submit_one(self, payload: str) -> str:
        return self._noop(payload).id

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        return [await self.submit_one(payload) for payload in payloads]

    async def done(self, ids: Sequence[str]) -> int:
        return sum(self.answers("HEXISTS", [self._huey.storage.result_key] * len(ids), ids))


async def open_peer(places: Places) -> Huey:
    return Huey(places)


def work(places: Places) -> None:
    huey, _ = build(places)
    Consumer(huey, workers=4, worker_type="thread").run()
