"""Requests under OpenAI's paths on their way to the model's server, and its answers on their way back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sophia.access.base import Ask, Entry, Grant, Hit, UnderWay
from sophia.access.estimate import BYTES_PER_TOKEN
from sophia.gateway.body import decode, misfit, read_body
from sophia.gateway.caching import HEADER, CachePlan, Kept, read_kept
from sophia.gateway.deps import Call
from sophia.gateway.errors import UnknownModel, openai_error, rate_headers
from sophia.gateway.metering import Meter
from sophia.gateway.openai_stream import Tap
from sophia.gateway.streaming import send_chunk, send_end, send_start, while_connected
from sophia.inference.base import ModelCard, Reply
from sophia.nouns.errors import Forbidden, InvalidInput, RateLimited, SophiaError, Unavailable, UpstreamError
from sophia.nouns.task import Tier

T = TypeVar("T", bound=msgspec.Struct)

PROVIDER_HEADER = "x-sophia-provider"
FOLLOW_S = 0.25
"""The longest pause between two looks at a request that is waited for."""
_OF_STREAMS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
TELL_EVERY = 16
"""Streamed events between two looks at what was used."""
MESSAGE_CHARACTERS = 500
CHOICE_HEADERS = ("x-sophia-provider", "x-sophia-attempts")
"""Which deployment answered, after how many attempts."""
_TIERS = frozenset(tier.value for tier in Tier)


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
    """The upstream's answer, admitted and metered: bytes pass as they come, and when the client goes away the upstream is
    told at once. ``bounded``: the request itself says how long its answer may get. ``plan``: where it is to be kept."""

    def __init__(
        self,
        call: Call,
        card: ModelCard,
        path: str,
        document: dict[str, Any],
        ask: Ask,
        *,
        bounded: bool = True,
        plan: CachePlan | None = None,
    ) -> None:
        super().__init__()
        self._call = call
        self._gate = call.deps.gate
        self._card = card
        self._path = path
        self._ask = ask
        self._plan = plan
        self._entries: list[Entry] = []
        self._saved = 0
        self._served_by: str | None = None
        self._hides_usage = False
        self._document = self._prepared(document, bounded)

    def _prepared(self, document: dict[str, Any], bounded: bool) -> dict[str, Any]:
        """What is sent on: as it came, but that a stream says what it used, and that an answer under a budget has an end."""
        if document.get("stream") is True and self._card.kind == "chat":
            options = document.get("stream_options")
            known = options if isinstance(options, dict) else {}
            if known.get("include_usage") is not True:
                self._hides_usage = True
                return {**document, "stream_options": {**known, "include_usage": True}}
        elif not bounded and self._ask.capped:
            return {**document, "max_tokens": self._ask.output_tokens}
        return document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._admitted(send))

    async def _admitted(self, send: Send) -> None:
        opened, waited = await self._open()
        if isinstance(opened, Hit):
            await self._replay(send, opened, "shared" if waited else "hit")
            return
        meter = Meter(self._card, self._ask, opened)
        try:
            await self._relay(send, opened, meter)
        finally:
            usage = meter.usage
            self._gate.settle(
                opened, usage, provider=self._served_by, entries=self._entries, saved_nano_usd=self._saved
            )
            self._call.context.metrics.used(self._card.id, usage)

    async def _open(self) -> tuple[Grant | Hit, bool]:
        """What the gate gives, and whether another request that is the same was waited for. After ``caches.wait_s`` it is
        made for itself: whoever leads may have died, or be slow."""
        clock, ask = self._call.deps.clock, self._ask
        until_s, pause_s, waited = clock.monotonic_s() + self._call.settings.caches.wait_s, 0.01, False
        while True:
            opened = await self._gate.open(ask)
            if not isinstance(opened, UnderWay):
                return opened, waited
            waited = True
            if clock.monotonic_s() > until_s and ask.cache is not None:
                ask = self._ask = replace(ask, cache=replace(ask.cache, lead_s=0))
            else:
                await asyncio.sleep(min(pause_s, opened.at_most_s))
                pause_s = min(pause_s * 1.5, FOLLOW_S)

    async def _replay(self, send: Send, hit: Hit, state: str) -> None:
        """The answer as it was given, piece by piece."""
        kept = read_kept(hit.cached[0])
        self._gate.count_hit(hit, kept.nano_usd)
        self._call.context.metrics.cached("chat", state, kept.nano_usd)
        headers = {**rate_headers(hit.rates), "Content-Type": kept.kind, HEADER: state}
        if len(kept.pieces) == 1 and not kept.kind.startswith("text/event-stream"):
            headers["Content-Length"] = str(len(kept.pieces[0]))
            await send_start(send, 200, headers)
            await send({"type": "http.response.body", "body": kept.pieces[0], "more_body": False})
            return
        await send_start(send, 200, headers | _OF_STREAMS)
        for piece in kept.pieces:
            await send_chunk(send, piece)
        await send_end(send)

    async def _forward(self, document: Mapping[str, Any], meter: Meter) -> Reply:
        meter.sent = True
        try:
            reply = await self._call.deps.models.forward(self._card, self._path, document)
        except SophiaError:
            meter.refused()
            raise
        self._served_by = reply.headers.get(PROVIDER_HEADER)
        return reply

    async def _relay(self, send: Send, grant: Grant, meter: Meter) -> None:
        reply = await self._forward(self._document, meter)
        try:
            if reply.status >= 400:
                meter.refused()
                raise refusal(self._card.provider, reply.status, reply.headers, await reply.read())
            headers = rate_headers(grant.rates)
            if self._plan is not None:
                headers[HEADER] = "miss"
                self._call.context.metrics.cached("chat", "miss", 0)
            answered = reply.headers
            headers["Content-Type"] = answered.get("content-type", "application/json")
            headers.update((name, answered[name]) for name in CHOICE_HEADERS if name in answered)
            if headers["Content-Type"].startswith("text/event-stream"):
                await self._stream(reply, headers, send, grant, meter)
            else:
                await self._whole(reply, headers, send, meter)
        finally:
            await reply.close()

    async def _whole(self, reply: Reply, headers: dict[str, str], send: Send, meter: Meter) -> None:
        body = await reply.read()
        if not meter.report(body):
            meter.pieces = min(self._ask.output_tokens, len(body) // BYTES_PER_TOKEN)
        self._keep(headers["Content-Type"], [body] if reply.status == 200 else [], meter)
        headers["Content-Length"] = str(len(body))
        await send_start(send, reply.status, headers)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, reply: Reply, headers: dict[str, str], send: Send, grant: Grant, meter: Meter) -> None:
        headers |= _OF_STREAMS
        await send_start(send, reply.status, headers)
        ask = self._ask
        tap = Tap(meter, hide_usage=self._hides_usage, most_pieces=ask.output_tokens if ask.capped else None)
        told, size = 0, 0
        pieces: list[bytes] = []
        most = self._plan.max_bytes if self._plan is not None else -1
        try:
            async for chunk in reply.chunks():
                block = tap.feed(chunk)
                if block:
                    await send_chunk(send, block)
                    if size <= most:
                        size += len(block)
                        pieces.append(block)
                if meter.pieces - told >= TELL_EVERY:
                    told = meter.pieces
                    self._gate.progress(grant, meter.usage)
                    if tap.used_up:
                        await send_chunk(send, self._cut(tap))
                        break
            else:
                if not tap.complete:
                    # A connection that is closed says nothing; without this, half an answer passes for a whole one.
                    raise Unavailable(f"the stream of {self._card.provider} broke off")
                if size <= most and pieces:
                    self._keep(headers["Content-Type"], pieces, meter)
        except SophiaError as error:
            # The status has gone out already: clients take an `error` in the stream for the failure it is.
            body = msgspec.json.encode(openai_error(error)[1])
            await send_chunk(send, b"data: " + body + b"\n\n")
        await send_end(send)

    def _keep(self, kind: str, pieces: list[bytes], meter: Meter) -> None:
        """Only what is complete."""
        if self._plan is None or not pieces:
            return
        entry = self._plan.entry(Kept(kind, meter.usage.cost_nano_usd, pieces))
        if entry is not None:
            self._entries.append(entry)

    def _cut(self, tap: Tap) -> bytes:
        notice = (
            f"ended by the gateway: the {self._ask.output_tokens:,} tokens that were reserved of the budget for this answer "
            "are used up; name a larger max_tokens"
        )
        choices = self._document.get("n")
        return tap.cut(notice, choices if isinstance(choices, int) and choices > 0 else 1)


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
