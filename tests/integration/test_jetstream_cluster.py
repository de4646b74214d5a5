"""Three NATS servers: what was accepted stays when the one that decides dies, and is committed once.

`make test-long` runs it; elections take it half a minute, which is too long for every run of all tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sophia.nouns.errors import SophiaError
from tests.support.nats_cluster import NatsCluster, cluster_bus, nats_cluster
from tests.support.nats_survival import surviving
from tests.support.waiting import eventually

pytestmark = pytest.mark.long
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


async def test_losing_the_leading_server_under_load_loses_nothing_and_commits_once(cluster: NatsCluster) -> None:
    await eventually(lambda: ready(cluster), timeout_s=30)
    async with cluster_bus(cluster) as bus, cluster_bus(cluster) as other:
        async with surviving(bus, other, tasks=TASKS, lease_s=3.0) as survival:
            await survival.accepted(TASKS // 3)
            leading = await cluster.leader(bus)
            assert leading.process is not None
            leading.process.kill()
            await leading.wait()
            await survival.accepted(2 * TASKS // 3)
            await leading.start()
