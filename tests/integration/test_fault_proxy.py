"""The proxy that the soak breaks connections with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.fault_proxy import Address, FaultProxy
from tests.support.waiting import eventually


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, Path):
        return await asyncio.open_unix_connection(str(address))
    return await asyncio.open_connection(*address)


@pytest_asyncio.fixture(params=["unix", "tcp"])
async def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    if request.param == "unix":
        server = await asyncio.start_unix_server(echo, str(tmp_path / "s"))
        proxy = FaultProxy(tmp_path / "p", tmp_path / "s")
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = FaultProxy(("127.0.0.1", 0), server.sockets[0].getsockname()[:2])
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()
    await server.wait_closed()


async def test_bytes_pass_in_order_and_complete(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy.address)
    sent = bytes(range(256)) * 4_000
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent
    writer.close()
    await eventually(lambda: proxy.connections == 0)


async def test_a_stall_holds_back_and_a_resume_loses_nothing(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy.address)
    writer.write(b"before")
    assert await asyncio.wait_for(reader.readexactly(6), 5) == b"before"
    proxy.stall()
    writer.write(b"during")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    proxy.resume()
    assert await asyncio.wait_for(reader.readexactly(6), 5) == b"during"
    writer.close()


async def test_a_delay_is_added_both_ways(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy.address)
    proxy.delay_s = 0.1
    started = time.monotonic()
    writer.write(b"x")
    await asyncio.wait_for(reader.readexactly(1), 5)
    assert time.monotonic() - started >= 0.2
    writer.close()


async def test_a_cut_closes_what_is_open_and_later_connections_work(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy.address)
    writer.write(b"x")
    await asyncio.wait_for(reader.readexactly(1), 5)
    assert await proxy.cut() == 1
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1), 5) == b""
    writer.close()
    reader, writer = await connect(proxy.address)
    writer.write(b"y")
    assert await asyncio.wait_for(reader.readexactly(1), 5) == b"y"
    writer.close()
