"""The shared connection: order, errors, cancellation, loss and silence of the server."""

from __future__ import annotations

import asyncio
import signal
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis import exceptions as driver

from sophia.embedded.redis_server import RedisServer
from sophia.redis.connection import Client, connect
from sophia.redis.line import Line
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import eventually, turns_of_the_loop


@pytest_asyncio.fixture
async def line(redis_url: str) -> AsyncIterator[Line]:
    client = connect(redis_url, reply_timeout_s=0.5)
    line = Line(client.connection_pool)
    yield line
    await line.close()
    await client.aclose()


async def test_answers_go_to_their_callers(line: Line) -> None:
    answers = await asyncio.gather(*(line.call("ECHO", f"n{number}") for number in range(200)))
    assert answers == [b"n%d" % number for number in range(200)]


async def test_an_error_is_its_callers_alone_and_has_the_drivers_type(line: Line) -> None:
    answers: list[object] = await asyncio.gather(
        line.call("ECHO", "a"), line.call("EVALSHA", "0" * 40, 0), line.call("NO-SUCH"), return_exceptions=True
    )
    good, missing, wrong = answers
    assert good == b"a"
    assert isinstance(missing, driver.NoScriptError)
    assert isinstance(wrong, driver.ResponseError)


async def test_a_cancelled_call_takes_nobody_elses_answer(line: Line) -> None:
    calls = [asyncio.create_task(line.call("ECHO", f"n{number}")) for number in range(3)]
    await line.call("PING")
    late = [asyncio.create_task(line.call("ECHO", f"m{number}")) for number in range(3)]
    late[1].cancel()
    await asyncio.wait(late)
    assert [call.result() for call in calls] == [b"n0", b"n1", b"n2"]
    assert late[1].cancelled()
    assert (late[0].result(), late[2].result()) == (b"m0", b"m2")


async def test_a_server_that_is_silent_ends_every_call_and_the_next_one_connects_anew(
    line: Line, redis_client: Client
) -> None:
    results: list[object] = await asyncio.gather(
        line.call("BLPOP", "nothing", 30), line.call("PING"), return_exceptions=True
    )
    assert [type(result) for result in results] == [driver.TimeoutError, driver.TimeoutError]
    assert await line.call("ECHO", "again") == b"again"
    await redis_client.rpush("nothing", "x")
    assert await line.call("LLEN", "nothing") == 1, "the call that was given up no longer waits at the server"


async def test_calls_under_way_fail_when_the_server_dies_and_later_ones_find_the_next_server(
    own_redis: RedisServer,
) -> None:
    client = connect(own_redis.url)
    line = Line(client.connection_pool)
    try:
        await line.call("SET", "a", "1")
        waiting = asyncio.create_task(line.call("BLPOP", "nothing", 30))
        assert own_redis.process is not None

        async def blocked() -> bool:
            return bool((await client.info("clients"))["blocked_clients"])

        await eventually(blocked)
        own_redis.process.kill()
        with pytest.raises(driver.ConnectionError):
            await waiting
        await own_redis.wait()
        with pytest.raises((driver.ConnectionError, OSError)):
            await line.call("PING")
        await own_redis.start()
        assert await line.call("PING") == b"PONG"
    finally:
        await line.close()
        await client.aclose()


async def test_a_closed_line_ends_its_calls(line: Line) -> None:
    waiting = asyncio.create_task(line.call("BLPOP", "nothing", 30))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    await line.close()
    with pytest.raises(driver.ConnectionError):
        await waiting


async def test_a_thousand_callers_of_whom_some_give_up_each_get_their_own_answer(line: Line) -> None:
    await line.call("PING")
    calls = [asyncio.create_task(line.call("ECHO", f"n{number}")) for number in range(1_000)]
    await turns_of_the_loop(1)
    for call in calls[::3]:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls[::3])
    kept = [number for number in range(1_000) if number % 3]
    assert [calls[number].result() for number in kept] == [b"n%d" % number for number in kept]


async def test_of_calls_that_are_cut_off_each_fails_or_has_its_own_answer(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    proxy = FaultProxy(tmp_path / "proxy.sock", Path(own_redis.url.removeprefix("unix://").partition("?")[0]))
    await proxy.start()
    client = connect(f"unix://{tmp_path}/proxy.sock")
    line = Line(client.connection_pool)
    try:
        for round_ in range(5):
            await line.call("PING")
            calls = [asyncio.create_task(line.call("ECHO", f"r{round_} n{n}" + "x" * 4_000)) for n in range(300)]
            await eventually(calls[0].done)
            await proxy.cut()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for n, outcome in enumerate(outcomes):
                assert isinstance(outcome, driver.ConnectionError) or outcome == b"r%d n%d" % (round_, n) + b"x" * 4_000
    finally:
        await line.close()
        await client.aclose()
        await proxy.stop()


async def test_a_server_that_takes_nothing_up_is_kept_a_bounded_part_of_what_it_is_asked(
    own_redis: RedisServer,
) -> None:
    client = connect(own_redis.url, reply_timeout_s=2.0)
    line = Line(client.connection_pool)
    value = b"x" * 20_000
    assert own_redis.process is not None
    try:
        await line.call("PING")
        own_redis.process.send_signal(signal.SIGSTOP)
        tracemalloc.start()
        try:
            calls = [asyncio.create_task(line.call("SET", f"k{n}", value)) for n in range(3_000)]
            await turns_of_the_loop(3)
            for call in calls[-500:]:
                call.cancel()
            kept, _ = tracemalloc.get_traced_memory()
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        finally:
            tracemalloc.stop()
            own_redis.process.send_signal(signal.SIGCONT)
        assert kept < 20_000_000, "of 60 MB"
        assert {type(outcome) for outcome in outcomes} == {driver.TimeoutError, asyncio.CancelledError}
        await eventually(lambda: _answers(line), 30)
        await asyncio.gather(*(line.call("SET", f"after:{n}", value) for n in range(300)))
        assert await line.call("EXISTS", *(f"after:{n}" for n in range(300))) == 300
        assert await line.call("EXISTS", *(f"k{n}" for n in range(1_000, 3_000))) == 0, "these waited in line"
    finally:
        await line.close()
        await client.aclose()


async def _answers(line: Line) -> bool:
    try:
        return bool(await line.call("PING"))
    except (driver.ConnectionError, driver.TimeoutError):
        return False


async def test_what_waits_in_line_goes_on_in_order_and_words_that_cannot_be_written_harm_nobody_else(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    proxy = FaultProxy(tmp_path / "proxy.sock", own_redis.socket)
    await proxy.start()
    client = connect(f"unix://{tmp_path}/proxy.sock", reply_timeout_s=20)
    line = Line(client.connection_pool)
    try:
        await line.call("PING")
        proxy.stall()
        value = b"x" * 300_000
        calls = [asyncio.create_task(line.call("SET", f"k{n}", value)) for n in range(40)]
        await turns_of_the_loop(3)
        broken = asyncio.create_task(line.call("SET", object()))
        await turns_of_the_loop(3)
        proxy.resume()
        assert await asyncio.gather(*calls) == [b"OK"] * 40
        with pytest.raises(TypeError):
            await broken
        assert await line.call("DBSIZE") == 40
    finally:
        await line.close()
        await client.aclose()
        await proxy.stop()
