"""The embedded Redis on a disk that was full: everything accepted is there again, whenever it is killed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis import exceptions as driver

from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import Unavailable
from sophia.redis.connection import Client, connect
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def served(megabyte_disk: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(megabyte_disk)
    await server.start()
    yield server
    await server.stop()


async def _restarted(server: RedisServer) -> None:
    assert server.process is not None
    server.process.kill()
    await server.wait()
    await server.start()


async def _rewritten(client: Client, more_than: int = 0) -> bool:
    state = await client.info("persistence")
    return state["aof_rewrites"] > more_than and not state["aof_rewrite_in_progress"]


async def _write_until_refused(client: Client) -> dict[bytes, bytes]:
    accepted: dict[bytes, bytes] = {}
    while True:
        key, value = b"k%d" % len(accepted), os.urandom(1_500)
        try:
            await client.set(key, value)
        except driver.ResponseError:
            return accepted
        accepted[key] = value


def _fill(place: Path) -> Path:
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            return ballast


async def _accepts(client: Client) -> bool:
    try:
        return bool(await client.set("after", b"room"))
    except driver.ResponseError:
        return False


async def test_what_was_accepted_around_a_full_disk_is_there_after_a_kill(
    served: RedisServer, megabyte_disk: Path
) -> None:
    client = connect(served.url)
    try:
        # Only after a rewriting does the server leave holes.
        await client.bgrewriteaof()
        await eventually(lambda: _rewritten(client))
        ballast = _fill(megabyte_disk)
        accepted = await _write_until_refused(client)
        ballast.unlink()
        await eventually(lambda: _accepts(client), 30)
        await eventually(lambda: _rewritten(client, more_than=1), 30)
        await _restarted(served)
        assert await client.get("after") == b"room"
        assert {key: await client.get(key) for key in accepted} == accepted
    finally:
        await client.aclose()


async def test_a_file_with_holes_is_mended_and_another_damage_is_left_to_its_owner(own_redis: RedisServer) -> None:
    client = connect(own_redis.url)
    values = {b"k%d" % n: b"\0" * n + b"\r\n*1\r\n" for n in range(20)}
    try:
        for key, value in values.items():
            await client.set(key, value)
        await own_redis.stop()
        (path,) = own_redis.data_dir.glob("appendonlydir/*.incr.aof")
        whole = path.read_bytes()
        command = whole.index(b"*3\r\n", len(whole) // 2)
        path.write_bytes(whole[:command] + bytes(2_763) + whole[command:])
        await own_redis.start()
        assert {key: await client.get(key) for key in values} == values
        await own_redis.stop()
        torn = whole[: command + 6] + bytes(50) + whole[command:]
        path.write_bytes(torn)
        with pytest.raises(Unavailable, match="Bad file format"):
            await own_redis.start()
        assert path.read_bytes() == torn
    finally:
        await client.aclose()
