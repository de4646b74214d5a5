"""Real Redis Clusters on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sophia.embedded.redis_server import RedisServer
from sophia.redis.cluster import Cluster, slot_of
from sophia.redis.connection import Client, connect
from tests.support.waiting import eventually

SLOTS = 16_384
HOST = "127.0.0.1"


class Node:
    """A server of the cluster, and a client for it alone."""

    def __init__(self, folder: Path, ports: tuple[int, int], settings: dict[str, str]) -> None:
        self.port, self.bus_port = ports
        self.server = RedisServer(
            folder,
            settings={
                "port": str(self.port),
                "bind": HOST,
                "cluster-enabled": "yes",
                "cluster-port": str(self.bus_port),
                "appendonly": "no",
                "repl-diskless-sync-delay": "0",
                **settings,
            },
        )
        self.client: Client = connect(self.server.url)
        self.id = ""
        self._folder = folder

    def alone(self) -> None:
        """The same server, without a cluster."""
        settings = {"port": str(self.port), "bind": HOST, "appendonly": "yes"}
        self.server = RedisServer(self._folder, settings=settings)

    async def start(self) -> None:
        await self.server.start()
        self.id = (await self.ask("CLUSTER", "MYID")).decode()

    async def ask(self, *words: Any) -> Any:
        return await self.client.call("", *words)

    def connect(self) -> None:
        """Clients belong to a running loop: every test has its own."""
        self.client = connect(self.server.url)

    def kill(self) -> None:
        assert self.server.process is not None
        os.kill(self.server.process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        await self.server.stop(grace_s=2.0)


class RedisCluster:
    """Masters with even shares of the slots, and ``replicas`` of each."""

    def __init__(self, folder: Path, masters: int = 3, replicas: int = 0, **settings: str) -> None:
        count = masters * (1 + replicas)
        ports = free_ports(2 * count)
        # Failing over takes about two of these.
        given = {"cluster-node-timeout": "1000", **settings}
        nodes = [Node(folder / f"n{n}", (ports[2 * n], ports[2 * n + 1]), given) for n in range(count)]
        self.masters, self.replicas = nodes[:masters], nodes[masters:]

    @property
    def nodes(self) -> list[Node]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.masters)

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))
        first = self.masters[0]
        for number, node in enumerate(self.masters):
            share = (number * SLOTS // len(self.masters), (number + 1) * SLOTS // len(self.masters) - 1)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            await node.ask("CLUSTER", "ADDSLOTSRANGE", *share)
        for node in self.nodes[1:]:
            await node.ask("CLUSTER", "MEET", HOST, first.port, first.bus_port)
        await eventually(self._all_know_all, timeout_s=20)
        for number, node in enumerate(self.replicas):
            await node.ask("CLUSTER", "REPLICATE", self.masters[number % len(self.masters)].id)
        await eventually(self.is_well, timeout_s=20)
        await eventually(self._replicas_follow, timeout_s=20)
        await self.disconnect()

    async def _all_know_all(self) -> bool:
        answers = [await node.ask("CLUSTER", "NODES") for node in self.nodes]
        return all(answer.count(b"\n") == len(self.nodes) and b"handshake" not in answer for answer in answers)

    async def is_well(self) -> bool:
        answers = [await node.ask("CLUSTER", "INFO") for node in self.nodes if node.server.process is not None]
        return all(b"cluster_state:ok" in answer for answer in answers)

    async def _replicas_follow(self) -> bool:
        return all([b"master_link_status:up" in await node.ask("INFO", "replication") for node in self.replicas])

    async def owner(self, key: str) -> Node:
        """By its own word, not by what others have heard."""
        for node in self.nodes:
            with contextlib.suppress(Exception):
                for first, last, master, *_ in await node.ask("CLUSTER", "SLOTS"):
                    if first <= slot_of(key) <= last and master[2].decode() == node.id:
                        return node
        raise LookupError(f"nobody owns {key}")

    async def move(self, key: str, to: Node) -> Move:
        return Move(slot_of(key), await self.owner(key), to)

    def connect(self) -> None:
        for node in self.nodes:
            node.connect()

    async def disconnect(self) -> None:
        for node in self.nodes:
            await node.client.aclose()

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))


class Move:
    """A slot on its way to another server, key by key, as ``redis-cli --cluster reshard`` does it."""

    def __init__(self, slot: int, source: Node, target: Node) -> None:
        self._slot, self._source, self._target = slot, source, target

    async def begin(self) -> None:
        await self._target.ask("CLUSTER", "SETSLOT", self._slot, "IMPORTING", self._source.id)
        await self._source.ask("CLUSTER", "SETSLOT", self._slot, "MIGRATING", self._target.id)

    async def carry(self, count: int = 100) -> int:
        keys = await self._source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, count)
        if keys:
            await self._source.ask("MIGRATE", HOST, self._target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    async def end(self) -> None:
        while await self.carry():
            pass
        for node in (self._target, self._source):
            await node.ask("CLUSTER", "SETSLOT", self._slot, "NODE", self._target.id)


async def empty(client: Client | Cluster) -> None:
    if isinstance(client, Client):
        await client.flushall()
        return
    for address in {part.master for part in await client.parts()}:
        master = connect(f"redis://{address}")
        await master.flushall()
        await master.aclose()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three masters for the whole session."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    with asyncio.Runner() as runner:
        runner.run(cluster.start())
        try:
            yield cluster.url
        finally:
            runner.run(cluster.stop())


@pytest.fixture(scope="module")
def cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three masters with a replica each, to be rearranged: a test that kills one is a module's last."""
    cluster = RedisCluster(tmp_path_factory.mktemp("own-cluster"), replicas=1)
    with asyncio.Runner() as runner:
        runner.run(cluster.start())
        try:
            yield cluster
        finally:
            runner.run(cluster.stop())


@pytest_asyncio.fixture
async def own_cluster(cluster_server: RedisCluster) -> AsyncIterator[RedisCluster]:
    """``cluster_server`` without anything in it, to be spoken to by this test."""
    cluster_server.connect()
    for node in cluster_server.masters:
        await node.ask("FLUSHALL")
    yield cluster_server
    await cluster_server.disconnect()
