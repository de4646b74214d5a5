"""Fixtures that start real Redis servers on unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio as aioredis

from sophia.embedded.redis_server import RedisServer
from sophia.redis.connection import connect


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole session; ``redis_url`` gives it out emptied."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), settings={"appendonly": "no"})
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            yield server.url
        finally:
            runner.run(server.stop())


@pytest_asyncio.fixture
async def redis_url(redis_server_url: str) -> AsyncIterator[str]:
    client = connect(redis_server_url)
    await client.flushall()
    yield redis_server_url
    await client.aclose()


@pytest_asyncio.fixture
async def redis_client(redis_url: str) -> AsyncIterator[aioredis.Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def blocking_client(redis_url: str) -> AsyncIterator[aioredis.Redis]:
    client = connect(redis_url, reply_timeout_s=70)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server of the test's own, with its append-only file on: to be killed and restarted."""
    server = RedisServer(tmp_path / "redis")
    await server.start()
    yield server
    await server.stop()
