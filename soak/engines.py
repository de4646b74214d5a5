"""The servers that a run breaks. An engine takes part by an entry in ``ENGINES``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import redis.asyncio as aioredis
from nats.aio.client import Client
from nats.errors import Error as NatsError

from sophia.embedded.nats_server import NatsServer
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import Unavailable
from sophia.queue.jetstream import names
from sophia.redis.connection import connect, translated
from tests.support.fault_proxy import Address, FaultProxy

DISK_MB = 256
FINISHED_KINDS = ("t", "log", "idem")
"""Keys that expire once a task is final."""
LASTING_KINDS = ("events", "count", "turn", "workers", "leader", "spend", "stream", "changes", "snapshot", "poison")


class Engine(Protocol):
    name: str
    can_fill_disk: bool

    @property
    def address(self) -> Address:
        """Where a proxy connects to."""

    def environment(self, address: Address) -> dict[str, str]:
        """What a process needs to find the server behind ``address``."""

    async def start(self) -> None: ...

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""

    async def stop(self) -> None: ...

    async def leader(self) -> str:
        """Which router leads; empty when none does. Raises ``SophiaError`` or ``OSError``."""

    async def fill_disk(self) -> None: ...

    async def free_disk(self) -> None: ...

    async def memory_bytes(self) -> int | None:
        """``None``: this server's memory says nothing."""

    async def leftovers(self, *, retention_over: bool) -> list[str]:
        """What a queue without open tasks must not hold. ``retention_over``: nor anything of finished ones."""


class SmallDisk:
    """A file system of its own, so that filling it hurts nobody else. Needs root; without, ``mounted`` stays false."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.mounted = False
        self._ballast = place / "ballast"

    def mount(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.place)]
            self.mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4_096))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.place)], check=False)
            self.mounted = False


class RedisEngine:
    name = "redis"

    def __init__(self, folder: Path) -> None:
        self._disk = SmallDisk(folder / "redis")
        self._disk.mount()
        self.can_fill_disk = self._disk.mounted
        self._server = RedisServer(
            self._disk.place, settings={"auto-aof-rewrite-min-size": "16mb", "auto-aof-rewrite-percentage": "100"}
        )

    @property
    def address(self) -> Address:
        return self._server.socket

    def environment(self, address: Address) -> dict[str, str]:
        return {"SOPHIA_REDIS_URL": f"unix://{address}"}

    async def start(self) -> None:
        await self._server.start()

    async def kill(self) -> None:
        if self._server.process is not None:
            self._server.process.kill()
            await self._server.process.wait()

    async def stop(self) -> None:
        self._disk.free()
        await self._server.stop()
        await asyncio.to_thread(self._disk.unmount)

    async def leader(self) -> str:
        async with translated(), self._client() as client:
            holder: bytes | None = await client.get("sophia:{0}:leader:router")
            return holder.decode() if holder else ""

    async def fill_disk(self) -> None:
        await asyncio.to_thread(self._disk.fill)

    async def free_disk(self) -> None:
        self._disk.free()

    async def memory_bytes(self) -> int | None:
        async with self._client() as client:
            await client.execute_command("MEMORY", "PURGE")
            return int((await client.info("memory"))["used_memory"])

    async def leftovers(self, *, retention_over: bool) -> list[str]:
        async with self._client() as client:
            keys: Any = await client.keys("*")
            names = [key.decode() for key in keys]
            if retention_over:
                # Retention is brought forward; a key that would never expire stays, and is found.
                for name in names:
                    if await client.pttl(name) > 0 and _kind(name) in FINISHED_KINDS:
                        await client.pexpire(name, 1)
                keys = await client.keys("*")
                names = [key.decode() for key in keys]
            allowed = LASTING_KINDS if retention_over else (*LASTING_KINDS, *FINISHED_KINDS)
            found = [f"the key {name} is left" for name in names if _kind(name) not in allowed][:20]
            for name in names:
                found += await _left_in(client, name)
            return found

    @contextlib.asynccontextmanager
    async def _client(self) -> Any:
        client: aioredis.Redis = connect(self._server.url)
        try:
            yield client
        finally:
            await client.aclose()


def _kind(name: str) -> str:
    """``sophia:{0}:stream:light:2`` is a stream."""
    return name.split(":")[2]


async def _left_in(client: aioredis.Redis, name: str) -> list[str]:
    kind = _kind(name)
    if kind in ("stream", "changes", "poison") and await client.xlen(name):
        return [f"{name} has {await client.xlen(name)} entries"]
    if kind == "stream":
        pending: Any = await client.xpending(name, "workers")
        if pending["pending"]:
            return [f"{name} has {pending['pending']} pending entries"]
    if kind == "count":
        counts: Any = await client.hgetall(name)
        depths = ("unread", "running", "backlog", "scheduled", "retrying", "dead", "in")
        return [
            f"{name}: {field.decode()} is {value.decode()}"
            for field, value in counts.items()
            if field.decode().partition(":")[0] in depths and int(value) != 0
        ]
    return []


class JetStreamEngine:
    """Filling its disk is left out: the server switches JetStream off then, until an operator restarts it."""

    name = "jetstream"
    can_fill_disk = False

    def __init__(self, folder: Path) -> None:
        self._server = NatsServer(folder / "nats")

    @property
    def address(self) -> Address:
        host, _, port = self._server.url.rpartition("@")[2].rpartition(":")
        return host, int(port)

    def environment(self, address: Address) -> dict[str, str]:
        if isinstance(address, Path):
            raise TypeError("NATS knows no unix sockets")
        token = self._server.url.rpartition("@")[0]
        return {"SOPHIA_NATS_URL": f"{token}@{address[0]}:{address[1]}"}

    async def start(self) -> None:
        await self._server.start()

    async def kill(self) -> None:
        if self._server.process is not None:
            self._server.process.kill()
            await self._server.process.wait()

    async def stop(self) -> None:
        await self._server.stop()

    async def leader(self) -> str:
        client = Client()
        try:
            await client.connect(self._server.url, connect_timeout=2, allow_reconnect=False)
            stored = await client.jetstream().get_last_msg(names.STREAM, names.leader("router"))
        except NatsError as error:
            raise Unavailable("NATS does not answer") from error
        finally:
            await client.close()
        holder: str = msgspec.json.decode(stored.data or b"{}").get("holder", "")
        return holder

    async def fill_disk(self) -> None:
        raise NotImplementedError

    async def free_disk(self) -> None:
        """Nothing was filled."""

    async def memory_bytes(self) -> int | None:
        return None

    async def leftovers(self, *, retention_over: bool) -> list[str]:
        return []


ENGINES: dict[str, Callable[[Path], Engine]] = {"redis": RedisEngine, "jetstream": JetStreamEngine}


async def start_proxy(engine: Engine, folder: Path, number: int) -> FaultProxy:
    """Listens on whatever kind of address the server has."""
    listen: Address = folder / f"p{number}.sock" if isinstance(engine.address, Path) else ("127.0.0.1", 0)
    proxy = FaultProxy(listen, engine.address)
    await proxy.start()
    return proxy
