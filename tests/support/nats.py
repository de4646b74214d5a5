"""Fixtures that start real NATS servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client

from sophia.embedded.nats_server import NatsServer
from sophia.queue.jetstream import Bus, close_bus, names, open_bus


@pytest.fixture(scope="session")
def nats_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole session; ``empty_nats`` takes out what tests have left."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            yield server.url
        finally:
            runner.run(server.stop())


async def empty_nats(url: str) -> None:
    client = Client()
    await client.connect(url)
    await client.request(f"$JS.API.STREAM.DELETE.{names.STREAM}", b"", timeout=10)
    await client.close()


@pytest_asyncio.fixture
async def bus(nats_server_url: str) -> AsyncIterator[Bus]:
    """A connection to a server without any tasks."""
    await empty_nats(nats_server_url)
    opened = await open_bus(nats_server_url)
    yield opened
    await close_bus(opened)


@pytest_asyncio.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of the test's own: to be killed and restarted."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    yield server
    await server.stop()
