"""The endpoint registry on Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sophia.inference.registry import ENDPOINT_TTL_S, WANTED_TTL_S
from sophia.nouns.endpoint import Endpoint
from sophia.redis.base import Redis
from sophia.redis.connection import Script, translated

PREFIX = "sophia:{model-endpoints}:"

# A value is "<expiry in ms> <body>". The hash itself goes when nobody has written to it for a day.
_PUT = """
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', expires, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 86400000)
"""
_ALIVE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local alive = {}
for i = 1, #all, 2 do
  local space = string.find(all[i + 1], ' ', 1, true)
  local expires = tonumber(string.sub(all[i + 1], 1, space - 1))
  if expires > now then
    alive[#alive + 1] = {all[i], string.format('%d', expires), string.sub(all[i + 1], space + 1)}
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return alive
"""


class RedisEndpointRegistry:
    """Implements ``EndpointRegistry``; each method is one command."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._put = Script(client, _PUT)
        self._alive = Script(client, _ALIVE)

    async def announce(self, endpoint: Endpoint, ttl_s: float = ENDPOINT_TTL_S) -> None:
        await self._write("endpoints", endpoint.id, msgspec.json.encode(endpoint), ttl_s)

    async def withdraw(self, endpoint_id: str) -> None:
        await self._delete("endpoints", endpoint_id)

    async def snapshot(self) -> Sequence[Endpoint]:
        found = []
        for _, expires, body in await self._read("endpoints"):
            endpoint = msgspec.json.decode(body, type=Endpoint)
            found.append(msgspec.structs.replace(endpoint, expires_at_ms=int(expires)))
        return sorted(found, key=lambda endpoint: endpoint.id)

    async def want(self, model: str, asker: str, calls: int, ttl_s: float = WANTED_TTL_S) -> None:
        field = msgspec.json.encode([model, asker]).decode()
        if calls > 0:
            await self._write("wanted", field, str(calls).encode(), ttl_s)
        else:
            await self._delete("wanted", field)

    async def wanted(self) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for field, _, calls in await self._read("wanted"):
            model = msgspec.json.decode(field, type=tuple[str, str])[0]
            total[model] = total.get(model, 0) + int(calls)
        return total

    async def close(self) -> None:
        """The client belongs to whoever made it."""

    async def _write(self, name: str, field: str, body: bytes, ttl_s: float) -> None:
        async with translated():
            await self._put(PREFIX + name, (field, body, int(ttl_s * 1000)))

    async def _delete(self, name: str, field: str) -> None:
        key = PREFIX + name
        async with translated():
            await self._client.call(key, "HDEL", key, field)

    async def _read(self, name: str) -> list[tuple[bytes, bytes, bytes]]:
        async with translated():
            rows: list[Any] = await self._alive(PREFIX + name, ())
        return [(row[0], row[1], row[2]) for row in rows]
