"""Fallbacks, retries, time limits and breakers, with real HTTP to providers that fail as told."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sophia.inference.client import CHAT_PATH
from sophia.nouns.errors import Unavailable
from tests.support.models import free_port
from tests.support.providers import Answer, plain, silent, streamed
from tests.support.spread import spread
from tests.support.waiting import eventually

ASK = {"model": "spread", "messages": [{"role": "user", "content": "hi"}], "n": 2, "unknown": {"kept": 1}}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
FINE = plain({"fine": True})
REFUSED = plain({"error": {"message": "no"}}, 503)


def once(first: Answer, then: Answer) -> Answer:
    """``first`` answers the first request, ``then`` all others."""
    asked = []

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked.append(1)
        return await (first if len(asked) == 1 else then)(request, body)

    return answer


async def cut(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Headers, and then the connection is gone."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Content-Length": "1000"})
    await response.prepare(request)
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("failing", "attempts"),
    [
        (plain({}, 500), 3),
        (plain({}, 408), 3),
        (plain({}, 429, {"Retry-After": "30"}), 2),
        (plain({}, 429, {"Retry-After": "0"}), 3),
        (cut, 3),
        (silent, 2),
        (streamed({"error": {"message": "overloaded", "code": 529}}), 3),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_one_stands_in(tmp_path: Path, failing: Answer, attempts: int, stream: bool):
    limits = {"first_token_timeout_s": 0.3, "answer_timeout_s": 0.3}
    async with spread(
        tmp_path, {"first": limits, "second": {}}, fallback={"retries": 1, "retry_base_s": 0.01}
    ) as served:
        served.providers["first"].answer = failing
        served.providers["second"].answer = streamed(CHUNK) if stream else FINE
        reply = await served.directory.forward(served.card, CHAT_PATH, {**ASK, "stream": stream})
        assert reply.status == 200
        await reply.read()
        assert (reply.headers["x-sophia-provider"], reply.headers["x-sophia-attempts"]) == ("second", str(attempts))
        assert served.asked() == {"first": attempts - 1, "second": 1}
        assert served.providers["second"].bodies == [{**ASK, "stream": stream, "model": "second-model"}]
        assert [status.in_flight for status in served.directory.deployments(served.card)] == [0, 0]


async def test_nobody_listens_there(tmp_path: Path):
    nowhere = {"base_url": f"http://127.0.0.1:{free_port()}/v1"}
    async with spread(
        tmp_path, {"first": {}, "second": {}}, fallback={"retry_base_s": 0.01}, providers={"first": nowhere}
    ) as served:
        served.providers["second"].answer = FINE
        reply = await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert (reply.headers["x-sophia-provider"], reply.headers["x-sophia-attempts"]) == ("second", "3")


async def test_a_short_retry_after_is_waited_out(tmp_path: Path):
    async with spread(tmp_path, {"first": {}, "second": {}}) as served:
        served.providers["first"].answer = once(plain({}, 429, {"Retry-After": "0.2"}), FINE)
        began = time.monotonic()
        reply = await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert time.monotonic() - began >= 0.2
        assert (reply.headers["x-sophia-provider"], reply.headers["x-sophia-attempts"]) == ("first", "2")
        assert served.asked() == {"first": 2, "second": 0}


async def test_the_last_refusal_is_passed_back(tmp_path: Path):
    async with spread(tmp_path, {"first": {}, "second": {}}, fallback={"retries": 0}) as served:
        served.providers["first"].answer = REFUSED
        served.providers["second"].answer = plain({"error": {"message": "slow down"}}, 429, {"Retry-After": "7"})
        reply = await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert (reply.status, reply.headers["retry-after"]) == (429, "7")
        assert json.loads(await reply.read()) == {"error": {"message": "slow down"}}


async def test_a_refusal_of_the_request_itself_is_final(tmp_path: Path):
    async with spread(tmp_path, {"first": {}, "second": {}}) as served:
        served.providers["first"].answer = plain({"error": {"message": "bad"}}, 400)
        reply = await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert (reply.status, served.asked()) == (400, {"first": 1, "second": 0})


async def test_what_has_begun_is_not_repeated(tmp_path: Path):
    async with spread(tmp_path, {"first": {"idle_timeout_s": 0.2}, "second": {}}) as served:
        served.providers["first"].answer = streamed(CHUNK, hang=True)
        reply = await served.directory.forward(served.card, CHAT_PATH, {**ASK, "stream": True})
        chunks = reply.chunks()
        assert json.loads((await anext(chunks)).removeprefix(b"data: ")) == CHUNK
        with pytest.raises(Unavailable, match="in time"):
            await anext(chunks)
        assert served.asked() == {"first": 1, "second": 0}
        assert served.directory.deployments(served.card)[0].in_flight == 0


async def test_comments_before_the_answer_are_no_answer(tmp_path: Path):
    async def thinking(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": still thinking\n\n")
        await asyncio.Event().wait()
        return response

    async with spread(tmp_path, {"first": {"first_token_timeout_s": 0.3}, "second": {}}) as served:
        served.providers["first"].answer = thinking
        served.providers["second"].answer = streamed(CHUNK)
        reply = await served.directory.forward(served.card, CHAT_PATH, {**ASK, "stream": True})
        assert reply.headers["x-sophia-provider"] == "second"
        await reply.close()


async def test_the_deadline_holds_over_all_attempts(tmp_path: Path):
    fallback = {"deadline_s": 0.5, "retries": 5}
    async with spread(tmp_path, {"first": {"answer_timeout_s": 0.3}, "second": {}}, fallback=fallback) as served:
        served.providers["first"].answer = served.providers["second"].answer = silent
        with pytest.raises(Unavailable, match="in time"):
            await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert served.asked() == {"first": 1, "second": 1}


async def test_a_breaker_opens_is_seen_and_closes_again(tmp_path: Path):
    breaker = {"failures": 3, "open_s": 0.2, "open_max_s": 0.2}
    async with spread(tmp_path, {"first": {}, "second": {}}, fallback={"retries": 0}, breaker=breaker) as served:
        served.providers["first"].answer = REFUSED
        served.providers["second"].answer = FINE
        for _ in range(3):
            await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert served.states()["first"] in ("open", "half_open")
        asked = served.asked()["first"]
        served.providers["first"].answer = FINE

        async def back() -> bool:
            reply = await served.directory.forward(served.card, CHAT_PATH, ASK)
            return reply.headers["x-sophia-provider"] == "first"

        await eventually(back)
        assert asked == 3
        assert served.states() == {"first": "closed", "second": "closed"}


async def test_with_every_breaker_open_it_says_when_to_come_back(tmp_path: Path):
    breaker = {"failures": 1, "open_s": 20}
    async with spread(tmp_path, {"only": {}}, fallback={"retries": 0}, breaker=breaker) as served:
        served.providers["only"].answer = REFUSED
        assert (await served.directory.forward(served.card, CHAT_PATH, ASK)).status == 503
        with pytest.raises(Unavailable, match="failed lately") as raised:
            await served.directory.forward(served.card, CHAT_PATH, ASK)
        assert raised.value.retry_after_s is not None
        assert 0 < raised.value.retry_after_s <= 20
        assert served.asked() == {"only": 1}


async def test_equals_share_by_weight_and_cancelling_leaves_nothing_behind(tmp_path: Path):
    equals = {"a": {"order": 0, "weight": 3}, "b": {"order": 0, "weight": 1}}
    async with spread(tmp_path, equals) as served:
        for provider in served.providers.values():
            provider.answer = FINE
        await asyncio.gather(*(served.directory.forward(served.card, CHAT_PATH, ASK) for _ in range(200)))
        asked = served.asked()
        assert asked["a"] + asked["b"] == 200
        assert 110 < asked["a"] < 190

        for provider in served.providers.values():
            provider.answer = silent
        call = asyncio.create_task(served.directory.forward(served.card, CHAT_PATH, ASK))
        await eventually(lambda: any(provider.running for provider in served.providers.values()))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [status.in_flight for status in served.directory.deployments(served.card)] == [0, 0]
        await eventually(lambda: not any(provider.running for provider in served.providers.values()))


async def test_our_own_chats_fall_back_too(tmp_path: Path):
    async with spread(tmp_path, {"first": {}, "second": {}}, fallback={"retries": 0}) as served:
        served.providers["first"].answer = REFUSED
        usage = {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}
        served.providers["second"].answer = streamed(CHUNK, usage)
        answer = await served.directory.chat(served.card, [{"role": "user", "content": "hi"}])
        assert (answer.text, answer.usage.output_tokens) == ("a", 1)
