"""The contract of the endpoint registry: where pools serve models at the moment, and which models are asked for in vain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sophia.nouns.endpoint import Endpoint

__all__ = ["ENDPOINT_TTL_S", "WANTED_TTL_S", "Endpoint", "EndpointRegistry"]

ENDPOINT_TTL_S = 15.0
"""Announce every third of it: two lost announcements take nobody out."""
WANTED_TTL_S = 10.0


class EndpointRegistry(Protocol):
    """Every method raises ``Unavailable`` while the store does not answer. Time is the store's, so hosts whose clocks are
    wrong do no harm."""

    async def announce(self, endpoint: Endpoint, ttl_s: float = ENDPOINT_TTL_S) -> None:
        """Make known, or keep known, for ``ttl_s``. A server announces from its start (``ready=False``), then as ready,
        then as draining; it withdraws when it has ended."""

    async def withdraw(self, endpoint_id: str) -> None:
        """Forget it; nothing happens when it is not known."""

    async def snapshot(self) -> Sequence[Endpoint]:
        """All that have not expired, by id."""

    async def want(self, model: str, asker: str, calls: int, ttl_s: float = WANTED_TTL_S) -> None:
        """``calls`` of ``asker`` (one gateway) wait for a server of ``model``; 0 takes it back."""

    async def wanted(self) -> Mapping[str, int]:
        """Waiting calls by model, over all askers that have not expired."""

    async def close(self) -> None: ...
