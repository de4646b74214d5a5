"""Join tokens on Redis."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import msgspec

from sophia.hosts.base import Joining
from sophia.nouns.errors import RateLimited, Unauthorized
from sophia.redis.base import Redis
from sophia.redis.connection import translated

PREFIX = "sophia:{hosts}:"
TOKEN_BYTES = 32
ATTEMPTS_PER_MINUTE = 20
"""From one source."""
ALL_ATTEMPTS_PER_MINUTE = 300
_REFUSED = "this join token is not known, was used by another host, or has expired"


class RedisJoinTokens:
    """Implements ``JoinTokens``. The store holds digests: who reads it can neither join nor tell a token. What is looked
    up is a digest as well, so the time it takes says nothing about the token."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def issue(self, joining: Joining, ttl_s: float) -> str:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._call(f"join:{_digest(token)}", "SET", msgspec.json.encode(joining), "PX", int(ttl_s * 1000))
        return token

    async def exchange(self, token: str, host_key: str, source: str) -> Joining:
        await self._limit(source)
        digest = _digest(token)
        body, left_ms = await self._call(f"join:{digest}", "GET"), await self._call(f"join:{digest}", "PTTL")
        if body is None or left_ms <= 0:
            raise Unauthorized(_REFUSED, field="token")
        mine = _digest(host_key)
        bound = f"bound:{digest}"
        if not await self._call(bound, "SET", mine, "NX", "PX", left_ms):
            owner = await self._call(bound, "GET")
            if owner is None or not hmac.compare_digest(owner, mine.encode()):
                raise Unauthorized(_REFUSED, field="token")
        return msgspec.json.decode(body, type=Joining)

    async def _limit(self, source: str) -> None:
        """Counted before anything is looked up."""
        for name, most in ((f"from:{source[:64]}", ATTEMPTS_PER_MINUTE), ("from all", ALL_ATTEMPTS_PER_MINUTE)):
            key = f"attempts:{name}"
            # With its end from the start: a counter without one would lock hosts out for good.
            await self._call(key, "SET", 0, "NX", "EX", 60)
            if await self._call(key, "INCR") > most:
                raise RateLimited("too many attempts to join; wait a minute", retry_after_s=60.0)

    async def _call(self, key: str, command: str, *words: str | bytes | int) -> Any:
        name = PREFIX + key
        async with translated():
            return await self._client.call(name, command, name, *words)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
