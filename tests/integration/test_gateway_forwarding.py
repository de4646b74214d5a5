"""What passes through the gateway to a provider and back, with a provider that is played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.support.gateways import HEADERS, KEY, Platform, front_of_house
from tests.support.models import make_models
from tests.support.upstreams import Upstream, upstream

EMBEDDING = "all-minilm-l6-v2"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Upstream]:
    """Serves embeddings: unlike the local chat server, a plain HTTP provider that nothing is changed for."""
    async with upstream() as played:
        yield played


@pytest_asyncio.fixture
async def platform(redis_url: str, tmp_path: Path, provider: Upstream) -> AsyncIterator[Platform]:
    models = make_models(chat_url=provider.url, embedding_url=provider.url)
    async with front_of_house(redis_url, tmp_path, models=models) as running:
        yield running


@pytest_asyncio.fixture
async def client(platform: Platform) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


async def ask(platform: Platform, path: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.post(platform.url + path, json=body) as answer:
            await answer.read()
            return answer


async def test_everything_but_the_models_name_passes_unchanged(platform: Platform, provider: Upstream) -> None:
    body = {
        "model": "fast",
        "input": ["ä", "漢字"],
        "encoding_format": "float",
        "dimensions": 64,
        "a_parameter_of_tomorrow": {"deep": [1, 2.5, None, True, "x"]},
    }
    provider.answer = {"object": "list", "data": [], "model": "theirs", "usage": {"prompt_tokens": 7}, "new": 1}
    answer = await ask(platform, "/v1/embeddings", body)
    assert (answer.status, await answer.json()) == (200, provider.answer)
    assert provider.bodies == [{**body, "model": EMBEDDING}]
    assert platform.registry.get_sample_value("embedding_tokens_total", {"model": EMBEDDING}) == 7


async def test_a_stream_passes_as_it_comes_with_tools_and_unknown_parameters(
    platform: Platform, provider: Upstream
) -> None:
    provider.chunks = [b'data: {"choices": [], "odd": 1}\n\n', b": note\n\n", b"da", b"ta: [DONE]\n\n"]
    body = {
        "model": "smollm2-135m-instruct",
        "messages": HELLO,
        "stream": True,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "reasoning_effort": "low",
    }
    async with aiohttp.ClientSession(headers=HEADERS) as session, asyncio.timeout(10):
        async with session.post(f"{platform.url}/v1/chat/completions", json=body) as answer:
            assert answer.content_type == "text/event-stream"
            assert answer.headers["x-sophia-provider"] == "llama_embedded"
            assert answer.headers["x-sophia-attempts"] == "1"
            expected = b"".join(provider.chunks)
            # The provider has not ended its answer: what it sent so far is here all the same.
            assert await answer.content.readexactly(len(expected)) == expected
        await provider.broken_off.wait()
    # Only that the answer is to say what it used is our own wish.
    assert provider.bodies == [{**body, "stream_options": {"include_usage": True}}]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_silent_provider_is_left_within_a_second_of_the_client(
    platform: Platform, provider: Upstream, stream: bool
) -> None:
    path, body = (
        ("/v1/chat/completions", {"messages": HELLO, "stream": True}) if stream else ("/v1/embeddings", {"input": "x"})
    )
    request = asyncio.create_task(ask(platform, path, {"model": "fast", **body}))
    async with asyncio.timeout(10):
        while not provider.bodies:
            await asyncio.wait({request}, timeout=0.01)
    request.cancel()
    async with asyncio.timeout(1):
        await provider.broken_off.wait()


async def test_a_stream_that_breaks_off_ends_with_an_error(client: openai.AsyncOpenAI, provider: Upstream) -> None:
    provider.chunks = [b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n']
    provider.drop_after_chunks = True
    stream = await client.chat.completions.create(model="fast", messages=HELLO, stream=True)
    assert (await anext(stream)).choices[0].delta.content == "a"
    with pytest.raises(openai.APIError) as caught:
        await anext(stream)
    assert "broke off" in caught.value.message


async def test_refusals_of_the_provider_become_the_clients_exceptions(
    client: openai.AsyncOpenAI, provider: Upstream
) -> None:
    cases: list[tuple[int, type[openai.APIStatusError], int]] = [
        (400, openai.BadRequestError, 400),
        (422, openai.BadRequestError, 400),
        (429, openai.RateLimitError, 429),
        # Our key at the provider is wrong, not the caller's.
        (401, openai.InternalServerError, 502),
        (500, openai.InternalServerError, 503),
        (503, openai.InternalServerError, 503),
    ]
    provider.headers = {"Retry-After": "7"}
    for status, kind, shown in cases:
        provider.status = status
        provider.answer = {"error": {"message": "because", "param": "input", "type": "odd", "code": status}}
        with pytest.raises(kind) as caught:
            await client.embeddings.create(model=EMBEDDING, input="x")
        assert caught.value.status_code == shown
        assert "because" in caught.value.message
        assert isinstance(caught.value.body, dict)
        assert set(caught.value.body) == {"message", "type", "param", "code"}
        assert caught.value.response.headers.get("retry-after") == ("7" if status in (429, 500, 503) else None)
