"""The same calls of the official client, through the gateway and straight to the model's server: equal but for ids,
times and speed."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest_asyncio

from sophia.inference.directory import ModelDirectory
from tests.support.gateways import KEY, front_of_house

CHAT, EMBEDDING = "smollm2-135m-instruct", "all-minilm-l6-v2"
APART = frozenset({"id", "created", "timings", "system_fingerprint", "prompt_tokens_details"})
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
        },
    },
}
OTHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "seed": {"seed": 7, "temperature": 1.3, "top_p": 0.9},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "several answers": {"n": 2},
    "JSON object": {"response_format": {"type": "json_object"}},
    "JSON schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA, "strict": True}}
    },
    "tools": {"tools": [TOOL], "tool_choice": "auto"},
    "a tool that must be called": {"tools": [TOOL], "tool_choice": "required"},
    "tools in parallel": {"tools": [TOOL, OTHER_TOOL], "parallel_tool_calls": True, "tool_choice": "required"},
}

STREAMED = frozenset({"plain", "seed", "logprobs", "a tool that must be called"})


@pytest_asyncio.fixture
async def both(
    redis_url: str, tmp_path: Path, models: ModelDirectory, chat_server_url: str
) -> AsyncIterator[tuple[openai.AsyncOpenAI, openai.AsyncOpenAI]]:
    """Through the gateway, and straight to the chat server."""
    async with (
        front_of_house(redis_url, tmp_path, models=models) as platform,
        openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, max_retries=0, timeout=90) as ours,
        openai.AsyncOpenAI(base_url=chat_server_url, api_key="none", max_retries=0, timeout=90) as theirs,
    ):
        yield ours, theirs


def compared(value: Any) -> Any:
    """Without what differs from call to call."""
    if isinstance(value, dict):
        return {name: compared(inner) for name, inner in value.items() if name not in APART and inner is not None}
    return [compared(inner) for inner in value] if isinstance(value, list) else value


async def asked(client: openai.AsyncOpenAI, call: dict[str, Any], *, stream: bool) -> Any:
    """What the client makes of the answer; of an error its class, status and form."""
    request: dict[str, Any] = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "Name a city."}],
        "max_tokens": 24,
        "temperature": 0,
        "extra_body": {"cache_prompt": False},
        **call,
    }
    try:
        if not stream:
            return compared((await client.chat.completions.create(**request)).to_dict())
        chunks = await client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
        return [compared(chunk.to_dict()) async for chunk in chunks]
    except openai.APIStatusError as error:
        return type(error), "error"


async def test_chat_is_the_same_with_and_without_the_gateway(
    both: tuple[openai.AsyncOpenAI, openai.AsyncOpenAI],
) -> None:
    ours, theirs = both
    for name, call in CALLS.items():
        for stream in (False, True) if name in STREAMED else (False,):
            direct = await asked(theirs, call, stream=stream)
            through = await asked(ours, call, stream=stream)
            assert through == without_end(direct), f"{name}, stream={stream}"


def without_end(answer: Any) -> Any:
    """llama.cpp lists the probability of the token that ends an answer where the answer is not streamed. The gateway asks
    it for a stream all the same, because it goes on with a plain answer when nobody waits for it any more."""
    for choice in answer.get("choices", []) if isinstance(answer, dict) else []:
        tokens = choice.get("logprobs", {}).get("content", [])
        if tokens and not tokens[-1]["token"]:
            tokens.pop()
    return answer


async def test_embeddings_are_the_same(
    both: tuple[openai.AsyncOpenAI, openai.AsyncOpenAI], embedding_server_url: str
) -> None:
    ours, _ = both
    async with openai.AsyncOpenAI(base_url=embedding_server_url, api_key="none", max_retries=0) as theirs:
        for options in (
            {},
            {"encoding_format": "float"},
            {"encoding_format": "base64"},
            {"dimensions": 64},
            {"user": "u"},
        ):
            for texts in ("one", ["one", "two", "one"]):
                answers: list[Any] = []
                for client in (theirs, ours):
                    try:
                        made = await client.embeddings.create(model=EMBEDDING, input=texts, **options)
                        # Not the usage: what the gateway has in its cache is not counted again.
                        answers.append([numbers(row.embedding) for row in made.data])
                    except openai.BadRequestError as error:
                        answers.append([error.status_code])
                assert answers[0] == answers[1], options


def numbers(embedding: Any) -> list[float]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding)
        return [round(value, 5) for value in struct.unpack(f"<{len(raw) // 4}f", raw)]
    return [round(value, 5) for value in embedding]
