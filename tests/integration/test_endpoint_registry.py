"""The endpoint registry on Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from sophia.embedded.redis_server import RedisServer
from sophia.inference.registry import Endpoint, EndpointRegistry
from sophia.inference.registry_redis import RedisEndpointRegistry
from sophia.nouns.errors import Unavailable
from sophia.redis.connection import Client, connect
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def registry(redis_client: Client) -> EndpointRegistry:
    return RedisEndpointRegistry(redis_client)


def _endpoint(id: str = "e1", **given: object) -> Endpoint:
    fields = {"model": "m", "url": "http://10.0.0.7:8000/v1", "pool": "vllm", "instance": "i-1", **given}
    return Endpoint(id=id, **fields)  # type: ignore[arg-type]


async def test_the_last_announcement_counts_until_it_is_withdrawn(registry: EndpointRegistry):
    await registry.announce(_endpoint("b"))
    await registry.announce(_endpoint("a", model="m ä 1", ready=True))
    await registry.announce(_endpoint("b", ready=True, draining=True))
    first, second = await registry.snapshot()
    assert (first.id, first.model, first.ready, first.draining) == ("a", "m ä 1", True, False)
    assert (second.id, second.ready, second.draining) == ("b", True, True)
    assert second.expires_at_ms > 1_600_000_000_000

    await registry.withdraw("a")
    await registry.withdraw("never there")
    assert [endpoint.id for endpoint in await registry.snapshot()] == ["b"]


async def test_who_stops_announcing_is_forgotten(registry: EndpointRegistry, redis_client: Client):
    await registry.announce(_endpoint("stays"), ttl_s=60)
    await registry.announce(_endpoint("goes"), ttl_s=0.05)

    async def left() -> bool:
        return [endpoint.id for endpoint in await registry.snapshot()] == ["stays"]

    await eventually(left)
    assert await redis_client.hkeys("sophia:{model-endpoints}:endpoints") == [b"stays"]


async def test_waiting_calls_add_up_over_gateways(registry: EndpointRegistry):
    await registry.want("m", "gateway-1", 3)
    await registry.want("m", "gateway-2", 2)
    await registry.want("m", "gateway-2", 4)
    await registry.want("other", "gateway-1", 1)
    await registry.want("gone", "gateway-1", 1, ttl_s=0.001)
    await registry.want("other", "gateway-1", 0)

    async def settled() -> bool:
        return await registry.wanted() == {"m": 7}

    await eventually(settled)


async def test_without_redis_it_says_so(tmp_path: Path):
    server = RedisServer(tmp_path / "redis")
    client = connect(server.url)
    registry = RedisEndpointRegistry(client)
    try:
        for call in (registry.snapshot(), registry.announce(_endpoint()), registry.want("m", "g", 1)):
            with pytest.raises(Unavailable):
                await call
    finally:
        await client.aclose()
