"""Redis (a real Valkey) with its append-only file on, as a run breaks it and looks into it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis

from soak.accounts import Account, Accounts
from soak.embedded_engine import EmbeddedEngine
from soak.small_disk import SmallDisk
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import SophiaError, StorageFull
from sophia.redis.connection import connect, translated
from tests.support.fault_proxy import Address

FINISHED_KINDS = ("t", "log", "idem")
"""Keys that expire once a task is final."""
LASTING_KINDS = (
    "accounts",
    "events",
    "count",
    "turn",
    "workers",
    "leader",
    "spend",
    "stream",
    "changes",
    "snapshot",
    "poison",
)


class RedisEngine(EmbeddedEngine[RedisServer]):
    name = "redis"
    memory_growth_bytes = 6 * 2**20
    """Its log of events is capped, not empty, and its allocator does not give back every page."""

    def __init__(self, folder: Path) -> None:
        disk = SmallDisk(folder / "redis")
        rewriting = {"auto-aof-rewrite-min-size": "16mb", "auto-aof-rewrite-percentage": "100"}
        super().__init__(disk, RedisServer(disk.place, settings=rewriting))

    @property
    def address(self) -> Address:
        return self._server.socket

    @property
    def full_disk_says(self) -> tuple[type[SophiaError], ...]:
        return (StorageFull,)

    def environment(self, address: Address) -> dict[str, str]:
        return {"SOPHIA_REDIS_URL": f"unix://{address}"}

    async def leader(self) -> str:
        async with translated(), self._client() as client:
            holder: bytes | None = await client.get("sophia:{0}:leader:router")
            return holder.decode() if holder else ""

    async def wipe(self) -> None:
        async with self._client() as client:
            await client.flushall()

    async def lose_disk(self) -> None:
        await self.kill()
        shutil.rmtree(self._disk.place / "appendonlydir")
        await self.start()

    async def memory_bytes(self) -> int:
        async with self._client() as client:
            await client.execute_command("MEMORY", "PURGE")
            return int((await client.info("memory"))["used_memory"])

    async def accounts(self) -> Accounts:
        async with self._client() as client:
            found: dict[tuple[str, str], Account] = {}
            names: Any = await client.keys("sophia:*:spend:*")
            for name in names:
                _, _, _, tenant, period = name.decode().split(":")
                fields: Any = await client.hgetall(name)
                booked = {field.decode(): int(value) for field, value in fields.items()}
                found[tenant, period] = Account(
                    nano_usd=booked.get("usd", 0),
                    tokens=booked.get("tok", 0),
                    reserved_nano_usd=booked.get("rusd", 0),
                    reserved_tokens=booked.get("rtok", 0),
                )
            return found

    async def leftovers(self) -> list[str]:
        async with self._client() as client:
            return await self._not_allowed(client, (*LASTING_KINDS, *FINISHED_KINDS))

    async def leftovers_after_retention(self) -> list[str]:
        async with self._client() as client:
            # Retention is brought forward; a key that would never expire stays, and is found.
            for key in await client.keys("*"):
                if await client.pttl(key) > 0 and _kind(key.decode()) in FINISHED_KINDS:
                    await client.pexpire(key, 1)
            return await self._not_allowed(client, LASTING_KINDS)

    async def _not_allowed(self, client: aioredis.Redis, allowed: tuple[str, ...]) -> list[str]:
        keys: Any = await client.keys("*")
        names = [key.decode() for key in keys]
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
