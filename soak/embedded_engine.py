"""What the engines have in common: a server of the product's own on a disk that may be filled."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from soak.small_disk import SmallDisk
from sophia.embedded.nats_server import NatsServer
from sophia.embedded.redis_server import RedisServer

Server = TypeVar("Server", RedisServer, NatsServer)


class EmbeddedEngine(Generic[Server]):
    def __init__(self, disk: SmallDisk, server: Server) -> None:
        self._disk = disk
        self._server: Server = server
        self.can_fill_disk = disk.mounted

    async def start(self) -> None:
        await self._server.start()

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._server.process is not None:
            self._server.process.kill()
            await self._server.process.wait()

    async def stop(self) -> None:
        self._disk.free()
        await self._server.stop()
        await asyncio.to_thread(self._disk.unmount)

    async def fill_disk(self) -> None:
        await asyncio.to_thread(self._disk.fill)

    async def free_disk(self) -> None:
        self._disk.free()
