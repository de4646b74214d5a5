"""A fresh server for every measurement, with the same settings for all: append-only file synced every second."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import redis

from bench import environment
from sophia.embedded.nats_server import NatsServer
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import ConfigError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Servers:
    """Addresses, and what Redis says of itself."""

    def __init__(self, process: psutil.Process, redis_url: str, nats_url: str) -> None:
        self.process = process
        """Of Redis."""
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
async def fresh(broker: str = "") -> AsyncIterator[Servers]:
    """``broker``: also a NATS server, ``core`` or ``jetstream`` (ours, with its store)."""
    with tempfile.TemporaryDirectory(prefix="sophia-bench-") as folder:
        port = free_port()
        server = RedisServer(Path(folder), settings={"port": str(port), "bind": "127.0.0.1"})
        await server.start()
        if server.process is None:
            raise RuntimeError("the server was not started")
        try:
            async with _NATS[broker](Path(folder)) as nats_url:
                yield Servers(psutil.Process(server.process.pid), f"redis://127.0.0.1:{port}/0", nats_url)
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def _no_nats(folder: Path) -> AsyncIterator[str]:
    yield ""


@contextlib.asynccontextmanager
async def _jetstream(folder: Path) -> AsyncIterator[str]:
    server = NatsServer(folder / "nats")
    try:
        await server.start()
    except ConfigError as error:
        raise environment.Missing(str(error)) from error
    try:
        yield server.url
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def _core_nats(folder: Path) -> AsyncIterator[str]:
    process, url = await _start_core_nats()
    try:
        yield url
    finally:
        process.terminate()
        await process.wait()


_NATS = {"": _no_nats, "core": _core_nats, "jetstream": _jetstream}


async def _start_core_nats() -> tuple[asyncio.subprocess.Process, str]:
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
