"""Implements ``CallUpkeep``."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from sophia.access.base import CallBatch, CallRow
from sophia.access.redis.scripts import partition_prefixes, script
from sophia.redis.base import Redis
from sophia.redis.connection import persistently, translated

_METRICS = {
    "requests": "requests",
    "cached": "cached",
    "input": "input_tokens",
    "output": "output_tokens",
    "embedding": "embedding_tokens",
    "usd": "cost_nano_usd",
    "saved": "saved_nano_usd",
}


class RedisCallUpkeep:
    """Any number may run at once. Owns no connection."""

    def __init__(self, client: Redis, partitions: int) -> None:
        self._prefixes = partition_prefixes(partitions)
        self._upkeep, self._recorded = script(client, "upkeep"), script(client, "recorded")

    async def upkeep(self, limit: int) -> tuple[list[CallBatch], float | None]:
        batches: list[CallBatch] = []
        again: list[float] = []
        for prefix in self._prefixes:
            fresh = f"{prefix}:{secrets.token_hex(8)}"
            async with translated():
                _, more, next_ms, batch, fields = await self._upkeep(prefix, (limit, fresh))
            if more:
                again.append(0.0)
            elif next_ms >= 0:
                again.append(next_ms / 1000)
            if batch:
                batches.append(CallBatch(id=batch.decode(), rows=_rows(fields)))
        return batches, min(again, default=None)

    async def recorded(self, batch: CallBatch) -> None:
        prefix = batch.id.rpartition(":")[0]
        await persistently(lambda: self._recorded(prefix, (batch.id,)))


def _rows(fields: Iterable[bytes]) -> list[CallRow]:
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    words = iter(fields)
    for field, value in zip(words, words, strict=True):
        *labels, metric = field.decode().split("\n")
        sums.setdefault(tuple(labels), {})[_METRICS[metric]] = int(value)
    names = ("day", "tenant", "key", "model", "provider")
    return [CallRow(**dict(zip(names, labels, strict=True)), **counts) for labels, counts in sums.items()]  # type: ignore[arg-type]
