"""Entries that workers set aside (``lease.lua``), read back."""

from __future__ import annotations

from typing import Any

from sophia.nouns.task import Priority
from sophia.queue.base import Poison, PoisonEntry
from sophia.queue.redis.shared import Scripts
from sophia.redis.base import Redis
from sophia.redis.connection import persistently


async def poison(scripts: Scripts, client: Redis, limit: int) -> Poison:
    total = 0
    newest: list[PoisonEntry] = []
    for prefix in scripts.prefixes:
        key = f"{prefix}:poison"
        total += await persistently(lambda k=key: client.call(k, "XLEN", k))  # type: ignore[misc]
        if limit:
            answer = await persistently(
                lambda k=key: client.call(k, "XREVRANGE", k, "+", "-", "COUNT", limit)  # type: ignore[misc]
            )
            newest += [_entry(prefix, entry.decode(), fields) for entry, fields in answer]
    newest.sort(key=lambda entry: entry.set_aside_at_ms, reverse=True)
    return Poison(total=total, newest=newest[:limit])


def _entry(prefix: str, entry: str, fields: list[bytes]) -> PoisonEntry:
    pairs = zip(fields[::2], fields[1::2], strict=True)
    values: dict[str, Any] = {name.decode(): value.decode(errors="replace") for name, value in pairs}
    stream, _, priority = values["stream"].removeprefix(f"{prefix}:stream:").rpartition(":")
    return PoisonEntry(
        id=values["entry"],
        stream=stream,
        priority=Priority(int(priority)).label,
        set_aside_at_ms=int(entry.partition("-")[0]),
        content=values["fields"],
    )
