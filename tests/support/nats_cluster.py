"""Three NATS servers in one cluster, each over a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from sophia.embedded.nats_server import NatsServer
from sophia.queue.jetstream import Bus, close_bus, open_bus

TOKEN = "cluster"


class Node(NatsServer):
    def __init__(self, data_dir: Path, port: int, cluster_ports: list[int], number: int) -> None:
        super().__init__(data_dir, port=port)
        self.name = f"n{number}"
        self._token = TOKEN
        self._cluster = {
            "name": "sophia",
            "listen": f"127.0.0.1:{cluster_ports[number]}",
            "routes": [f"nats://127.0.0.1:{other}" for other in cluster_ports],
        }

    def _write_config(self) -> Path:
        path = super()._write_config()
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "server_name": self.name, "cluster": self._cluster}))
        return path


class NatsCluster:
    def __init__(self, folder: Path) -> None:
        ports = _free_ports(6)
        self.nodes = [Node(folder / f"n{n}", ports[n], ports[3:], n) for n in range(3)]

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def leader(self, bus: Bus) -> Node:
        """The node that decides for the stream."""
        info = await bus.api("STREAM.INFO.SOPHIA")
        return next(node for node in self.nodes if node.name == info["cluster"].get("leader"))

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))


@contextlib.asynccontextmanager
async def nats_cluster(folder: Path) -> AsyncIterator[NatsCluster]:
    cluster = NatsCluster(folder)
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


@contextlib.asynccontextmanager
async def cluster_bus(cluster: NatsCluster) -> AsyncIterator[Bus]:
    bus = await open_bus(cluster.url, replicas=3)
    try:
        yield bus
    finally:
        await close_bus(bus)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
