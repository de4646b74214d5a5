"""dramatiq: threads over Redis lists, with its Redis result backend."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers.base import OverRedis, Places


def build(places: Places) -> tuple[RedisBroker, Any, RedisBackend]:
    broker = RedisBroker(url=places.redis_url)
    backend = RedisBackend(url=places.redis_url)
    broker.add_middleware(Results(backend=backend, store_results=True))
    dramatiq.set_broker(broker)

    @dramatiq.actor(broker=broker, queue_name="bench")
    def noop(payload: str) -> str:
        return "ok"

    return broker, noop, backend


class Dramatiq(OverRedis):
    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self._broker, self._noop, self._backend = build(places)

    async def submit_one(self, payload: str) -> str:
        return self._backend.build_message_key(self._noop.send(payload))

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        return [await self.submit_one(payload) for payload in payloads]

    async def done(self, ids: Sequence[str]) -> int:
        return self.existing(ids)


async def open_peer(places: Places) -> Dramatiq:
    return Dramatiq(places)


def work(places: Places) -> None:
    broker, _, _ = build(places)
    worker = Worker(broker, worker_threads=8)
    worker.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    worker.stop()
