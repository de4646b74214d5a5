"""Three NATS servers: what was accepted stays when the one that decides dies, and is committed once.

`make test-cluster` runs it; elections take it half a minute, which is too long for every run of all tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sophia.events.jetstream import JetStreamEventLog
from sophia.nouns.errors import SophiaError
from sophia.nouns.task import AttemptOutcome, TaskState
from sophia.queue.base import Lease, Settlement
from sophia.queue.jetstream import Bus, JetStreamOptions, JetStreamTaskQueue, JetStreamUpkeep, JetStreamWorkQueue
from tests.support.nats_cluster import NatsCluster, cluster_bus, nats_cluster
from tests.support.tasks import make_task
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif("NATS_CLUSTER" not in os.environ, reason="takes half a minute: make test-cluster")
OPTIONS = JetStreamOptions(streams=("light",), lease_s=3.0)
TASKS = 60


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with nats_cluster(tmp_path) as running:
        yield running


async def ready(cluster: NatsCluster) -> bool:
    with contextlib.suppress(SophiaError):
        async with cluster_bus(cluster) as bus:
            info = await bus.api("STREAM.INFO.SOPHIA")
            return bool(info["cluster"].get("leader")) and len(info["cluster"]["replicas"]) == 2
    return False


def done(lease: Lease) -> Settlement:
    return Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result="ok")


async def test_losing_the_leading_server_under_load_loses_nothing_and_commits_once(cluster: NatsCluster) -> None:
    await eventually(lambda: ready(cluster), timeout_s=30)
    async with cluster_bus(cluster) as bus, cluster_bus(cluster) as other:
        await survive(cluster, bus, other)


async def survive(cluster: NatsCluster, bus: Bus, other: Bus) -> None:
    producer, events = JetStreamTaskQueue(bus, OPTIONS), JetStreamEventLog(bus)
    upkeep, workers = JetStreamUpkeep(other, OPTIONS), [JetStreamWorkQueue(b, OPTIONS) for b in (bus, other)]
    tasks = [make_task(tenant=f"t{n % 3}") for n in range(TASKS)]
    accepted: set[str] = set()
    applied: list[str] = []
    stop = asyncio.Event()

    async def produce() -> None:
        for task in tasks:
            while task.id not in accepted:
                with contextlib.suppress(SophiaError):
                    await producer.submit([task])
                    accepted.add(task.id)

    async def work(queue: JetStreamWorkQueue, name: str) -> None:
        while not stop.is_set():
            with contextlib.suppress(SophiaError):
                leases = await queue.lease(name, ["light"], 4, 0.2)
                for lease, ok in zip(leases, await queue.settle([done(lease) for lease in leases]), strict=True):
                    if ok:
                        applied.append(lease.task.id)

    async def keep_up() -> None:
        while not stop.is_set():
            with contextlib.suppress(SophiaError):
                await upkeep.upkeep(100)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.2)

    async def all_succeeded() -> bool:
        with contextlib.suppress(SophiaError):
            records = await producer.get([task.id for task in tasks])
            return all(record is not None and record.state is TaskState.SUCCEEDED for record in records)
        return False

    async with asyncio.TaskGroup() as group:
        producing = group.create_task(produce())
        for n, queue in enumerate(workers):
            group.create_task(work(queue, f"w{n}"))
        group.create_task(keep_up())
        await eventually(lambda: len(accepted) >= TASKS // 3, timeout_s=30)
        leading = await cluster.leader(bus)
        assert leading.process is not None
        leading.process.kill()
        await leading.wait()
        await eventually(lambda: len(accepted) >= 2 * TASKS // 3, timeout_s=60)
        await leading.start()
        await producing
        await eventually(all_succeeded, timeout_s=60)
        stop.set()
    assert len(applied) == len(set(applied))
    for task in tasks:
        kinds = [event.kind.value for event in await events.task_log(task.id, 0)]
        assert kinds.count("task.succeeded") == 1
        assert kinds[-1] == "task.succeeded"

    async def swept_up() -> bool:
        await upkeep.upkeep(100)
        return all((row.waiting, row.running) == (0, 0) for row in await producer.stats())

    await eventually(swept_up, timeout_s=20)
    for queue in workers:
        await queue.close()
    await producer.close()
