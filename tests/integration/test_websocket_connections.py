"""Who may connect, who is sent away, and when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from prometheus_client import CollectorRegistry

from sophia.nouns.errors import ConfigError
from sophia.nouns.event import Event, EventKind
from sophia.websocket import connection
from sophia.websocket.service import WebSocketServer
from tests.support.gateways import HEADERS, KEY, Platform, front_of_house
from tests.support.waiting import eventually

SUBSCRIBE = {"op": "subscribe", "topics": ["tasks", "pools", "queue"], "after": None}


async def status_of(session: aiohttp.ClientSession, url: str, **options: Any) -> int:
    try:
        async with session.ws_connect(url, **options):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


async def test_three_ways_to_give_a_key_and_no_way_without(platform: Platform) -> None:
    url = platform.ws_url
    async with aiohttp.ClientSession() as session:
        assert await status_of(session, url) == 401
        assert await status_of(session, url, headers={"Authorization": "Bearer wrong"}) == 401
        assert await status_of(session, f"{url}?token=wrong") == 401
        assert await status_of(session, url, protocols=["sophia.v1", "bearer.wrong"]) == 401
        assert await status_of(session, url, headers=HEADERS) == 101
        assert await status_of(session, f"{url}?token={KEY}") == 101
        async with session.ws_connect(url, protocols=["sophia.v1", f"bearer.{KEY}"]) as socket:
            assert socket.protocol == "sophia.v1"
        # A server must not echo a key as the protocol it selected.
        assert await status_of(session, url, protocols=[f"bearer.{KEY}"]) == 400
        async with session.get(url, headers=HEADERS) as answer:
            assert answer.status == 400
            assert "WebSocket client" in await answer.text()
        async with session.get(url.replace("/ws", "/health")) as answer:
            assert (await answer.json())["status"] == "ok"


async def test_pages_of_other_origins_may_not_connect(platform: Platform) -> None:
    port = platform.loaded.settings.server.port
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        for origin, status in [
            (f"http://127.0.0.1:{port}", 101),
            ("https://127.0.0.1", 101),
            ("http://127.0.0.1:3000", 403),
            (f"http://localhost:{port}", 403),
            ("https://evil.example", 403),
            ("null", 403),
            ("http://127.0.0.1:99999", 403),
        ]:
            assert await status_of(session, platform.ws_url, origin=origin) == status, origin


async def test_connections_are_limited_per_address_and_counted(redis_url: str, tmp_path: Path) -> None:
    changes = {"websocket": {"max_connections_per_ip": 3}}

    async with front_of_house(redis_url, tmp_path, changes=changes) as platform, contextlib.AsyncExitStack() as stack:

        def active() -> float | None:
            return platform.registry.get_sample_value("websocket_active_connections")

        session = await stack.enter_async_context(aiohttp.ClientSession(headers=HEADERS))
        for _ in range(3):
            socket = await stack.enter_async_context(session.ws_connect(platform.ws_url))
        await eventually(lambda: active() == 3)
        assert await status_of(session, platform.ws_url) == 429
        await socket.close()
        await eventually(lambda: active() == 2)
        assert await status_of(session, platform.ws_url) == 101


async def test_pings_come_and_a_silent_client_is_dropped(redis_url: str, tmp_path: Path) -> None:
    changes = {"websocket": {"ping_interval_s": 0.1, "pong_timeout_s": 0.3}}
    async with front_of_house(redis_url, tmp_path, changes=changes) as platform:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            async with asyncio.timeout(10), session.ws_connect(platform.ws_url, autoping=False) as socket:
                for _ in range(5):
                    message = await socket.receive()
                    assert message.type is WSMsgType.PING
                    await socket.pong(message.data)
                assert (await socket.receive()).type is WSMsgType.PING
                # This one is not answered.
                message = await socket.receive()
                assert (message.type, message.data) == (WSMsgType.CLOSE, connection.Close.GOING_AWAY)
        await eventually(lambda: platform.followers == 0)


async def test_a_client_that_does_not_read_is_sent_away_and_resumes(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 0.2)
    async with front_of_house(redis_url, tmp_path) as platform, aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.ws_connect(platform.ws_url, max_msg_size=0) as socket:
            await socket.send_json(SUBSCRIBE)
            cursor = (await socket.receive_json())["cursor"]
            assert socket._conn is not None
            assert socket._conn.transport is not None
            socket._conn.transport.pause_reading()
            for start in range(0, 1000, 200):
                await platform.events.publish([large_event(n) for n in range(start, start + 200)])
            await eventually(lambda: platform.registry.get_sample_value("websocket_active_connections") == 0, 15)
            socket._conn.transport.resume_reading()
            got: list[int] = []
            async with asyncio.timeout(20):
                async for message in socket:
                    event = message.json()["event"]
                    got.append(round(event["data"]["n"]))
                    cursor = event["cursor"]
            assert socket.close_code == connection.Close.TRY_AGAIN_LATER
            assert len(got) < 1000
        async with asyncio.timeout(20), session.ws_connect(platform.ws_url, max_msg_size=0) as socket:
            await socket.send_json({**SUBSCRIBE, "after": cursor})
            assert (await socket.receive_json())["op"] == "subscribed"
            while len(got) < 1000:
                got.append(round((await socket.receive_json())["event"]["data"]["n"]))
        assert got == list(range(1000))


def large_event(number: int) -> Event:
    return Event(kind=EventKind.QUEUE_CHANGED, at_ms=number, subject="s", data={"n": number, "x": "y" * 20_000})


async def test_messages_have_a_largest_size(platform: Platform) -> None:
    async with aiohttp.ClientSession(headers=HEADERS) as session, session.ws_connect(platform.ws_url) as socket:
        await socket.send_str("x" * 100_000)
        async with asyncio.timeout(5):
            message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)


async def test_stopping_tells_clients_to_connect_again(redis_url: str, tmp_path: Path) -> None:
    async with asyncio.timeout(15), aiohttp.ClientSession(headers=HEADERS) as session:
        async with front_of_house(redis_url, tmp_path) as platform:
            socket = await session.ws_connect(platform.ws_url)
            await socket.send_json(SUBSCRIBE)
            assert (await socket.receive_json())["op"] == "subscribed"
            reading = asyncio.create_task(socket.receive())
        message = await reading
        assert (message.type, message.data) == (WSMsgType.CLOSE, connection.Close.GOING_AWAY)


async def test_a_port_in_use_is_named(platform: Platform) -> None:
    deps = dataclasses.replace(platform.websocket_deps, registry=CollectorRegistry())
    second = WebSocketServer(deps, "127.0.0.1", platform.websocket.port)
    with pytest.raises(ConfigError, match="is in use") as caught:
        async with asyncio.timeout(5):
            await second.run()
    assert caught.value.field == "server.websocket_port"
