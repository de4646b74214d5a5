"""Requests under OpenAI's paths on their way to the model's server, and its answers on their way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sophia.gateway.body import decode, misfit, read_body
from sophia.gateway.deps import Call
from sophia.gateway.errors import UnknownModel, openai_error
from sophia.gateway.openai_schemas import TokenUsage
from sophia.gateway.streaming import send_chunk, send_end, send_start, while_connected
from sophia.inference.base import ModelCard, Reply
from sophia.nouns.errors import Forbidden, InvalidInput, RateLimited, SophiaError, Unavailable, UpstreamError
from sophia.nouns.task import Tier

T = TypeVar("T", bound=msgspec.Struct)

TAIL_BYTES = 16_384
"""Of a stream, kept to find its usage in: it stands in one of the last chunks."""
MESSAGE_CHARACTERS = 500
_TIERS = frozenset(tier.value for tier in Tier)

Count = Callable[[TokenUsage], None]


class _HasUsage(msgspec.Struct):
    usage: TokenUsage | None = None


async def read_request(call: Call, shape: type[T]) -> tuple[dict[str, Any], T]:
    """The whole body, and the parts of it that we look at."""
    document = decode(await read_body(call.request, call.settings.server.max_body_bytes), dict[str, Any])
    try:
        return document, msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise misfit(str(error), shape) from error


def resolve(call: Call, name: str, kind: str) -> ModelCard:
    """A model by its name or a tier's. Raises ``UnknownModel`` that names the known ones, and ``Forbidden`` for one that
    the key may not use."""
    models = call.deps.models
    try:
        if name in _TIERS and all(card.id != name for card in models.cards()):
            card = models.resolve(None, kind=kind, tier=name)
        else:
            card = models.resolve(name, kind=kind)
    except InvalidInput as error:
        raise UnknownModel(error.message, field="model", mend=error.mend) from error
    allowed = call.holder.limits.models
    if allowed and card.id not in allowed:
        raise Forbidden(f"this key may not use {card.id!r}", field="model", mend=f"allowed: {', '.join(allowed)}")
    return card


class Forwarded(Response):
    """The upstream's answer: bytes pass as they come, and when the client goes away the upstream is told at once."""

    def __init__(self, call: Call, card: ModelCard, path: str, document: Mapping[str, Any], count: Count) -> None:
        super().__init__()
        self._models = call.deps.models
        self._card = card
        self._path = path
        self._document = document
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._relay(send))

    async def _relay(self, send: Send) -> None:
        reply = await self._models.forward(self._card, self._path, self._document)
        try:
            if reply.status >= 400:
                raise refusal(self._card.provider, reply.status, reply.headers, await reply.read())
            kind = reply.headers.get("content-type", "application/json")
            if kind.startswith("text/event-stream"):
                await self._stream(reply, kind, send)
            else:
                await self._whole(reply, kind, send)
        finally:
            await reply.close()

    async def _whole(self, reply: Reply, kind: str, send: Send) -> None:
        body = await reply.read()
        self._tally(body)
        await send_start(send, reply.status, {"Content-Type": kind, "Content-Length": str(len(body))})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, reply: Reply, kind: str, send: Send) -> None:
        await send_start(
            send, reply.status, {"Content-Type": kind, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        tail = b""
        try:
            async for chunk in reply.chunks():
                await send_chunk(send, chunk)
                tail = (tail + chunk)[-TAIL_BYTES:]
        except SophiaError as error:
            # The status has gone out already: clients take an `error` in the stream for the failure it is.
            body = msgspec.json.encode(openai_error(error)[1])
            await send_chunk(send, b"data: " + body + b"\n\n")
        else:
            self._tally_stream(tail)
        await send_end(send)

    def _tally_stream(self, tail: bytes) -> None:
        for line in reversed(tail.splitlines()):
            if line.startswith(b"data:") and b'"usage"' in line and self._tally(line[5:]):
                return

    def _tally(self, body: bytes) -> bool:
        """Count what the provider says it used; a provider that says nothing counts for nothing."""
        try:
            usage = msgspec.json.decode(body, type=_HasUsage).usage
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if usage is not None:
            self._count(usage)
        return usage is not None


def refusal(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> SophiaError:
    """A provider's error status as ours: what the caller can mend stays a 4xx, what only we can mend becomes a 5xx."""
    message, parameter = _reason(body)
    text = f"{provider} answered {status}" + (f": {message}" if message else "")
    if status == 429:
        return RateLimited(text, retry_after_s=_seconds(headers.get("retry-after")))
    if status in (400, 413, 422):
        return InvalidInput(message or text, field=parameter)
    if status >= 500 or status == 408:
        return Unavailable(text, retry_after_s=_seconds(headers.get("retry-after")) or 1.0)
    return UpstreamError(text, status=status)


def _reason(body: bytes) -> tuple[str, str | None]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace").strip()[:MESSAGE_CHARACTERS], None
    error = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(error, dict):
        return str(error)[:MESSAGE_CHARACTERS], None
    parameter = error.get("param")
    return str(error.get("message", error))[:MESSAGE_CHARACTERS], parameter if isinstance(parameter, str) else None


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None
