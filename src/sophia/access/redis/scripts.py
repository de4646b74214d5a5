"""The gate's Lua scripts."""

from __future__ import annotations

import zlib
from importlib import resources

from sophia.redis.base import Redis
from sophia.redis.connection import Script

LEASE_S = 45.0
"""How long the calls of a gateway that has fallen silent are left alone: longer than a Redis takes to come back."""
BEAT_S = 10.0


def partition_prefixes(partitions: int) -> list[str]:
    """As the queue's, so that a tenant's calls and its tasks share one account."""
    return [f"sophia:{{{number}}}" for number in range(partitions)]


def prefix_of(tenant: str, prefixes: list[str]) -> str:
    return prefixes[0] if len(prefixes) == 1 else prefixes[zlib.crc32(tenant.encode()) % len(prefixes)]


def script(client: Redis, name: str) -> Script:
    folder = resources.files("sophia.access.redis").joinpath("lua")
    return Script(client, folder.joinpath("common.lua").read_text() + folder.joinpath(f"{name}.lua").read_text())
