"""The directory as a client of hosted providers, which are scripted here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sophia.inference.client import CHAT_PATH
from sophia.inference.directory import ModelDirectory
from sophia.nouns.errors import InvalidInput, UpstreamError
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
from tests.support.providers import ScriptedProvider, plain, scripted_provider, streamed

HI = [{"role": "user", "content": "Hi there"}]
USAGE = {"choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}


def piece(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


ANSWER = streamed(piece("Hel"), piece("lo"), piece("", "stop"), USAGE)


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as running:
        running.answer = ANSWER
        yield running


@pytest_asyncio.fixture
async def hosted(provider: ScriptedProvider) -> AsyncIterator[ModelDirectory]:
    environ = {"SOPHIA_PROFILE": "local", "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.url}
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=Path("unused"))
    directory = ModelDirectory(loaded.settings, loaded.providers)
    yield directory
    await directory.close()


async def test_chat_is_streamed_priced_and_named(hosted: ModelDirectory, provider: ScriptedProvider):
    card = hosted.resolve("gpt-5", kind="chat")
    answer = await hosted.chat(card, HI, max_tokens=50, temperature=None, json_schema={"type": "object"}, seed=3)
    assert (answer.text, answer.finish_reason, answer.model) == ("Hello", "stop", "gpt-5")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.model_calls) == (1_000, 100, 1)
    assert answer.usage.cost_nano_usd == 1_000 * 1_250 + 100 * 10_000
    assert provider.headers[0]["authorization"] == "Bearer sk-test"
    assert provider.bodies[0] == {
        "model": "gpt-5",
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
        },
    }


async def test_a_refused_parameter_is_spared_from_then_on(hosted: ModelDirectory, provider: ScriptedProvider):
    async def reasoning_model(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        for parameter in ("max_tokens", "temperature"):
            if parameter in body:
                error = {"message": f"Unsupported parameter: '{parameter}'", "param": parameter}
                return await plain({"error": error}, 400)(request, body)
        return await ANSWER(request, body)

    provider.answer = reasoning_model
    card = hosted.resolve("gpt-5", kind="chat")
    for _ in range(2):
        assert (await hosted.chat(card, HI, max_tokens=50, temperature=0.2)).text == "Hello"
    assert len(provider.bodies) == 4
    assert provider.bodies[-1]["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature"} & set(provider.bodies[-1])


async def test_any_other_refused_parameter_is_the_callers(hosted: ModelDirectory, provider: ScriptedProvider):
    provider.answer = plain({"error": {"message": "no such", "param": "messages"}}, 400)
    with pytest.raises(UpstreamError, match="no such"):
        await hosted.chat(hosted.resolve("gpt-5", kind="chat"), HI)
    assert len(provider.bodies) == 1


async def test_usage_is_estimated_when_none_is_sent(
    hosted: ModelDirectory, provider: ScriptedProvider, caplog: pytest.LogCaptureFixture
):
    provider.answer = streamed(piece("a"), piece("b"), piece("c", "length"))
    answer = await hosted.chat(hosted.resolve("gpt-5", kind="chat"), HI)
    assert (answer.text, answer.finish_reason) == ("abc", "length")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 3)
    assert "estimated" in caplog.text


async def test_forward_changes_the_models_name_only(hosted: ModelDirectory, provider: ScriptedProvider):
    reply = await hosted.forward(
        hosted.resolve("gpt-5", kind="chat"), CHAT_PATH, {"model": "mine", "messages": HI, "stream": True, "n": 2}
    )
    body = await reply.read()
    assert provider.bodies == [{"model": "gpt-5", "messages": HI, "stream": True, "n": 2}]
    assert body.endswith(b"data: [DONE]\n\n")
    assert json.loads(body.split(b"\n\n")[0].removeprefix(b"data: ")) == piece("Hel")


async def test_calls_run_concurrently(hosted: ModelDirectory, provider: ScriptedProvider):
    together = asyncio.Barrier(8)

    async def all_at_once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        async with asyncio.timeout(10):
            await together.wait()
        return await ANSWER(request, body)

    provider.answer = all_at_once
    card = hosted.resolve("gpt-5", kind="chat")
    answers = await asyncio.gather(*(hosted.chat(card, HI) for _ in range(8)))
    assert {answer.text for answer in answers} == {"Hello"}


async def test_a_model_in_this_process_only_cannot_be_forwarded_to(embedding_cache: Path):
    from sophia.inference.onnx_embedder import packaged_embedder

    environ = {"SOPHIA_PROFILE": "local"}
    loaded = resolve(merged_settings(None, environ), environ, config_path=None, data_dir=Path("unused"))
    embedder = packaged_embedder(embedding_cache, max_tokens=256, threads=1)
    directory = ModelDirectory(loaded.settings, loaded.providers, {"all-minilm-l6-v2": embedder})
    card = directory.resolve(None, kind="embedding")
    answer = await directory.embed(card, ["a", "b"])
    assert answer.vectors.shape == (2, 384)
    assert (answer.usage.embedding_tokens, answer.usage.model_calls) == (6, 1)
    with pytest.raises(InvalidInput, match="in this process only"):
        await directory.forward(card, "/embeddings", {"input": "a"})
    await directory.close()
