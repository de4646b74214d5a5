"""Answers read for our own use: JSON, and streams of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from sophia.inference.client import Answer
from sophia.inference.refusals import refusal, refusal_in_stream
from sophia.inference.sse import SseParser
from sophia.nouns.errors import Unavailable, UpstreamError


async def whole(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer. Raises what ``refusal`` gives for other statuses than 200."""
    content = await answer.read()
    if answer.status != 200:
        raise refusal(answer.provider, answer.status, answer.headers, content)
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"{answer.provider} did not answer with JSON: {error}", status=answer.status) from error
    if not isinstance(document, dict):
        raise UpstreamError(f"{answer.provider} did not answer with a JSON object", status=answer.status)
    return document


async def events(answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """The JSON chunks of a streamed answer.

    Raises what ``refusal`` gives for other statuses than 200 and for errors in the stream, and ``Unavailable`` when it
    ends before its ``[DONE]``.
    """
    if answer.status != 200:
        raise refusal(answer.provider, answer.status, answer.headers, await answer.read())
    parser = SseParser()
    async with aclosing(answer.chunks()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            for data in parser.feed(chunk):
                if data == b"[DONE]":
                    return
                yield _decode(answer.provider, data)
    raise Unavailable(f"the stream of {answer.provider} broke off")


def _decode(provider: str, data: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"{provider} streamed what is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise UpstreamError(f"{provider} streamed what is not a JSON object")
    if event.get("error"):
        raise refusal_in_stream(provider, event["error"])
    return event
