"""What the three sides of the Redis queue have in common: options, partitions, scripts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis import exceptions as driver

from sophia.nouns.budget import TenantBudget
from sophia.redis.connection import Script, cancellable

GROUP = "workers"
PRIORITIES = 4


class QueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Figures the scripts need; see ``QueueSettings`` for their meaning."""

    streams: tuple[str, ...]
    partitions: int = 1
    lease_s: float = 10.0
    idempotency_ttl_s: float = 86_400.0
    result_ttl_s: float = 3_600.0
    task_events_max: int = 5_000
    platform_events_max: int = 100_000
    fair_window: int = 16
    age_boost_s: float = 60.0
    tenant_max_running: int | None = None
    max_running: Mapping[str, int] = {}
    """Caps by ``tenant:NAME`` and ``type:NAME``; a tenant's own goes before ``tenant_max_running``."""
    budgets: Mapping[str, TenantBudget] = {}
    """By tenant."""
    event_log: bool = True
    ledger_changes: bool = True
    """Off only to measure what they cost."""

    def script_limits(self) -> tuple[str, ...]:
        """The first eight arguments of every script."""
        return (
            str(self.fair_window),
            str(self.tenant_max_running or 0),
            str(round(self.age_boost_s * 1000)),
            str(self.task_events_max),
            str(self.platform_events_max),
            str(round(self.result_ttl_s * 1000)),
            ",".join(f"{name}={cap}" for name, cap in sorted(self.max_running.items())),
            ("" if self.event_log else "events ") + ("" if self.ledger_changes else "changes"),
        )


def partition_prefix(number: int) -> str:
    """All keys of a partition carry its number as hash tag: one slot of a Redis Cluster."""
    return f"sophia:{{{number}}}"


class Scripts:
    """The queue's Lua scripts over one client."""

    def __init__(self, client: aioredis.Redis, options: QueueOptions) -> None:
        self._client = client
        self.options = options
        self._limits = options.script_limits()
        self._loaded: dict[str, Script] = {}
        self.prefixes = [partition_prefix(n) for n in range(options.partitions)]

    def prefix_of(self, tenant: str) -> str:
        """A tenant's tasks share a partition, so that what concerns them settles in one atomic step."""
        return self.prefixes[zlib.crc32(tenant.encode()) % len(self.prefixes)]

    async def call(self, name: str, prefix: str, *args: Any) -> Any:
        """Run a script; where a stream has lost its group (a wiped server), make it anew and run it once more."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = Script(self._client, script_source(name))
        try:
            return await script(prefix, (*self._limits, *args))
        except driver.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        await self.ensure_groups(prefix, self.options.streams)
        return await script(prefix, (*self._limits, *args))

    async def ensure_groups(self, prefix: str, streams: Sequence[str]) -> None:
        """Groups read from the very beginning (id 0): what was added before anybody listened is delivered too."""
        async with self._client.pipeline(transaction=False) as pipe:
            for stream in streams:
                for priority in range(PRIORITIES):
                    pipe.xgroup_create(f"{prefix}:stream:{stream}:{priority}", GROUP, id="0", mkstream=True)
            for answer in await cancellable(pipe.execute(raise_on_error=False)):
                if isinstance(answer, Exception) and "BUSYGROUP" not in str(answer):
                    raise answer


def script_source(name: str) -> str:
    """What all scripts share, this one, and at its end, also after an error, the writes it has gathered."""
    folder = resources.files("sophia.queue.redis").joinpath("lua")
    shared = ("common", "restore") if name == "restore" else ("common",)
    before = "".join(folder.joinpath(f"{part}.lua").read_text() for part in shared)
    own = folder.joinpath(f"{'submit' if name == 'restore' else name}.lua").read_text()
    return f"{before}local function main()\n{own}end\n{_END}"


_END = """
local fine, answer = pcall(main)
write_gathered()
if fine or type(answer) == 'table' then return answer end
return redis.error_reply(answer)
"""
