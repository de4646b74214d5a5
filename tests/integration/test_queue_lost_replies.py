"""A lease whose reply is lost after the server has begun the attempt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sophia.nouns.errors import Unavailable
from sophia.nouns.task import AttemptOutcome
from sophia.queue.base import Settlement
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisWorkQueue
from sophia.redis.connection import Client, connect
from tests.support.fault_proxy import FaultProxy
from tests.support.queue_engines import STREAMS
from tests.support.tasks import make_task
from tests.support.waiting import eventually


async def test_the_attempt_goes_on_at_the_worker_that_asked(redis_client: Client, redis_url: str, tmp_path: Path):
    proxy = FaultProxy(tmp_path / "p", Path(redis_url.removeprefix("unix://").partition("?")[0]))
    await proxy.start()
    options = QueueOptions(streams=STREAMS)
    client, blocking = connect(f"unix://{tmp_path}/p"), connect(f"unix://{tmp_path}/p", reply_timeout_s=70)
    tasks, work = RedisTaskQueue(redis_client, options), RedisWorkQueue(client, blocking, options)
    stranger = RedisWorkQueue(redis_client, redis_client, options)
    try:
        assert await work.lease("w1", ["light"], 4, 0) == []
        submitted = [make_task() for _ in range(5)]
        await tasks.submit(submitted)
        (other,) = await stranger.lease("w2", ["light"], 1, 0)

        async def running() -> bool:
            return int(await redis_client.zcard("sophia:{0}:leases")) == 4

        proxy.delay_s = 0.5
        asking = asyncio.create_task(work.lease("w1", ["light"], 3, 0))
        await eventually(running)
        await proxy.cut()
        with pytest.raises(Unavailable):
            await asking
        proxy.delay_s = 0.0

        leases = await work.lease("w1", ["light"], 4, 0)
        assert {lease.task.id for lease in leases} | {other.task.id} == {task.id for task in submitted}
        assert [(lease.attempt, lease.attempts_counted) for lease in leases] == [(1, 1)] * 4
        assert [lease.task for lease in leases] == [task for task in submitted if task.id != other.task.id]
        settled = await work.settle([Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED) for lease in leases])
        assert settled == [True] * 4
        assert await work.lease("w1", ["light"], 4, 0) == []
    finally:
        for queue in (work, stranger, tasks):
            await queue.close()
        await client.aclose()
        await blocking.aclose()
        await proxy.stop()
