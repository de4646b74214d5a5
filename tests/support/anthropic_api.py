"""Anthropic's Messages API played over HTTP: requests are held to its published shape, answers come in its sequence.

From its API reference (version 2023-06-01): required and allowed fields, block types by role, turns, event order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
from aiohttp import web

KEY = "sk-ant-test"


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class CacheControl(_Strict):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Text(_Strict, tag="text"):
    text: str
    cache_control: CacheControl | None = None


class Base64(_Strict, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class Url(_Strict, tag="url"):
    url: str


class Image(_Strict, tag="image"):
    source: Base64 | Url
    cache_control: CacheControl | None = None


class ToolUse(_Strict, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class ToolResult(_Strict, tag="tool_result"):
    tool_use_id: str
    content: str | list[Text | Image] | None = None
    is_error: bool | None = None


class Message(_Strict):
    role: Literal["user", "assistant"]
    content: str | list[Text | Image | ToolUse | ToolResult]


class Tool(_Strict):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class ToolChoice(_Strict):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Format(_Strict):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(_Strict):
    format: Format | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Metadata(_Strict):
    user_id: str | None = None


class Request(_Strict):
    model: str
    max_tokens: int
    messages: list[Message]
    system: str | list[Text] | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    service_tier: str | None = None
    thinking: dict[str, Any] | None = None


class AnthropicApi:
    """``content`` are the blocks it answers with; ``refuse`` a status and an error type instead."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.raw: list[dict[str, Any]] = []
        self.content: list[dict[str, Any]] = [{"type": "text", "text": "Hello there"}]
        self.stop_reason = "end_turn"
        self.usage = {
            "input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 3,
            "output_tokens": 7,
        }
        self.refuse: tuple[int, str, str] | None = None
        self.error_in_stream: str | None = None
        self.hang_after: int | None = None
        self.cut_after: int | None = None
        self.gone = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("x-api-key") != KEY or "authorization" in request.headers:
            return _error(401, "authentication_error", "invalid x-api-key")
        if request.headers.get("anthropic-version") != "2023-06-01":
            return _error(400, "invalid_request_error", "anthropic-version: header is required")
        body = await request.read()
        try:
            asked = msgspec.json.decode(body, type=Request)
            _check(asked)
        except (msgspec.ValidationError, ValueError) as error:
            return _error(400, "invalid_request_error", str(error))
        self.requests.append(asked)
        self.raw.append(msgspec.json.decode(body))
        if self.refuse is not None:
            return _error(*self.refuse)
        try:
            return await self._streamed(request, asked) if asked.stream else self._whole(asked)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise

    def _message(self, asked: Request, **more: Any) -> dict[str, Any]:
        return {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self.usage,
            **more,
        }

    def _whole(self, asked: Request) -> web.Response:
        message = self._message(asked, content=self.content, stop_reason=self.stop_reason)
        return web.json_response(message, headers={"request-id": "req_1"})

    async def _streamed(self, request: web.Request, asked: Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, event in enumerate(self._events(asked)):
            if number == self.cut_after:
                assert request.transport is not None
                request.transport.close()
                return response
            if number == self.hang_after:
                await asyncio.Event().wait()
            data = f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"
            # In pieces, as a network gives them.
            await response.write(data[:9])
            await response.write(data[9:])
        return response

    def _events(self, asked: Request) -> list[dict[str, Any]]:
        began = {**self.usage, "output_tokens": 1}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": self._message(asked, usage=began)},
            {"type": "ping"},
        ]
        for index, block in enumerate(self.content):
            events.append({"type": "content_block_start", "index": index, "content_block": _opened(block)})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(block)]
            events.append({"type": "content_block_stop", "index": index})
        if self.error_in_stream:
            error = {"type": self.error_in_stream, "message": "Overloaded"}
            return [*events, {"type": "error", "error": error}]
        return [
            *events,
            {
                "type": "message_delta",
                "delta": {"stop_reason": self.stop_reason, "stop_sequence": None},
                "usage": {"output_tokens": self.usage["output_tokens"]},
            },
            {"type": "something_of_tomorrow", "odd": True},
            {"type": "message_stop"},
        ]


def _opened(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "tool_use": {"input": {}},
        "thinking": {"thinking": "", "signature": ""},
    }
    return {**block, **empty[block["type"]]}


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        half = len(block["text"]) // 2
        return [{"type": "text_delta", "text": text} for text in (block["text"][:half], block["text"][half:])]
    if block["type"] == "thinking":
        return [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": "c2ln"},
        ]
    text = msgspec.json.encode(block["input"]).decode()
    return [{"type": "input_json_delta", "partial_json": part} for part in ("", text[:5], text[5:])]


def _check(asked: Request) -> None:
    """What the shape alone does not say."""
    if not asked.messages:
        raise ValueError("messages: at least one message is required")
    if asked.messages[0].role != "user":
        raise ValueError("messages: first message must use the user role")
    if asked.temperature is not None and not 0 <= asked.temperature <= 1:
        raise ValueError("temperature: range: 0..1")
    if asked.max_tokens < 1:
        raise ValueError("max_tokens: must be at least 1")
    if asked.tool_choice and asked.tool_choice.type == "tool" and not asked.tool_choice.name:
        raise ValueError("tool_choice.name: field required")
    waiting: set[str] = set()
    for number, message in enumerate(asked.messages):
        blocks = [Text(text=message.content)] if isinstance(message.content, str) else message.content
        results = {block.tool_use_id for block in blocks if isinstance(block, ToolResult)}
        if results != waiting:
            raise ValueError(
                f"messages.{number}: tool_use ids were found without tool_result blocks, or unexpected ones"
            )
        waiting = {block.id for block in blocks if isinstance(block, ToolUse)}
        for block in blocks:
            if isinstance(block, Text) and not block.text:
                raise ValueError(f"messages.{number}: text content blocks must be non-empty")
            if isinstance(block, ToolUse) != (message.role == "assistant") and not isinstance(block, Text):
                raise ValueError(f"messages.{number}: blocks do not belong to {message.role}")


def _error(status: int, kind: str, message: str) -> web.Response:
    document = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    headers = {"request-id": "req_1"}
    if status == 429:
        headers["retry-after"] = "7"
    return web.json_response(document, status=status, headers=headers)


@contextlib.asynccontextmanager
async def anthropic_api() -> AsyncIterator[AnthropicApi]:
    played = AnthropicApi()
    app = web.Application()
    app.router.add_post("/v1/messages", played.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield played
    finally:
        await runner.cleanup()
