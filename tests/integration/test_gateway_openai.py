"""The OpenAI paths with the unmodified `openai` client, over the real small models."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from tests.support.gateways import HEADERS, KEY, Platform, front_of_house
from tests.support.models import make_models
from tests.support.waiting import eventually

CHAT, EMBEDDING = "smollm2-135m-instruct", "all-minilm-l6-v2"
HELLO: list[Any] = [{"role": "user", "content": "Say hello in one short sentence."}]
ENDLESS: dict[str, Any] = {"model": CHAT, "messages": HELLO, "max_tokens": 3_500, "ignore_eos": True}


@pytest_asyncio.fixture
async def served(redis_url: str, tmp_path: Path, models: ModelDirectory) -> AsyncIterator[Platform]:
    async with front_of_house(redis_url, tmp_path, models=models) as platform:
        yield platform


@pytest_asyncio.fixture
async def client(served: Platform) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=90) as made:
        yield made


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert {model.id async for model in client.models.list()} == {CHAT, EMBEDDING}
    model = await client.models.retrieve(CHAT)
    assert (model.id, model.object, model.owned_by) == (CHAT, "model", "llama_embedded")
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


async def test_a_plain_answer(client: openai.AsyncOpenAI, served: Platform) -> None:
    answer = await client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=24, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    for direction, tokens in [("input", answer.usage.prompt_tokens), ("output", answer.usage.completion_tokens)]:
        labels = {"model": CHAT, "direction": direction}
        assert served.registry.get_sample_value("inference_tokens_total", labels) == tokens


async def test_a_tier_is_a_model_too(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="fast", messages=HELLO, max_tokens=4, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    vectors = await client.embeddings.create(model="fast", input="hello")
    assert len(vectors.data[0].embedding) == 384


async def test_a_streamed_answer_with_usage(client: openai.AsyncOpenAI, served: Platform) -> None:
    stream = await client.chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    plain = await client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=24, temperature=0)
    assert text == plain.choices[0].message.content
    assert len(chunks) > 3
    usage = chunks[-1].usage
    assert usage is not None
    assert plain.usage is not None
    assert usage.completion_tokens == plain.usage.completion_tokens
    labels = {"model": CHAT, "direction": "output"}
    counted = served.registry.get_sample_value("inference_tokens_total", labels)
    assert counted == usage.completion_tokens + plain.usage.completion_tokens


async def test_a_json_schema_is_obeyed(client: openai.AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    answer = await client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Name a city and how many people live there."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}},
        max_tokens=100,
        temperature=0,
    )
    content = answer.choices[0].message.content
    assert content is not None
    assert set(json.loads(content)) == {"city", "people"}


async def test_tools_reach_the_model(client: openai.AsyncOpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    plain = await client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=1)
    answer = await client.chat.completions.create(model=CHAT, messages=HELLO, tools=[tool], max_tokens=1)
    assert plain.usage is not None
    assert answer.usage is not None
    # So small a model rarely calls one, but it was told of it.
    assert answer.usage.prompt_tokens > plain.usage.prompt_tokens + 50


async def test_embeddings_as_numbers_and_as_base64(client: openai.AsyncOpenAI, served: Platform) -> None:
    default = await client.embeddings.create(model=EMBEDDING, input=["a cat", "a dog"])
    floats = await client.embeddings.create(model=EMBEDDING, input=["a cat", "a dog"], encoding_format="float")
    for left, right in zip(default.data, floats.data, strict=True):
        assert left.embedding == pytest.approx(right.embedding, abs=1e-6)
    assert default.usage.prompt_tokens > 0
    counted = served.registry.get_sample_value("embedding_tokens_total", {"model": EMBEDDING})
    assert counted == default.usage.prompt_tokens + floats.usage.prompt_tokens
    body = {"model": EMBEDDING, "input": "a cat", "encoding_format": "base64"}
    async with aiohttp.ClientSession(served.url, headers=HEADERS) as session:
        async with session.post("/v1/embeddings", json=body) as answer:
            raw = base64.b64decode((await answer.json())["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(floats.data[0].embedding, abs=1e-6)


async def test_mistakes_become_the_clients_own_exceptions(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="smollm2-135m", messages=HELLO)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert CHAT in unknown.value.message
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model=EMBEDDING, messages=HELLO)
    with pytest.raises(openai.BadRequestError) as empty:
        await client.chat.completions.create(model=CHAT, messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as upstream:
        await client.chat.completions.create(model=CHAT, messages=[{"role": "nobody"}])  # type: ignore[typeddict-item]
    assert upstream.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model=EMBEDDING, input=[])
    stranger = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError) as wrong:
        await stranger.models.list()
    assert wrong.value.code == "invalid_api_key"


async def test_a_model_server_that_is_down_is_a_503(redis_url: str, tmp_path: Path) -> None:
    models = make_models(chat_url="http://127.0.0.1:9/v1")
    async with front_of_house(redis_url, tmp_path, models=models) as platform:
        async with openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model=CHAT, messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.code == "unavailable"


async def busy_slots(chat_server_url: str) -> int:
    async with aiohttp.ClientSession() as session:
        async with session.get(chat_server_url.removesuffix("/v1") + "/slots") as answer:
            return sum(slot["is_processing"] for slot in await answer.json())


@pytest.mark.parametrize("stream", [True, False])
async def test_generation_stops_when_the_client_leaves(
    client: openai.AsyncOpenAI, chat_server_url: str, stream: bool
) -> None:
    async def idle() -> bool:
        return await busy_slots(chat_server_url) == 0

    async def busy() -> bool:
        return not await idle()

    await eventually(idle)
    options = {key: value for key, value in ENDLESS.items() if key != "ignore_eos"}
    request = asyncio.create_task(
        client.chat.completions.create(**options, stream=stream, extra_body={"ignore_eos": True})
    )
    await eventually(busy, timeout_s=20)
    if stream:
        answer: Any = await request
        await anext(aiter(answer))
        assert await busy()
        await answer.close()
    else:
        request.cancel()
        await asyncio.wait({request})
    await eventually(idle, timeout_s=2)
