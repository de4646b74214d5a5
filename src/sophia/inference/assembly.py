"""A streamed chat answer put together into the plain one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import msgspec


class AssembledReply:
    """An ``Answer`` whose body is already here."""

    def __init__(self, document: Mapping[str, Any], provider: str, status: int = 200) -> None:
        self.status = status
        self.provider = provider
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        self.on_end: Callable[[bool], None] | None = None
        self._body = msgspec.json.encode(document)

    async def begin(self) -> bytes:
        await self.close()
        return self._body

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._body

    def mark(self, headers: Mapping[str, str]) -> None:
        self.headers = {**self.headers, **headers}

    async def close(self) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end(False)


async def assemble_chat(chunks: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The ``chat.completion`` object that ``chat.completion.chunk`` objects amount to."""
    document: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    async for chunk in chunks:
        for part in chunk.pop("choices", []):
            index = part.get("index", 0)
            _merge_choice(choices.setdefault(index, _new_choice(index)), part)
        document.update(chunk)
    document["object"] = "chat.completion"
    document["choices"] = [choices[index] for index in sorted(choices)]
    return document


def _new_choice(index: int) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}


def _merge_choice(choice: dict[str, Any], part: dict[str, Any]) -> None:
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
    for token in (part.get("logprobs") or {}).get("content") or []:
        choice.setdefault("logprobs", {"content": []})["content"].append(token)
    message = choice["message"]
    for key, value in (part.get("delta") or {}).items():
        if key == "tool_calls":
            for call in value or []:
                _merge_tool_call(message.setdefault("tool_calls", []), call)
        elif key == "role":
            message["role"] = value
        elif isinstance(value, str):
            message[key] = (message.get(key) or "") + value


def _merge_tool_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    index = part.get("index", len(calls))
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[index]
    call["id"] = part.get("id") or call["id"]
    call["type"] = part.get("type") or call["type"]
    function = part.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
