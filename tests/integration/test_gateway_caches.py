"""Answers that are not asked for twice, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from sophia.settings.model import TenantSettings
from tests.support.gateways import HEADERS, OTHER_HEADERS, Platform, front_of_house
from tests.support.models import make_models
from tests.support.upstreams import Upstream, upstream

EMBEDDING = "all-minilm-l6-v2"
MODEL = "smollm2-135m-instruct"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
EVENTS = [
    b'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}\n\n',
    b"data: [DONE]\n\n",
]


UNKEPT = {"tenants": {"acme": TenantSettings(cache=False)}}


class Embeds(Upstream):
    """Answers each text with numbers of its own."""

    async def handle(self, request: Any) -> Any:
        body = await request.json()
        given = body.get("input")
        if isinstance(given, list) and self.answer is None:
            texts: list[str] = given
            self.answer = self.embeddings(texts)
            try:
                return await super().handle(request)
            finally:
                self.answer = None
        return await super().handle(request)

    @staticmethod
    def embeddings(texts: list[str]) -> Any:
        rows = [
            {"object": "embedding", "index": n, "embedding": numbers(text)}
            for n, text in reversed(list(enumerate(texts)))
        ]
        usage = {"prompt_tokens": 5 * len(texts), "total_tokens": 5 * len(texts)}
        return {"object": "list", "data": rows, "model": "theirs", "usage": usage, "extra": 1}


def numbers(text: str) -> list[float]:
    return [0.25, float(len(text)), 0.5 if text.isascii() else 0.1]


def provided(provider: Upstream) -> ModelDirectory:
    return make_models(chat_url=provider.url, embedding_url=provider.url)


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with upstream(Embeds()) as played:
        yield played


@pytest_asyncio.fixture
async def pair(redis_url: str, tmp_path: Path, provider: Upstream) -> AsyncIterator[tuple[Platform, Platform]]:
    async with (
        front_of_house(redis_url, tmp_path, models=provided(provider)) as first,
        front_of_house(redis_url, tmp_path, models=provided(provider)) as second,
    ):
        yield first, second


async def ask(platform: Platform, path: str, body: Any, **headers: str) -> tuple[str | None, bytes]:
    async with aiohttp.ClientSession(headers={**HEADERS, **headers}) as session:
        async with session.post(f"{platform.url}/v1{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            content = await answer.read()
            await platform.gate.settled(5)
            return answer.headers.get("x-sophia-cache"), content


async def test_a_batch_pays_for_the_texts_that_are_new(
    pair: tuple[Platform, Platform], provider: Upstream, redis_url: str, tmp_path: Path
) -> None:
    def body(*texts: str, **more: Any) -> dict[str, Any]:
        return {"model": EMBEDDING, "input": list(texts), **more}

    async def embed(platform: Platform, sent: Any, **headers: str) -> tuple[str | None, list[Any], int]:
        import msgspec

        state, content = await ask(platform, "/embeddings", sent, **headers)
        answer = msgspec.json.decode(content)
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        assert [row["index"] for row in rows] == list(range(len(rows)))
        return state, [row["embedding"] for row in rows], answer["usage"]["prompt_tokens"]

    first, second = pair
    assert await embed(first, body("a", "bb")) == ("miss", [numbers("bb"), numbers("a")][::-1], 10)
    # Some known, some new, some twice; at another gateway.
    texts = ["bb", "ä", "a", "ä"]
    state, vectors, paid = await embed(second, body(*texts))
    assert (state, vectors, paid) == ("miss", [numbers(text) for text in texts], 5)
    assert provider.bodies[-1]["input"] == ["ä"]
    asked = len(provider.bodies)
    state, vectors, paid = await embed(first, body(*texts, user="somebody"))
    assert (state, vectors, paid) == ("hit", [numbers(text) for text in texts], 0)
    state, vectors, _ = await embed(first, body(*texts, encoding_format="base64"))
    assert state == "hit"
    assert [struct.unpack("<3f", base64.b64decode(vector)) for vector in vectors] == [
        struct.unpack("<3f", struct.pack("<3f", *numbers(text))) for text in texts
    ]
    assert (await embed(first, {"model": EMBEDDING, "input": "a"}))[0] == "hit"
    assert len(provider.bodies) == asked
    # Another size, another tenant, or a wish for something fresh is another request.
    assert (await embed(first, body("a", dimensions=2)))[0] == "miss"
    assert (await embed(first, body("a"), **OTHER_HEADERS))[0] == "miss"
    assert (await embed(first, body("a"), **{"Cache-Control": "no-cache"}))[0] == "miss"
    assert (await embed(first, body("a"), **{"Cache-Control": "no-store"}))[0] is None
    async with front_of_house(redis_url, tmp_path, models=provided(provider), changes=UNKEPT) as third:
        assert (await embed(third, body("a")))[0] is None
    assert len(provider.bodies) == asked + 5
    sample = first.registry.get_sample_value("cache_requests_total", {"cache": "embeddings", "result": "hit"})
    assert sample == 3


async def test_the_same_chat_at_once_is_made_once_and_told_piece_by_piece(
    pair: tuple[Platform, Platform], provider: Upstream
) -> None:
    provider.chunks = EVENTS
    provider.end_after_chunks = True
    body = {"model": MODEL, "messages": HELLO, "stream": True, "temperature": 0}
    answers = await asyncio.gather(*(ask(pair[n % 2], "/chat/completions", body) for n in range(10)))
    assert len(provider.bodies) == 1
    assert {content for _, content in answers} == {EVENTS[0] + EVENTS[1] + EVENTS[3]}
    states = [state for state, _ in answers]
    assert states.count("miss") == 1
    assert states.count("shared") >= 1
    # What it is that was kept decides, not how the request was written.
    again = {"temperature": 0.0, "user": "x", **{name: body[name] for name in reversed(body)}, "model": "fast"}
    assert await ask(pair[0], "/chat/completions", again) == ("hit", answers[0][1])
    for different in (
        {"temperature": 0.7},
        {"messages": [*HELLO, *HELLO]},
        {"stream_options": {"include_usage": True}},
    ):
        state, _ = await ask(pair[0], "/chat/completions", {**body, **different})
        assert state == (None if "temperature" in different else "miss")
    assert len(provider.bodies) == 4
    aged = {"Cache-Control": "max-age=600"}
    assert (await ask(pair[0], "/chat/completions", {**body, "temperature": 0.7}, **aged))[0] == "miss"
    assert (await ask(pair[1], "/chat/completions", {**body, "temperature": 0.7}, **aged))[0] == "hit"
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.get(f"{pair[0].url}/v1/usage?by=provider") as answer:
            report = await answer.json()
    assert report["total"]["cached"] == sum(row["requests"] for row in report["rows"] if row["provider"] == "cache")
    assert report["total"]["cached"] == 11


async def test_an_answer_that_broke_off_is_kept_by_nobody(pair: tuple[Platform, Platform], provider: Upstream) -> None:
    provider.chunks, provider.drop_after_chunks = EVENTS[:1], True
    body = {"model": MODEL, "messages": HELLO, "stream": True, "seed": 7}
    assert [(await ask(pair[0], "/chat/completions", body))[0] for _ in range(2)] == ["miss", "miss"]
    assert len(provider.bodies) == 2
