"""The contract of join tokens: what a host that was just launched proves itself with, once."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """The host that a token was made for."""

    instance_id: str
    pool: str


class JoinTokens(Protocol):
    async def issue(self, joining: Joining, ttl_s: float) -> str:
        """A new token for one host, good for ``ttl_s``. Only its digest is kept. Raises ``Unavailable``."""

    async def exchange(self, token: str, host_key: str, source: str) -> Joining:
        """Whose token it is. The first caller's ``host_key``, which it made itself, binds the token: it may ask again
        when an answer was lost, and nobody else may. ``source`` is where the request comes from. Raises
        ``Unauthorized``, ``RateLimited`` or ``Unavailable``."""
