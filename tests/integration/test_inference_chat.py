"""Chat through the directory, answered by the real embedded model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from sophia.inference.directory import ModelDirectory
from sophia.nouns.errors import UpstreamError
from tests.support.waiting import eventually

QUESTION = [{"role": "user", "content": "What is the capital of France? One sentence."}]
STORY = [{"role": "user", "content": "Write a very long story about the sea."}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "born": {"type": "integer"}},
    "required": ["name", "born"],
    "additionalProperties": False,
}


async def busy_slots(chat_server_url: str) -> int:
    root = chat_server_url.removesuffix("/v1")
    async with aiohttp.ClientSession() as session, session.get(f"{root}/slots") as answer:
        return sum(slot["is_processing"] for slot in await answer.json())


async def test_answers_with_usage(chat_models: ModelDirectory):
    card = chat_models.resolve(None, kind="chat")
    answer = await chat_models.chat(card, QUESTION, max_tokens=40, temperature=0)
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.model == "smollm2-135m-instruct"
    assert answer.usage.input_tokens > 20
    assert 0 < answer.usage.output_tokens <= 40
    assert answer.usage.model_calls == 1


async def test_stream_has_the_same_text_and_ends_with_usage(chat_models: ModelDirectory):
    card = chat_models.resolve("smollm2-135m-instruct", kind="chat")
    deltas = [delta async for delta in chat_models.stream_chat(card, QUESTION, max_tokens=40, temperature=0)]
    assert len(deltas) > 3
    assert "Paris" in "".join(delta.text for delta in deltas)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.output_tokens > 3


async def test_text_obeys_a_json_schema(chat_models: ModelDirectory):
    card = chat_models.resolve(None, kind="chat")
    messages = [{"role": "user", "content": "Ada Lovelace, name and year of birth, as JSON"}]
    answer = await chat_models.chat(card, messages, max_tokens=100, temperature=0, json_schema=SCHEMA)
    person = json.loads(answer.text)
    assert set(person) == {"name", "born"}
    assert isinstance(person["born"], int)


async def test_closing_a_stream_stops_generation(chat_models: ModelDirectory, chat_server_url: str):
    card = chat_models.resolve(None, kind="chat")
    stream = chat_models.stream_chat(card, STORY, max_tokens=3000, temperature=0, ignore_eos=True)
    await anext(stream)
    assert await busy_slots(chat_server_url) == 1
    await stream.aclose()
    await eventually(lambda: _idle(chat_server_url), timeout_s=5)


async def test_cancelling_a_plain_chat_stops_generation(chat_models: ModelDirectory, chat_server_url: str):
    card = chat_models.resolve(None, kind="chat")
    call = asyncio.create_task(chat_models.chat(card, STORY, max_tokens=3000, temperature=0, ignore_eos=True))
    await eventually(lambda: busy_slots(chat_server_url))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: _idle(chat_server_url), timeout_s=5)


async def test_cancelling_a_forwarded_plain_chat_stops_generation(chat_models: ModelDirectory, chat_server_url: str):
    card = chat_models.resolve(None, kind="chat")
    body = {"messages": STORY, "max_tokens": 3000, "temperature": 0, "ignore_eos": True}
    call = asyncio.create_task(chat_models.forward(card, "/chat/completions", body))
    await eventually(lambda: busy_slots(chat_server_url))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: _idle(chat_server_url), timeout_s=5)


async def test_closing_a_forwarded_stream_stops_generation(chat_models: ModelDirectory, chat_server_url: str):
    card = chat_models.resolve(None, kind="chat")
    body = {"messages": STORY, "stream": True, "max_tokens": 3000, "temperature": 0, "ignore_eos": True}
    reply = await chat_models.forward(card, "/chat/completions", body)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    # Held by name: a generator that a loop breaks out of is collected, and that alone would close the stream.
    chunks = aiter(reply.chunks())
    assert await anext(chunks)
    assert await busy_slots(chat_server_url) == 1
    await reply.close()
    await eventually(lambda: _idle(chat_server_url), timeout_s=5)


async def test_a_forwarded_plain_chat_is_a_completion(chat_models: ModelDirectory):
    card = chat_models.resolve(None, kind="chat")
    reply = await chat_models.forward(
        card, "/chat/completions", {"model": "x", "messages": QUESTION, "max_tokens": 40, "temperature": 0}
    )
    completion = json.loads(await reply.read())
    assert reply.status == 200
    assert completion["object"] == "chat.completion"
    assert "Paris" in completion["choices"][0]["message"]["content"]
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["usage"]["completion_tokens"] > 3


async def test_forward_passes_a_refusal_back(chat_models: ModelDirectory):
    card = chat_models.resolve(None, kind="chat")
    for stream in (False, True):
        reply = await chat_models.forward(card, "/chat/completions", {"messages": "no list", "stream": stream})
        assert reply.status == 400
        assert "messages" in json.loads(await reply.read())["error"]["message"]


async def test_a_prompt_beyond_the_context_is_the_callers_fault(chat_models: ModelDirectory):
    card = chat_models.resolve(None, kind="chat")
    with pytest.raises(UpstreamError, match="context size") as raised:
        await chat_models.chat(card, [{"role": "user", "content": "word " * 5000}], max_tokens=5)
    assert raised.value.status == 400


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


async def test_tools_and_their_calls_reach_the_model(chat_server_url: str):
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Paris?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "sunny, 22 C"},
        ],
        "tools": [TOOL],
    }
    prompt = await _prompt(chat_server_url, body)
    assert prompt.startswith("<|im_start|>system\nBe brief.\n\n# Tools")
    assert '"name": "get_weather"' in prompt.partition("<|im_start|>user")[0]
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>' in prompt
    assert prompt.endswith("<tool_response>\nsunny, 22 C\n</tool_response><|im_end|>\n<|im_start|>assistant\n")


async def test_without_tools_the_prompt_is_the_models_own(chat_server_url: str):
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "B"},
    ]
    assert await _prompt(chat_server_url, {"messages": messages}) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nB<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def _prompt(chat_server_url: str, body: Any) -> str:
    root = chat_server_url.removesuffix("/v1")
    async with aiohttp.ClientSession() as session, session.post(f"{root}/apply-template", json=body) as answer:
        return str((await answer.json())["prompt"])


async def _idle(chat_server_url: str) -> bool:
    return await busy_slots(chat_server_url) == 0
