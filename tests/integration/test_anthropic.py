"""Chats in OpenAI's form at Anthropic's API, which is played strictly over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sophia.inference.base import ModelCard
from sophia.inference.client import CHAT_PATH
from sophia.inference.directory import ModelDirectory
from sophia.nouns.errors import InvalidInput, Unavailable
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
from tests.support.anthropic_api import KEY, AnthropicApi, anthropic_api

HI = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgo="
CONFIG = """
models:
  claude:
    kind: chat
    providers: {anthropic: claude-model}
    fallback: {retries: 0}
"""


@pytest_asyncio.fixture
async def api() -> AsyncIterator[AnthropicApi]:
    async with anthropic_api() as played:
        yield played


@pytest_asyncio.fixture
async def models(api: AnthropicApi, tmp_path: Path) -> AsyncIterator[ModelDirectory]:
    path = tmp_path / "sophia.yaml"
    path.write_text(CONFIG)
    environ = {"SOPHIA_PROFILE": "local", "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url}
    loaded = resolve(merged_settings(path, environ), environ, config_path=None, data_dir=Path("unused"))
    directory = ModelDirectory(loaded.settings, loaded.providers)
    yield directory
    await directory.close()


def card(models: ModelDirectory) -> ModelCard:
    return models.resolve("claude", kind="chat")


async def ask(models: ModelDirectory, **body: Any) -> dict[str, Any]:
    reply = await models.forward(card(models), CHAT_PATH, {"model": "claude", "messages": HI, **body})
    document: dict[str, Any] = json.loads(await reply.read())
    assert reply.status == 200, document
    assert reply.headers["content-type"] == "application/json"
    return document


async def stream(models: ModelDirectory, **body: Any) -> list[dict[str, Any]]:
    request = {"model": "claude", "messages": HI, "stream": True, **body}
    reply = await models.forward(card(models), CHAT_PATH, request)
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = (await reply.read()).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


async def test_a_whole_conversation_goes_and_comes(api: AnthropicApi, models: ModelDirectory):
    call = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
    other = {"id": "toolu_2", "type": "function", "function": {"name": "time", "arguments": ""}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}
    linked = {"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}}
    await ask(
        models,
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "developer",
                "content": [{"type": "text", "text": "In French.", "cache_control": {"type": "ephemeral"}}],
            },
            {
                "role": "user",
                "content": [{"type": "text", "text": "Look"}, image, linked, {"type": "text", "text": ""}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call, other]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": ""},
            {"role": "user", "content": "And now?"},
        ],
        tools=[
            {
                "type": "function",
                "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True},
            },
            {"type": "function", "function": {"name": "time"}},
        ],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        temperature=1.7,
        top_p=0.9,
        top_k=5,
        stop="END",
        max_completion_tokens=100,
        user="u-1",
        seed=1,
        presence_penalty=0.5,
        n=1,
    )
    (sent,) = api.raw
    assert sent == {
        "model": "claude-model",
        "max_tokens": 100,
        "system": [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "In French.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.jpg"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "tool_result", "tool_use_id": "toolu_2"},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [
            {"name": "weather", "description": "d", "input_schema": {"type": "object"}, "strict": True},
            {"name": "time", "input_schema": {"type": "object"}},
        ],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
    }


@pytest.mark.parametrize(("choice", "said"), [("auto", "auto"), ("required", "any"), ("none", "none")])
async def test_tool_choice_in_words(api: AnthropicApi, models: ModelDirectory, choice: str, said: str):
    await ask(models, tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=choice)
    assert api.raw[0]["tool_choice"] == {"type": said}


async def test_max_tokens_and_schemas(api: AnthropicApi, models: ModelDirectory):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await ask(
        models,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        reasoning_effort="minimal",
    )
    assert api.raw[0]["max_tokens"] == 4096
    assert api.raw[0]["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}


TOOLS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, "ä"]}},
    {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
]


async def test_a_plain_answer_with_everything(api: AnthropicApi, models: ModelDirectory):
    api.content, api.stop_reason = TOOLS, "tool_use"
    answer = await ask(models)
    (choice,) = answer["choices"]
    assert (answer["object"], answer["id"], choice["finish_reason"]) == ("chat.completion", "msg_01", "tool_calls")
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("Let me see.", "Hm.")
    assert [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]
    ] == [
        ("toolu_1", "f", {"a": [1, "ä"]}),
        ("toolu_2", "g", {}),
    ]
    assert answer["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    }


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
    ],
)
async def test_finish_reasons(api: AnthropicApi, models: ModelDirectory, stop_reason: str, finish_reason: str):
    api.stop_reason = stop_reason
    assert (await ask(models))["choices"][0]["finish_reason"] == finish_reason
    assert (await stream(models))[-1]["choices"][0]["finish_reason"] == finish_reason


async def test_a_stream_with_everything(api: AnthropicApi, models: ModelDirectory):
    api.content, api.stop_reason = TOOLS, "tool_use"
    chunks = await stream(models, stream_options={"include_usage": True})
    assert {chunk["id"] for chunk in chunks} == {"msg_01"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 17
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me see."
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Hm."
    parts = [part for delta in deltas for part in delta.get("tool_calls") or []]
    assert [(p["index"], p["id"], p["function"]["name"]) for p in parts if "id" in p] == [
        (0, "toolu_1", "f"),
        (1, "toolu_2", "g"),
    ]
    arguments = ["".join(p["function"]["arguments"] for p in parts if p["index"] == index) for index in (0, 1)]
    assert [json.loads(text) for text in arguments] == [{"a": [1, "ä"]}, {}]
    assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    assert not any("usage" in chunk for chunk in await stream(models))


async def test_our_own_chats_go_there_too(api: AnthropicApi, models: ModelDirectory):
    answer = await models.chat(card(models), HI, max_tokens=9, json_schema={"type": "object"})
    assert (answer.text, answer.usage.input_tokens, answer.usage.output_tokens) == ("Hello there", 10, 7)
    assert api.requests[0].output_config is not None


@pytest.mark.parametrize(
    ("status", "kind", "passed"),
    [
        (400, "invalid_request_error", 400),
        (401, "authentication_error", 401),
        (413, "request_too_large", 413),
        (429, "rate_limit_error", 429),
        (500, "api_error", 500),
        (529, "overloaded_error", 529),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_errors_have_openais_form(
    api: AnthropicApi, models: ModelDirectory, status: int, kind: str, passed: int, streamed: bool
):
    api.refuse = (status, kind, "temperature: is not supported")
    reply = await models.forward(card(models), CHAT_PATH, {"messages": HI, "stream": streamed})
    assert reply.status == passed
    error = json.loads(await reply.read())["error"]
    param = "temperature" if kind == "invalid_request_error" else None
    assert error == {"message": "temperature: is not supported", "type": kind, "param": param, "code": kind}
    assert reply.headers["request-id"] == "req_1"
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content[0].image_url",
        ),
        ({"messages": [{"role": "owl", "content": "x"}]}, "messages[0].role"),
    ],
)
async def test_what_cannot_be_said_there(api: AnthropicApi, models: ModelDirectory, body: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as raised:
        await models.forward(card(models), CHAT_PATH, {"messages": HI, **body})
    assert raised.value.field == field
    assert api.requests == []
    with pytest.raises(InvalidInput):
        await models.forward(card(models), "/embeddings", {"input": "x"})


async def test_an_error_in_the_stream_is_passed_on(api: AnthropicApi, models: ModelDirectory):
    api.error_in_stream = "overloaded_error"
    reply = await models.forward(card(models), CHAT_PATH, {"messages": HI, "stream": True})
    body = await reply.read()
    assert b'"type":"overloaded_error"' in body
    assert b'"code":529' in body
    assert b"[DONE]" not in body
    with pytest.raises(Unavailable, match="Overloaded"):
        await models.chat(card(models), HI)


async def test_a_stream_that_breaks_off(api: AnthropicApi, models: ModelDirectory):
    api.cut_after = 4
    reply = await models.forward(card(models), CHAT_PATH, {"messages": HI, "stream": True})
    with pytest.raises(Unavailable):
        await reply.read()
    assert models.deployments(card(models))[0].in_flight == 0


async def test_leaving_stops_the_generation(api: AnthropicApi, models: ModelDirectory):
    api.hang_after = 4
    reply = await models.forward(card(models), CHAT_PATH, {"messages": HI, "stream": True})
    chunks = reply.chunks()
    assert b"assistant" in await anext(chunks)
    await reply.close()
    await asyncio.wait_for(api.gone.wait(), 10)
    assert models.deployments(card(models))[0].in_flight == 0
