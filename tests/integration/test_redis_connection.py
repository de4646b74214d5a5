"""The connection policy: cancellation is never lost, scripts load themselves, trouble is typed."""

from __future__ import annotations

import asyncio

import pytest

from sophia.embedded.redis_server import RedisServer
from sophia.nouns.errors import ConfigError, Unavailable
from sophia.redis.connection import Client, Script, connect, persistently
from sophia.redis.waits import Waits
from tests.support.waiting import turns_of_the_loop


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_cancellation_is_never_swallowed(redis_client: Client, turns: int) -> None:
    await redis_client.ping()
    words = ("XREAD", "BLOCK", 200, "STREAMS", "none", 0)
    task = asyncio.create_task(persistently(lambda: redis_client.call("none", *words)))
    await turns_of_the_loop(turns)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_cancelled_wait_ends_at_once(redis_client: Client, turns: int) -> None:
    await redis_client.ping()
    waits = Waits(redis_client)
    task = asyncio.create_task(waits.first([("none", ("XREAD", "BLOCK", 9_000, "STREAMS", "none", 0))]))
    await turns_of_the_loop(turns)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=3)
    assert done
    assert task.cancelled()


async def test_a_script_that_the_server_has_forgotten_is_sent_again(redis_client: Client) -> None:
    script = Script(redis_client, "return ARGV[1]")
    assert await script("k", ["a"]) == b"a"
    await redis_client.script_flush()
    assert await script("k", ["b"]) == b"b"


async def test_a_call_waits_for_a_server_that_restarts(own_redis: RedisServer) -> None:
    client = connect(own_redis.url)
    await client.ping()
    assert own_redis.process is not None
    own_redis.process.kill()
    await own_redis.wait()
    waiting = asyncio.create_task(persistently(lambda: client.call("", "PING"), for_s=20))
    await own_redis.start()
    assert await waiting
    await client.aclose()


async def test_a_server_that_is_not_there_is_unavailable_and_no_secret_is_told() -> None:
    client = connect("redis://user:hunter2@127.0.0.1:1/0")
    with pytest.raises(Unavailable) as caught:
        await persistently(lambda: client.call("", "PING"), for_s=0.1)
    assert "hunter2" not in str(caught.value)
    await client.aclose()
    with pytest.raises(ConfigError, match="not understood"):
        connect("http://localhost")
