"""FastStream over NATS core: a message handler without results; the worker counts what it has handled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import nats
from faststream.nats import NatsBroker

from bench.peers.base import CONCURRENCY, Places

SUBJECT, COUNTED = "bench.work", "bench.counted"
WORKER_STARTS_S = 10.0


class FastStream:
    """``done`` asks the worker how many messages it has handled: there are no results to read."""

    def __init__(self, places: Places) -> None:
        self.broker = NatsBroker(places.nats_url, logger=None)
        self.client: nats.NATS | None = None
        self._sent = 0
        self._looked = False

    async def submit_one(self, payload: str) -> str:
        if not self._looked:
            await self._wait_for_worker()
        await self.broker.publish(payload, SUBJECT)
        self._sent += 1
        return str(self._sent)

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        return [await self.submit_one(payload) for payload in payloads]

    async def _wait_for_worker(self) -> None:
        """Core NATS stores nothing: what is published before the worker listens is gone. There may be none at all."""
        assert self.client is not None
        self._looked = True
        until_s = time.monotonic() + WORKER_STARTS_S
        while time.monotonic() < until_s:
            try:
                await self.client.request(COUNTED, b"", timeout=5)
            except nats.errors.NoRespondersError:
                await asyncio.sleep(0.05)
            else:
                return

    async def done(self, ids: Sequence[str]) -> int:
        assert self.client is not None
        try:
            answer = await self.client.request(COUNTED, b"", timeout=5)
        except nats.errors.NoRespondersError:
            # No worker yet, so what was published before is gone too.
            await asyncio.sleep(0.05)
            self._sent = 0
            await self.submit(["again"] * len(ids))
            return 0
        handled = int(answer.data)
        return sum(int(number) <= handled for number in ids)

    async def close(self) -> None:
        assert self.client is not None
        await self.client.close()
        await self.broker.stop()


async def open_peer(places: Places) -> FastStream:
    peer = FastStream(places)
    await peer.broker.start()
    peer.client = await nats.connect(places.nats_url)
    return peer


def work(places: Places) -> None:
    from bench.child import new_loop

    async def run() -> None:
        broker = NatsBroker(places.nats_url, logger=None)
        handled = 0

        @broker.subscriber(SUBJECT, queue="workers", max_workers=CONCURRENCY)
        async def noop(payload: str) -> None:
            nonlocal handled
            handled += 1

        await broker.start()
        client = await nats.connect(places.nats_url)

        async def count(message: nats.aio.msg.Msg) -> None:
            await message.respond(str(handled).encode())

        await client.subscribe(COUNTED, cb=count)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
