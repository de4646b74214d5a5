"""Ours on NATS JetStream: the same contract, the same worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from bench.peers.base import BULK, Places
from bench.peers.sophia_peer import STREAMS, new_task, run_worker
from sophia.queue.jetstream import (
    Bus,
    JetStreamOptions,
    JetStreamTaskQueue,
    JetStreamWorkQueue,
    close_bus,
    open_bus,
)

OPTIONS = JetStreamOptions(streams=STREAMS)


class JetStream:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue = JetStreamTaskQueue(bus, OPTIONS)

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        async def some(part: Sequence[str]) -> list[str]:
            return [receipt.task_id for receipt in await self._queue.submit([new_task(text) for text in part])]

        parts = [payloads[at : at + BULK] for at in range(0, len(payloads), BULK)]
        return [task_id for ids in await asyncio.gather(*map(some, parts)) for task_id in ids]

    async def submit_one(self, payload: str) -> str:
        (receipt,) = await self._queue.submit([new_task(payload)])
        return receipt.task_id

    async def done(self, ids: Sequence[str]) -> int:
        return sum(record is not None and record.result is not None for record in await self._queue.get(ids))

    async def close(self) -> None:
        await self._queue.close()
        await close_bus(self._bus)


async def open_peer(places: Places) -> JetStream:
    return JetStream(await open_bus(places.nats_url))


async def _work(places: Places) -> None:
    bus = await open_bus(places.nats_url)
    await run_worker(JetStreamWorkQueue(bus, OPTIONS), 0.0)
    await close_bus(bus)


def work(places: Places) -> None:
    from bench.child import new_loop

    with asyncio.Runner(loop_factory=new_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_work(places))
