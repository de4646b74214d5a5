"""What an idle worker costs: managed Redis bills every command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sophia.inference.directory import ModelDirectory
from sophia.nouns.clock import SystemClock
from sophia.queue.base import WorkerBeat
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisWorkQueue
from sophia.redis.connection import Client, connect
from sophia.settings.load import load
from sophia.worker.runtime import LEASE_WAIT_S, Worker
from tests.support.waiting import eventually, settle_for

MOST_PER_S = 0.3
SERVED = ("light", "research")
IDLE = WorkerBeat(worker="w1", pool="cpu-workers", state="ready", busy=0, slots=4, started_at_ms=1)


async def commands(client: Client) -> int:
    """All that the server has run, those within scripts included, and without those that ask for this."""
    counted = await client.info("commandstats")
    return sum(row["calls"] for name, row in counted.items() if name != "cmdstat_info")


@contextlib.asynccontextmanager
async def work_queue(url: str, partitions: int = 1) -> AsyncIterator[tuple[RedisWorkQueue, RedisTaskQueue]]:
    options = QueueOptions(streams=("planning", "coding", "embedding", *SERVED), partitions=partitions)
    client, blocking = connect(url), connect(url, reply_timeout_s=70)
    work, tasks = RedisWorkQueue(client, blocking, options), RedisTaskQueue(client, options)
    yield work, tasks
    await work.close()
    await tasks.close()
    await client.aclose()
    await blocking.aclose()


async def test_an_idle_worker_issues_few_commands(redis_url: str, redis_client: Client, tmp_path: Path) -> None:
    settings = load(None, tmp_path, {}, "local").settings
    async with work_queue(redis_url) as (work, tasks):
        worker = Worker(
            "w1",
            "cpu-workers",
            SERVED,
            4,
            queue=work,
            models=ModelDirectory(settings, {}),
            settings=settings,
            handlers={},
            clock=SystemClock(),
            drain_s=5.0,
        )
        running = asyncio.create_task(worker.run())

        async def waits_for_work() -> bool:
            return bool(await tasks.workers()) and (await redis_client.info("clients"))["blocked_clients"] == 1

        await eventually(waits_for_work)
        before = await commands(redis_client)
        await settle_for(12)
        issued = await commands(redis_client) - before
        worker.stop()
        await asyncio.wait_for(running, 10)
    assert issued / 12 < MOST_PER_S


@pytest.mark.parametrize("partitions", [1, 4])
async def test_its_reports_and_reads_stay_below_it_in_the_long_run(
    redis_url: str, redis_client: Client, partitions: int
) -> None:
    """One report and one round of waiting, by the commands they take, at the pace the worker has them."""

    async def all_reads_have_ended() -> bool:
        return bool((await redis_client.info("clients"))["blocked_clients"] == 0)

    async with work_queue(redis_url, partitions) as (work, _tasks):
        await work.beat(IDLE)
        assert await work.lease("w1", SERVED, 4, 0.05) == []
        await eventually(all_reads_have_ended)
        at_first = await commands(redis_client)
        await work.beat(IDLE)
        report = await commands(redis_client) - at_first
        for _ in range(3):
            assert await work.lease("w1", SERVED, 4, 0.05) == []
        await eventually(all_reads_have_ended)
        rounds = await commands(redis_client) - at_first - report
    assert 0 < report / IDLE.due_again_in_s + rounds / 3 / LEASE_WAIT_S < MOST_PER_S
