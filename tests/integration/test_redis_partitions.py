"""Partitions of the queue among each other: turns, full workers, parts that are down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest_asyncio

from sophia.nouns.task import Task
from sophia.queue.redis.shared import partition_prefix
from tests.support.queue_engines import Engine, redis_engine
from tests.support.tasks import make_task

PARTITIONS = 4
TENANTS = {0: "t4", 1: "t0", 2: "t5", 3: "t1"}
"""One whose tasks are in that partition."""


@pytest_asyncio.fixture
async def engine(redis_server_url: str) -> AsyncIterator[Engine]:
    async with redis_engine(redis_server_url, "", PARTITIONS, lease_s=30.0) as made:
        yield made


def tasks_in(partition: int, count: int) -> list[Task]:
    return [make_task(tenant=TENANTS[partition]) for _ in range(count)]


async def test_tenants_share_out_over_partitions(engine: Engine) -> None:
    for number in range(PARTITIONS):
        await engine.tasks.submit(tasks_in(number, 1))
    shares = {change.token.split(":changes")[0] for change in await engine.upkeep.changes(10, 0.1)}
    assert shares == {partition_prefix(number) for number in range(PARTITIONS)}


async def test_no_partition_goes_before_the_others(engine: Engine) -> None:
    for number in range(PARTITIONS):
        await engine.tasks.submit(tasks_in(number, 20))
    leases = [lease for _ in range(12) for lease in await engine.work.lease("w1", ["light"], 1, 0)]
    assert set(Counter(lease.task.tenant for lease in leases).values()) == {3}


async def test_what_a_full_worker_was_handed_goes_to_another_at_once(engine: Engine) -> None:
    """Its reads at the other partitions were under way when the first one filled it."""
    waiting = asyncio.create_task(engine.work.lease("w1", ["light"], 1, 20))
    await asyncio.wait({waiting}, timeout=0.2)
    (first,), (second,) = tasks_in(0, 1), tasks_in(1, 1)
    await engine.tasks.submit([first])
    assert [lease.task.id for lease in await waiting] == [first.id]
    await engine.tasks.submit([second])
    (lease,) = await asyncio.wait_for(engine.work.lease("w2", ["light"], 1, 20), 5)
    assert lease.task.id == second.id
    assert lease.attempts_counted == 1
