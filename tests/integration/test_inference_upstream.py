"""The provider client against scripted answers: errors by class, time limits, bounds, and nothing left running."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web

from sophia.inference.answers import events, whole
from sophia.inference.base import ModelCard
from sophia.inference.client import CHAT_PATH, EMBEDDINGS_PATH
from sophia.inference.embedding_call import embedding_answer
from sophia.inference.upstream import Upstream
from sophia.nouns.errors import RateLimited, SophiaError, Unavailable, UpstreamError
from tests.support.models import free_port
from tests.support.providers import ScriptedProvider, plain, scripted_provider, silent, streamed
from tests.support.waiting import eventually

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
CARD = ModelCard(id="m", kind="embedding", provider="scripted", upstream_model="m", dimensions=2)


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as running:
        yield running


async def ask(upstream: Upstream, path: str = EMBEDDINGS_PATH) -> Any:
    return await whole(await upstream.forward(path, {"model": "m"}))


async def stream(upstream: Upstream) -> AsyncGenerator[dict[str, Any]]:
    answer = await upstream.forward(CHAT_PATH, {"model": "m", "stream": True})
    try:
        async with aclosing(events(answer)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        await answer.close()


async def call(upstream: Upstream) -> Any:
    try:
        return await ask(upstream)
    finally:
        await upstream.close()


async def collect(upstream: Upstream) -> list[Any]:
    try:
        return [event async for event in stream(upstream)]
    finally:
        await upstream.close()


@pytest.mark.parametrize(
    ("status", "document", "headers", "error", "message"),
    [
        (500, {"error": {"message": "boom"}}, {}, Unavailable, "scripted answered 500: boom"),
        (503, {"detail": "loading"}, {}, Unavailable, "loading"),
        (408, "late", {}, Unavailable, "late"),
        (429, {"error": "slow down"}, {"Retry-After": "7"}, RateLimited, "slow down"),
        (400, {"error": {"message": "bad", "param": "top_p"}}, {}, UpstreamError, "bad"),
        (401, {"error": {"message": "no key"}}, {}, UpstreamError, "no key"),
        (501, {"error": {"message": "not here"}}, {}, UpstreamError, "not here"),
        (302, {}, {"Location": "/elsewhere"}, UpstreamError, "302"),
    ],
)
async def test_refusals_by_class(
    provider: ScriptedProvider, status: int, document: Any, headers: dict[str, str], error: Any, message: str
):
    provider.answer = plain(document, status, headers)
    for way in (call, collect):
        with pytest.raises(error, match=message) as raised:
            await way(Upstream(provider.resolved()))
        assert type(raised.value) is error
        if status == 429:
            assert raised.value.retry_after_s == 7
        if status == 400:
            assert (raised.value.status, raised.value.field) == (400, "top_p")


async def test_keys_go_out_in_headers_and_never_into_messages(provider: ScriptedProvider):
    provider.answer = plain({"error": {"message": "no"}}, 401)
    upstream = Upstream(provider.resolved(headers={"Authorization": "Bearer s3cret", "x-portkey-provider": "@openai"}))
    with pytest.raises(UpstreamError) as raised:
        await call(upstream)
    assert provider.headers[0]["authorization"] == "Bearer s3cret"
    assert provider.headers[0]["x-portkey-provider"] == "@openai"
    assert "s3cret" not in str(raised.value)


async def test_nobody_listens(provider: ScriptedProvider):
    provider.url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(Unavailable, match="scripted cannot be reached"):
        await call(Upstream(provider.resolved()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (streamed(CHUNK, done=False), "broke off"),
        (streamed(CHUNK, {"error": {"message": "gpu fell over", "code": 500}}), "gpu fell over"),
        (streamed(CHUNK, {"error": {"message": "overloaded"}}), "overloaded"),
        (streamed(CHUNK, hang=True), "in time"),
        (silent, "in time"),
    ],
)
async def test_a_stream_that_does_not_end_well(provider: ScriptedProvider, answer: Any, message: str):
    provider.answer = answer
    with pytest.raises(Unavailable, match=message):
        await collect(Upstream(provider.resolved(first_token_timeout_s=1.0, idle_timeout_s=0.5)))


async def test_a_plain_answer_has_its_own_time_limit(provider: ScriptedProvider):
    provider.answer = silent
    with pytest.raises(Unavailable, match="in time"):
        await call(Upstream(provider.resolved(answer_timeout_s=0.2)))


async def test_closing_a_stream_closes_the_connection(provider: ScriptedProvider):
    provider.answer = streamed(CHUNK, hang=True)
    upstream = Upstream(provider.resolved())
    async with aclosing(stream(upstream)) as events:
        assert await anext(events) == CHUNK
    await asyncio.wait_for(provider.gone.wait(), 5)
    await upstream.close()


async def test_cancelling_a_call_closes_the_connection(provider: ScriptedProvider):
    provider.answer = silent
    upstream = Upstream(provider.resolved())
    running = asyncio.create_task(ask(upstream, CHAT_PATH))
    await eventually(lambda: provider.running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(provider.gone.wait(), 5)
    await upstream.close()


async def test_concurrency_is_bounded_and_waiting_has_an_end(provider: ScriptedProvider):
    release = asyncio.Event()

    async def held(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await release.wait()
        return web.json_response({})

    provider.answer = held
    upstream = Upstream(provider.resolved(max_concurrency=2, first_token_timeout_s=1.0))
    running = [asyncio.create_task(ask(upstream, CHAT_PATH)) for _ in range(2)]
    await eventually(lambda: provider.running == 2)
    with pytest.raises(Unavailable, match="all 2 concurrent calls"):
        await ask(upstream, CHAT_PATH)
    more = [asyncio.create_task(ask(upstream, CHAT_PATH)) for _ in range(4)]
    release.set()
    assert await asyncio.gather(*running, *more) == [{}] * 6
    assert provider.most_running == 2
    await upstream.close()


@pytest.mark.parametrize("answer", [plain({}, 500), streamed(CHUNK, done=False), streamed(CHUNK, hang=True)])
async def test_every_end_frees_its_place(provider: ScriptedProvider, answer: Any):
    upstream = Upstream(provider.resolved(max_concurrency=1, first_token_timeout_s=2.0, idle_timeout_s=0.2))
    for _ in range(3):
        provider.answer = answer
        with pytest.raises(SophiaError):
            async for _event in stream(upstream):
                pass
    reply = await upstream.forward(CHAT_PATH, {"stream": True})
    await reply.close()
    await reply.close()
    provider.answer = plain({"ok": True})
    assert await ask(upstream, CHAT_PATH) == {"ok": True}
    await upstream.close()


async def test_forward_passes_status_body_and_useful_headers(provider: ScriptedProvider):
    provider.answer = plain(
        {"error": {"message": "slow"}}, 429, {"Retry-After": "3", "X-Request-Id": "r1", "Set-Cookie": "a=b"}
    )
    upstream = Upstream(provider.resolved())
    reply = await upstream.forward(CHAT_PATH, {"model": "m", "anything": [1]})
    assert reply.status == 429
    assert json.loads(await reply.read()) == {"error": {"message": "slow"}}
    assert reply.headers["retry-after"] == "3"
    assert reply.headers["x-request-id"] == "r1"
    assert not {"set-cookie", "content-length", "connection"} & set(reply.headers)
    assert provider.bodies == [{"model": "m", "anything": [1]}]
    await upstream.close()


async def test_what_is_not_json_is_the_providers_fault(provider: ScriptedProvider):
    async def html(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    provider.answer = html
    with pytest.raises(UpstreamError, match="not answer with JSON"):
        await call(Upstream(provider.resolved()))


@pytest.mark.parametrize(
    "rows",
    [
        [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}],
        [{"index": 0, "embedding": "AACAPwAAAAA="}, {"index": 1, "embedding": "AAAAAAAAgD8="}],
    ],
)
def test_embeddings_as_lists_or_base64_in_any_order(rows: Any):
    answer = embedding_answer(CARD, 2, {"data": rows, "usage": {"prompt_tokens": 5}})
    assert np.array_equal(answer.vectors, [[1, 0], [0, 1]])
    assert answer.vectors.dtype == np.float32
    assert answer.usage.embedding_tokens == 5


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1, 0]}]},
        {"data": [{"index": 0, "embedding": [1, 0, 0]}, {"index": 1, "embedding": [1, 0, 0]}]},
        {"data": [{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": [1]}]},
        {"data": [{"index": 0, "embedding": "###"}, {"index": 1, "embedding": [1, 0]}]},
        {"data": 7},
    ],
)
def test_embeddings_that_are_not_what_was_asked_for(document: Any):
    with pytest.raises(UpstreamError, match="scripted"):
        embedding_answer(CARD, 2, document)
