"""Chunks to the plain answer they amount to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sophia.inference.assembly import assemble_chat


async def chunks(*documents: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for document in documents:
        yield {"id": "c1", "object": "chat.completion.chunk", "model": "m", **document}


def choice(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason, **more}]}


async def test_text_finish_reason_and_usage():
    document = await assemble_chat(
        chunks(
            choice({"role": "assistant", "content": None}),
            choice({"content": "Hel"}),
            choice({"content": "lo"}),
            choice({}, "stop"),
            {"choices": [], "usage": {"total_tokens": 3}},
        )
    )
    assert document == {
        "id": "c1",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"},
        ],
        "usage": {"total_tokens": 3},
    }


async def test_tool_calls_come_in_pieces():
    def call(index: int, **function: str) -> dict[str, Any]:
        part: dict[str, Any] = {"index": index, "function": function}
        if "name" in function:
            part |= {"id": f"call-{index}", "type": "function"}
        return choice({"tool_calls": [part]})

    document = await assemble_chat(
        chunks(
            call(0, name="get_weather", arguments=""),
            call(0, arguments='{"city":'),
            call(0, arguments='"Paris"}'),
            call(1, name="get_time", arguments="{}"),
            choice({}, "tool_calls"),
        )
    )
    message = document["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call-0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}},
        {"id": "call-1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
    ]
    assert document["choices"][0]["finish_reason"] == "tool_calls"


async def test_several_choices_and_their_logprobs():
    document = await assemble_chat(
        chunks(
            choice({"content": "b"}, index=1),
            choice({"content": "a"}, index=0, logprobs={"content": [{"token": "a"}]}),
            choice({"content": "A"}, "stop", index=0, logprobs={"content": [{"token": "A"}]}),
            choice({}, "length", index=1),
        )
    )
    assert [one["message"]["content"] for one in document["choices"]] == ["aA", "b"]
    assert document["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "A"}]}
    assert [one["finish_reason"] for one in document["choices"]] == ["stop", "length"]
