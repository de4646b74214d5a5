"""A real Redis Cluster: what a URL says, slots that move, masters that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sophia.cli.doctor_redis import examine_redis
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import ConfigError, Unavailable
from sophia.queue.redis import QueueOptions, RedisTaskQueue
from sophia.redis.cluster import Address, Cluster
from sophia.redis.connection import check_url, connect_any, persistently
from tests.support.cluster_traffic import PREFIXES, Traffic
from tests.support.clusters import HOST, RedisCluster, free_ports
from tests.support.tasks import make_task
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def traffic(own_cluster: RedisCluster, tmp_path: Path) -> AsyncIterator[Traffic]:
    made = Traffic(own_cluster.url, tmp_path)
    yield made
    await made.close()


async def test_a_url_of_one_server_at_a_cluster_is_refused_in_words(redis_cluster_url: str) -> None:
    first = redis_cluster_url.removeprefix("redis+cluster://").split(",")[0]
    client = connect_any(f"redis://{first}")
    with pytest.raises(ConfigError, match="member of a cluster") as caught:
        await check_url(client, PREFIXES)
    assert "redis+cluster://" in (caught.value.mend or "")
    queue = RedisTaskQueue(client, QueueOptions(streams=("light",), partitions=4))
    outcomes = await asyncio.gather(
        *(queue.submit([make_task(tenant=f"t{number}")]) for number in range(8)), return_exceptions=True
    )
    assert ConfigError in map(type, outcomes)
    await client.aclose()


async def test_a_url_of_a_cluster_at_one_server_is_refused_in_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = RedisServer(tmp_path, settings={"port": str(port), "bind": HOST, "appendonly": "no"})
    await server.start()
    client = connect_any(f"redis+cluster://{HOST}:{port}")
    try:
        with pytest.raises(ConfigError, match="not a member of a cluster"):
            await check_url(client, ["sophia:{0}"])
    finally:
        await client.aclose()
        await server.stop()


async def test_doctor_says_where_partitions_are_and_what_the_url_should_be(redis_cluster_url: str) -> None:
    first = redis_cluster_url.removeprefix("redis+cluster://").split(",")[0]
    found = await examine_redis(redis_cluster_url, 4)
    assert found.detail.startswith("a cluster of 3 masters answers; partitions on each: ")
    assert sorted(share.rpartition(" ")[2] for share in found.detail.split("each: ")[1].split(", ")) == ["1", "1", "2"]
    assert (found.status, "without a replica" in found.mend) == ("warn", True)
    few = await examine_redis(redis_cluster_url, 1)
    assert (few.status, "would have no work" in few.mend) == ("warn", True)
    wrong = await examine_redis(f"redis://{first}", 4)
    assert (wrong.status, "redis+cluster://" in wrong.mend) == ("fail", True)
    gone = await examine_redis(f"redis+cluster://user:hunter2@{HOST}:1", 4)
    assert gone.status == "fail"
    assert "hunter2" not in gone.detail + gone.mend


@pytest.mark.parametrize(
    "url", ["redis+cluster://", "redis+cluster://h:1,h:none", "redis+cluster://h:1/3", "http+cluster://h:1"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not understood"):
        connect_any(url)


async def test_the_first_server_that_answers_tells_of_the_others(redis_cluster_url: str) -> None:
    last = redis_cluster_url.split(",")[-1]
    client = connect_any(f"redis+cluster://user:secret@{HOST}:1,{last}")
    assert isinstance(client, Cluster)
    await client.aclose()
    client = connect_any(f"redis+cluster://{HOST}:1,{last}")
    assert isinstance(client, Cluster)
    parts = await client.parts()
    assert {part.master for part in parts} == {
        Address(HOST, int(place.rpartition(":")[2])) for place in redis_cluster_url.split(",")
    }
    assert sum(part.last - part.first + 1 for part in parts) == 16_384
    assert await client.call("sophia:{1}", "SET", "sophia:{1}:x", "1") == b"OK"
    assert client.together(["a:{1}", "b:{2}", "c:{1}"]) == [[0, 2], [1]]
    await client.aclose()


async def test_a_cluster_that_is_not_there_is_unavailable_and_no_secret_is_told() -> None:
    client = connect_any(f"redis+cluster://user:hunter2@{HOST}:1,{HOST}:2")
    with pytest.raises(Unavailable) as caught:
        await persistently(lambda: client.call("a", "PING"), for_s=0.1)
    assert "hunter2" not in str(caught.value)
    await client.aclose()


async def test_a_partition_waits_while_it_moves_and_nothing_is_lost(
    own_cluster: RedisCluster, traffic: Traffic
) -> None:
    moving = PREFIXES[0]
    source = await own_cluster.owner(moving)
    target = next(master for master in own_cluster.masters if master is not source)
    early, late = traffic.tasks(60), traffic.tasks(40)
    async with traffic.workers():
        traffic.task_s = 0.1
        await traffic.submit(early)
        move = await own_cluster.move(moving, target)
        await move.begin()
        await move.carry(5)
        accepted = asyncio.create_task(traffic.submit(late))
        with pytest.raises(Unavailable, match="being moved"):
            await traffic.queue.submit(traffic.tasks(1, within=[moving]))
        assert not accepted.done()
        await move.end()
        await asyncio.wait_for(accepted, 20)
        await eventually(lambda: traffic.all_succeeded_once([*early, *late]), timeout_s=30)
    assert await own_cluster.owner(moving) is target
    assert {row.waiting for row in await traffic.queue.stats()} == {0}


async def test_a_worker_that_waits_at_a_slot_goes_with_it(own_cluster: RedisCluster, traffic: Traffic) -> None:
    moving = PREFIXES[0]
    (task,) = traffic.tasks(1, within=[moving])
    source = await own_cluster.owner(moving)

    async def blocked(at: int) -> bool:
        (node,) = [node for node in own_cluster.masters if node.port == at]
        return int((await node.client.info("clients"))["blocked_clients"]) > 0

    async with traffic.workers():
        await eventually(lambda: blocked(source.port), timeout_s=10)
        target = next(master for master in own_cluster.masters if master is not source)
        move = await own_cluster.move(moving, target)
        await move.begin()
        await move.end()
        await traffic.submit([task])
        await eventually(lambda: traffic.all_succeeded_once([task]), timeout_s=15)


async def test_when_a_master_dies_its_replica_goes_on_and_the_others_never_stopped(
    own_cluster: RedisCluster, traffic: Traffic
) -> None:
    victim = await own_cluster.owner(PREFIXES[0])
    well = [prefix for prefix in PREFIXES if await own_cluster.owner(prefix) is not victim]
    before, elsewhere, during = traffic.tasks(200), traffic.tasks(100, within=well), traffic.tasks(100)
    async with traffic.workers():
        traffic.task_s = 0.05
        await traffic.submit(before)
        # Replication is asynchronous: what a replica has not been told yet is only safe with durability `ledger`.
        assert await victim.ask("WAIT", 1, 5_000) == 1
        victim.kill()
        accepted = asyncio.create_task(traffic.submit(during))
        await traffic.submit(elsewhere)
        assert not accepted.done(), "the others took tasks while a part of the cluster had no master"
        await asyncio.wait_for(accepted, 30)
        await eventually(lambda: traffic.all_succeeded_once([*before, *elsewhere, *during]), timeout_s=30)
