"""What the three sides of the Redis queue have in common: options, partitions, scripts."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import msgspec
from redis import exceptions as driver

from sophia.nouns.budget import TenantBudget
from sophia.nouns.errors import SophiaError
from sophia.redis.base import Redis
from sophia.redis.library import Library

GROUP = "workers"
PRIORITIES = 4
ID_LENGTH = 32

Answer = TypeVar("Answer")


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
    """All keys of a partition carry its number as hash tag: one slot of a Redis Cluster. Nothing is ever stored under the
    bare prefix, which scripts name as their key: ``sophia.redis.cluster`` says what depends on that."""
    return f"sophia:{{{number}}}"


class Scripts:
    """The queue's Lua scripts over one client."""

    def __init__(self, client: Redis, options: QueueOptions) -> None:
        self._client = client
        self.options = options
        self._limits = options.script_limits()
        self._library = library(client)
        self.prefixes = [partition_prefix(n) for n in range(options.partitions)]

    def prefix_of(self, tenant: str) -> str:
        """A tenant's tasks share a partition, so that what concerns them settles in one atomic step. The account of a key
        (``acme/KEY``) is where its tenant's is."""
        return self.prefixes[zlib.crc32(tenant.partition("/")[0].encode()) % len(self.prefixes)]

    async def call(self, name: str, prefix: str, *args: Any) -> Any:
        """Run a script; where a stream has lost its group (a wiped server), make it anew and run it once more."""
        try:
            return await self._library.call(name, prefix, (*self._limits, *args))
        except driver.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        await self.ensure_groups(prefix, self.options.streams)
        return await self._library.call(name, prefix, (*self._limits, *args))

    async def ensure_groups(self, prefix: str, streams: Sequence[str]) -> None:
        """Groups read from the very beginning (id 0): what was added before anybody listened is delivered too."""
        keys = [f"{prefix}:stream:{stream}:{priority}" for stream in streams for priority in range(PRIORITIES)]
        calls = (self._client.call(key, "XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM") for key in keys)
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException) and "BUSYGROUP" not in str(answer):
                raise answer

    async def everywhere(self, call: Callable[[str], Awaitable[Answer]]) -> tuple[list[Answer], Exception | None]:
        """``call`` with the prefix of every partition at once: the answers of those that gave one, and the first error.
        Raises it when all failed."""
        if len(self.prefixes) == 1:
            return [await call(self.prefixes[0])], None
        outcomes = await asyncio.gather(*map(call, self.prefixes), return_exceptions=True)
        answers: list[Answer] = []
        failure: Exception | None = None
        for outcome in outcomes:
            if not isinstance(outcome, BaseException):
                answers.append(outcome)
            elif not isinstance(outcome, SophiaError):
                raise outcome
            else:
                failure = failure or outcome
        if failure is not None and not answers:
            raise failure
        return answers, failure

    async def until(self, call: Callable[[str], Awaitable[None]], enough: Callable[[], bool]) -> Exception | None:
        """``call`` with the prefix of every partition at once until there is enough; else the first error."""
        if len(self.prefixes) == 1:
            await call(self.prefixes[0])
            return None
        failure: Exception | None = None
        pending = {asyncio.ensure_future(call(prefix)) for prefix in self.prefixes}
        try:
            while pending and not enough():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        task.result()
                    except SophiaError as error:
                        failure = failure or error
        finally:
            for task in pending:
                task.cancel()
        return None if enough() else failure

    async def all_of(self, call: Callable[[str], Awaitable[Answer]]) -> list[Answer]:
        """The same where one missing answer makes the others worthless."""
        answers, failure = await self.everywhere(call)
        if failure is not None:
            raise failure
        return answers


_FOLDER = resources.files("sophia.queue.redis").joinpath("lua")
_SHARED = ("common", "admit")
_FUNCTIONS = (
    "accounts", "adopt", "balances", "beat", "cancel", "dead", "emit", "extend", "get", "lead", "lease", "leave", "redrive",
    "settle", "stats", "submit", "upkeep", "wait", "workers",
)  # fmt: skip


def library(client: Redis) -> Library:
    """The queue's Lua: what all functions share, and the functions."""
    functions = {name: _lua(name) for name in _FUNCTIONS}
    functions["restore"] = _lua("restore") + functions["submit"]
    return Library(client, "sophia_queue", "".join(map(_lua, _SHARED)), functions, run="run")


def _lua(name: str) -> str:
    return _FOLDER.joinpath(f"{name}.lua").read_text("utf-8")
