"""Model calls under budgets and limits over HTTP: refused, cut, broken off, and counted whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from msgspec.structs import replace

from sophia.embedded.redis_server import RedisServer
from sophia.inference.base import ModelCard
from sophia.inference.directory import ModelDirectory
from sophia.nouns.budget import TenantBudget
from sophia.settings.model import TenantSettings
from tests.support.gateways import HEADERS, KEY, Platform, front_of_house
from tests.support.models import make_models
from tests.support.upstreams import Upstream, upstream
from tests.support.waiting import eventually

MODEL = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
HELLO: list[Any] = [{"role": "user", "content": "hello, how are you?"}]
CENT = {"tenants": {"acme": TenantSettings(budget=TenantBudget(usd_per_day=0.01))}}


def priced(models: ModelDirectory) -> ModelDirectory:
    """The same models at a cent per thousand tokens read and two per thousand written."""
    cards: dict[str, ModelCard] = models._catalog._cards
    for name, card in cards.items():
        cards[name] = replace(card, usd_per_1k_input_tokens=0.01, usd_per_1k_output_tokens=0.02)
    return models


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with upstream() as played:
        yield played


@pytest_asyncio.fixture
async def platform(redis_url: str, tmp_path: Path, provider: Upstream) -> AsyncIterator[Platform]:
    models = priced(make_models(chat_url=provider.url, embedding_url=provider.url))
    async with front_of_house(redis_url, tmp_path, models=models, changes=CENT) as running:
        yield running


@pytest_asyncio.fixture
async def client(platform: Platform) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


def piece(text: str, **more: Any) -> bytes:
    import msgspec

    event = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return (
        b"data: "
        + msgspec.json.encode(
            {**event, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}
        )
        + b"\n\n"
    )


USAGE = (
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}\n\n'
    b"data: [DONE]\n\n"
)


async def usage(platform: Platform, by: str = "model") -> Any:
    async with aiohttp.ClientSession(platform.url, headers=HEADERS) as session:
        async with session.get("/v1/usage", params={"by": by}) as answer:
            assert answer.status == 200
            return await answer.json()


async def test_a_budget_with_room_for_some_calls_lets_exactly_those_through(
    platform: Platform, provider: Upstream
) -> None:
    # 0.01 USD; 10 tokens of a cent per thousand are 0.0001 USD: room for 100.
    provider.answer = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 10, "total_tokens": 10}}
    body = {"model": EMBEDDING, "input": "x" * 40}
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=100)) as session:

        async def call(number: int) -> int:
            headers = {"Cache-Control": "no-store"}
            body["input"] = f"{number:040}"
            async with session.post(f"{platform.url}/v1/embeddings", json=body, headers=headers) as answer:
                error = (await answer.json()).get("error")
                if error is not None:
                    assert error["type"] == "insufficient_quota"
                    assert "usd_per_day of tenant 'acme' is $0.01" in error["message"]
                    assert int(answer.headers["Retry-After"]) > 0
                return answer.status

        statuses = await asyncio.gather(*(call(number) for number in range(400)))
    assert (statuses.count(200), statuses.count(402)) == (100, 300)
    report = await usage(platform)
    assert (report["total"]["requests"], report["total"]["embedding_tokens"]) == (100, 1_000)
    assert report["total"]["cost_usd"] == pytest.approx(0.01)


async def test_a_stream_is_billed_as_reported_and_says_no_more_than_it_was_asked(
    platform: Platform, provider: Upstream, client: openai.AsyncOpenAI
) -> None:
    provider.chunks = [piece("a") + piece("b")[:20], piece("b")[20:], piece("c"), USAGE]
    body: dict[str, Any] = {"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 9}
    chunks = [chunk async for chunk in await client.chat.completions.create(**body)]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["a", "b", "c"]
    (row,) = (await usage(platform, "key,model,provider"))["rows"]
    assert (row["key"], row["model"], row["requests"]) == ("config", MODEL, 1)
    assert (row["input_tokens"], row["output_tokens"]) == (11, 3)
    assert row["cost_usd"] == pytest.approx(11 * 1e-5 + 3 * 2e-5)


async def test_what_has_come_is_billed_when_the_client_leaves(platform: Platform, provider: Upstream) -> None:
    provider.chunks = [piece("word ") for _ in range(5)]
    body = {"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 50}
    async with aiohttp.ClientSession(headers=HEADERS) as session, asyncio.timeout(10):
        async with session.post(f"{platform.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readexactly(sum(len(chunk) for chunk in provider.chunks))
        await provider.broken_off.wait()
    await eventually(lambda: platform.gate.settled(1))
    total = (await usage(platform))["total"]
    assert (total["requests"], total["output_tokens"]) == (1, 5)
    assert 5 < total["input_tokens"] < 15


async def test_a_stream_ends_when_its_reservation_is_used_up(platform: Platform, provider: Upstream) -> None:
    provider.chunks = [piece("word ") for _ in range(60)]
    body: dict[str, Any] = {"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 20}
    async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0, timeout=10) as client:
        chunks: list[Any] = [chunk async for chunk in await client.chat.completions.create(**body)]
    last = chunks[-1]
    assert (last.id, last.choices[0].finish_reason) == ("c1", "length")
    assert "20 tokens that were reserved" in last.model_extra["notice"]
    async with asyncio.timeout(1):
        await provider.broken_off.wait()


async def test_an_answer_under_a_budget_is_given_an_end_and_costs_nothing_when_refused(
    platform: Platform, provider: Upstream, client: openai.AsyncOpenAI
) -> None:
    provider.status, provider.answer = 400, {"error": {"message": "no"}}
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model=EMBEDDING, input="x")
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5_000)
    assert caught.value.status_code == 402
    assert "smaller max_tokens" in caught.value.message
    await platform.gate.settled(5)
    total = (await usage(platform))["total"]
    assert (total["requests"], total["cost_usd"]) == (1, 0)


async def test_a_keys_limit_is_told_in_openais_words(platform: Platform, provider: Upstream) -> None:
    provider.answer = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    made = {"name": "slow", "requests_per_minute": 3, "burst": 3, "tokens_per_minute": 1_000}
    async with aiohttp.ClientSession(platform.url) as session:
        async with session.post("/v1/keys", json=made, headers=HEADERS) as answer:
            key = (await answer.json())["key"]
        seen = []
        for number in range(4):
            body = {"model": EMBEDDING, "input": f"text {number}"}
            async with session.post("/v1/embeddings", json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
                seen.append((answer.status, answer.headers))
                problem = await answer.json()
    assert [status for status, _ in seen] == [200, 200, 200, 429]
    assert [headers["x-ratelimit-remaining-requests"] for _, headers in seen] == ["2", "1", "0", "0"]
    assert seen[0][1]["RateLimit-Limit"] == "3"
    assert seen[0][1]["x-ratelimit-limit-tokens"] == "1000"
    assert problem["error"]["type"] == "rate_limit_error"
    assert 1 <= int(seen[3][1]["Retry-After"]) <= 20
    report = await usage(platform, "key")
    assert [row["requests"] for row in report["rows"]] == [3]


async def test_while_redis_is_gone_answers_go_on_and_new_calls_are_refused(
    own_redis: RedisServer, tmp_path: Path, provider: Upstream
) -> None:
    models = priced(make_models(chat_url=provider.url, embedding_url=provider.url))
    body = {"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 50}
    provider.chunks = [piece("word ")]
    async with (
        front_of_house(own_redis.url, tmp_path, models=models, changes=CENT) as running,
        aiohttp.ClientSession(running.url, headers=HEADERS) as session,
    ):
        async with session.post("/v1/chat/completions", json=body) as streaming:
            assert await streaming.content.readexactly(len(provider.chunks[0])) == provider.chunks[0]
            await own_redis.stop(5)
            async with session.post("/v1/chat/completions", json=body) as refused:
                problem = await refused.json()
            assert (refused.status, problem["error"]["type"]) == (503, "server_error")
            assert int(refused.headers["Retry-After"]) > 0
            # The one that began goes on to its end.
            provider.go_on(piece("more ") + USAGE)
            rest = await streaming.content.read()
        assert rest == piece("more ") + b"data: [DONE]\n\n"
        await own_redis.start()
        assert await running.gate.settled(20)
        total = (await usage(running))["total"]
        assert (total["requests"], total["input_tokens"], total["output_tokens"]) == (1, 11, 3)
