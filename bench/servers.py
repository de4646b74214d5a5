"""A fresh server for every measurement, with the same settings for all: append-only file synced every second."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import redis

from bench import environment
from sophia.embedded.redis_server import RedisServer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Servers:
    """Addresses, and what Redis says of itself."""

    def __init__(self, redis_url: str, nats_url: str) -> None:
        self.redis_url = redis_url
        self.nats_url = nats_url

    def used_memory(self) -> int:
        with redis.Redis.from_url(self.redis_url) as client:
            return int(client.info("memory")["used_memory"])

    def calls(self) -> dict[str, int]:
        """Commands by name since the start, those that scripts issue included."""
        with redis.Redis.from_url(self.redis_url) as client:
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()}


@contextlib.asynccontextmanager
async def fresh(*, nats: bool = False) -> AsyncIterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="sophia-bench-") as folder:
        port = free_port()
        server = RedisServer(Path(folder), settings={"port": str(port), "bind": "127.0.0.1"})
        await server.start()
        broker = await _nats() if nats else None
        try:
            yield Servers(f"redis://127.0.0.1:{port}/0", broker[1] if broker else "")
        finally:
            await server.stop()
            if broker:
                broker[0].terminate()
                await broker[0].wait()


async def _nats() -> tuple[asyncio.subprocess.Process, str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(environment.tool("most", "nats-server")),
        *("-a", "127.0.0.1", "-p", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return process, f"nats://127.0.0.1:{port}"
            await asyncio.sleep(0.05)
