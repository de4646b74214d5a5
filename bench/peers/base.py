"""What a measured queue has to be able to do. Imports nothing but the standard library and redis-py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import redis

CONCURRENCY = 100
"""Tasks that one worker process runs at once, for every queue on asyncio and node."""
BULK = 500
"""Tasks in one bulk call or one wave of concurrent single calls."""


class Places:
    """Addresses of the servers of one measurement."""

    def __init__(self, redis_url: str, nats_url: str = "") -> None:
        self.redis_url = redis_url
        self.nats_url = nats_url
        self.redis_port = int(redis_url.rsplit(":", 1)[1].split("/")[0])


class Peer(Protocol):
    """A queue seen from its producer. Made inside a running event loop; ``work`` runs in a process of its own."""

    async def submit(self, payloads: Sequence[str]) -> list[str]:
        """Accept tasks that return at once, in the fastest way the queue offers; gives what ``done`` takes."""

    async def submit_one(self, payload: str) -> str: ...

    async def done(self, ids: Sequence[str]) -> int:
        """How many of these have a result that can be read now."""

    async def close(self) -> None: ...


class OverRedis:
    """Looks at results directly, the same cheap way for every queue."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.raw = redis.Redis.from_url(places.redis_url)

    def existing(self, keys: Sequence[str]) -> int:
        return int(self.raw.exists(*keys))  # type: ignore[arg-type]

    def answers(self, command: str, *args: Sequence[Any]) -> list[Any]:
        """One pipelined round trip of the command over arguments in parallel."""
        with self.raw.pipeline(transaction=False) as pipe:
            for words in zip(*args, strict=True):
                pipe.execute_command(command, *words)
            return pipe.execute()

    async def close(self) -> None:
        self.raw.close()
