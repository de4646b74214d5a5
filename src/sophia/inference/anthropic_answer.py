"""Answers of Anthropic's Messages API in OpenAI's form: whole ones, errors, and event streams chunk by chunk."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Also what an error within a stream would have been as a status."""
_PARAMETER = re.compile(r"^`?([a-z_]+)[a-z_.0-9`]*(?::| and | is | may | cannot )")


def completion(message: Mapping[str, Any]) -> dict[str, Any]:
    """A ``chat.completion`` of a message. Thinking is given as ``reasoning_content``."""
    texts, thoughts, calls = [], [], []
    for block in message.get("content") or []:
        kind = block.get("type")
        if kind == "text":
            texts.append(block.get("text") or "")
        elif kind == "thinking":
            thoughts.append(block.get("thinking") or "")
        elif kind == "tool_use":
            calls.append(_call(block, msgspec.json.encode(block.get("input") or {}).decode()))
    answer: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        answer["reasoning_content"] = "".join(thoughts)
    if calls:
        answer["tool_calls"] = calls
    answer["refusal"] = None
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.get("model"),
        "choices": [
            {
                "index": 0,
                "message": answer,
                "logprobs": None,
                "finish_reason": FINISH.get(message.get("stop_reason") or "", "stop"),
            }
        ],
        "usage": usage(message.get("usage") or {}),
    }


def usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI counts what was read from the cache among the prompt's tokens, Anthropic beside them."""
    read = counts.get("cache_read_input_tokens") or 0
    written = counts.get("cache_creation_input_tokens") or 0
    prompt = (counts.get("input_tokens") or 0) + read + written
    answered = counts.get("output_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": prompt + answered,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


def error_document(body: bytes) -> dict[str, Any]:
    """An error body in OpenAI's form; ``param`` where the message begins with a parameter's name."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        error = {"type": "api_error", "message": body.decode("utf-8", "replace")[:500]}
    return {"error": _error(error)}


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    message = str(error.get("message") or "")
    kind = str(error.get("type") or "api_error")
    named = _PARAMETER.match(message) if kind == "invalid_request_error" else None
    return {"message": message, "type": kind, "param": named[1] if named else None, "code": kind}


def _call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


class StreamTranslation:
    """Events in, ``chat.completion.chunk`` objects out, each as one server-sent event.

    ``done`` is True once the message has ended, well or (``failed``) with an error; a stream that ends without it
    broke off.
    """

    def __init__(self, *, include_usage: bool) -> None:
        self.done = self.failed = False
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}
        self._calls: dict[int, int] = {}
        """Content block's index -> the tool call's."""

    def feed(self, data: bytes) -> bytes:
        """Raises msgspec's ``DecodeError`` for what is not JSON."""
        event = msgspec.json.decode(data)
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "message_start":
            return self._start(event["message"])
        if kind == "content_block_start":
            return self._block(event)
        if kind == "message_delta":
            return self._stop(event)
        if kind == "message_stop":
            self.done = True
            return self._end()
        if kind == "error":
            self.done = self.failed = True
            error = _error(event.get("error") or {})
            return _event({"error": {**error, "code": STATUSES.get(error["type"], 500)}})
        # ping, content_block_stop, and what may come: the API asks to pass over what one does not know.
        return b""

    def _start(self, message: Mapping[str, Any]) -> bytes:
        self._head = {
            "id": message.get("id"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": message.get("model"),
        }
        self._counts.update(message.get("usage") or {})
        return self._chunk({"role": "assistant", "content": ""})

    def _block(self, event: Mapping[str, Any]) -> bytes:
        block = event["content_block"]
        if block.get("type") == "tool_use":
            number = self._calls[event["index"]] = len(self._calls)
            return self._chunk({"tool_calls": [{"index": number, **_call(block, "")}]})
        if block.get("type") == "text" and block.get("text"):
            return self._chunk({"content": block["text"]})
        return b""

    def _delta(self, event: Mapping[str, Any]) -> bytes:
        delta = event["delta"]
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunk({"content": delta["text"]})
        if kind == "input_json_delta" and event["index"] in self._calls and delta.get("partial_json"):
            number = self._calls[event["index"]]
            return self._chunk({"tool_calls": [{"index": number, "function": {"arguments": delta["partial_json"]}}]})
        if kind == "thinking_delta":
            return self._chunk({"reasoning_content": delta["thinking"]})
        return b""

    def _stop(self, event: Mapping[str, Any]) -> bytes:
        # Its counts are the message's so far, not what came since.
        self._counts.update({name: n for name, n in (event.get("usage") or {}).items() if n is not None})
        reason = (event.get("delta") or {}).get("stop_reason")
        return self._chunk({}, FINISH.get(reason, "stop")) if reason else b""

    def _end(self) -> bytes:
        last = b"data: [DONE]\n\n"
        if not self._include_usage:
            return last
        return _event({**self._head, "choices": [], "usage": usage(self._counts)}) + last

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head, "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return _event(chunk)


def _event(document: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
