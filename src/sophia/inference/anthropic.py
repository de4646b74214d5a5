"""Client of Anthropic's own API behind the OpenAI-shaped door."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from sophia.inference.anthropic_answer import StreamTranslation, completion, error_document
from sophia.inference.anthropic_request import MAX_TOKENS, messages_request
from sophia.inference.assembly import AssembledReply
from sophia.inference.client import CHAT_PATH, Answer, Limits
from sophia.inference.reply import HttpReply
from sophia.inference.sse import SseParser
from sophia.inference.upstream import Upstream
from sophia.nouns.errors import InvalidInput, Unavailable, UpstreamError
from sophia.settings.loaded import ResolvedProvider


class AnthropicUpstream:
    """Implements ``Client``. ``base_url`` with or without ``/v1`` at its end: Anthropic's own clients leave it out."""

    def __init__(self, provider: ResolvedProvider) -> None:
        self._provider = provider
        self._http = Upstream(provider)

    async def forward(self, path: str, body: Mapping[str, Any], limits: Limits, left_s: float) -> Answer:
        if path != CHAT_PATH:
            raise InvalidInput(f"Anthropic serves chats, not {path}", field="model", mend="a model of another provider")
        streamed = body.get("stream") is True
        request = messages_request(body, max_tokens=self._provider.settings.max_tokens or MAX_TOKENS)
        url = self._provider.base_url.removesuffix("/v1") + "/v1/messages"
        reply = await self._http.post(url, request, limits, left_s, streamed=streamed)
        try:
            if reply.status == 200 and streamed:
                options = body.get("stream_options")
                wanted = isinstance(options, dict) and options.get("include_usage") is True
                return TranslatedStream(reply, include_usage=wanted)
            content = await reply.read()
        except BaseException:
            await reply.close()
            raise
        if reply.status != 200:
            refused = AssembledReply(error_document(content), reply.provider, reply.status)
            kept = {name: value for name, value in reply.headers.items() if name != "content-type"}
            refused.mark(kept)
            return refused
        try:
            message = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise UpstreamError(f"{reply.provider} did not answer with a JSON object: {error}", status=200) from error
        whole = AssembledReply(completion(message), reply.provider)
        whole.mark({name: value for name, value in reply.headers.items() if name == "request-id"})
        return whole

    async def close(self) -> None:
        await self._http.close()


class TranslatedStream:
    """An ``Answer`` that translates event by event. It begins with the first event that says something."""

    def __init__(self, reply: HttpReply, *, include_usage: bool) -> None:
        self.status = 200
        self.provider = reply.provider
        self._reply = reply
        self._translation = StreamTranslation(include_usage=include_usage)
        self._chunks = self._translated()
        self._first = b""
        self._marks: Mapping[str, str] = {}
        self._on_end: Callable[[bool], None] | None = None
        self._broken = False

    @property
    def on_end(self) -> Callable[[bool], None] | None:
        return self._on_end

    @on_end.setter
    def on_end(self, call: Callable[[bool], None] | None) -> None:
        self._on_end = call
        self._reply.on_end = self._ended

    @property
    def headers(self) -> Mapping[str, str]:
        return {**self._reply.headers, "content-type": "text/event-stream; charset=utf-8", **self._marks}

    def mark(self, headers: Mapping[str, str]) -> None:
        self._marks = headers

    async def begin(self) -> bytes:
        if not self._first:
            self._first = await anext(self._chunks, b"")
        return self._first

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            if self._first:
                yield self._first
            async for chunk in self._chunks:
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        await self._chunks.aclose()
        await self._reply.close()

    def _ended(self, broken: bool) -> None:
        if self._on_end is not None:
            self._on_end(broken or self._broken)

    async def _translated(self) -> AsyncGenerator[bytes]:
        parser = SseParser()
        translate = self._translation.feed
        async with aclosing(self._reply.chunks()) as chunks:
            async for chunk in chunks:
                try:
                    out = b"".join(map(translate, parser.feed(chunk)))
                except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
                    self._broken = True
                    raise UpstreamError(f"{self.provider} streamed what is no event of its API: {error!r}") from error
                self._broken = self._translation.failed
                if out:
                    yield out
                if self._translation.done:
                    return
        self._broken = True
        raise Unavailable(f"the stream of {self.provider} broke off")
