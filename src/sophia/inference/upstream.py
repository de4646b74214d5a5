"""HTTP client of one OpenAI-compatible provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
import msgspec

from sophia.inference.assembly import AssembledReply, assemble_chat
from sophia.inference.base import Reply
from sophia.inference.refusals import refusal, refusal_in_stream
from sophia.inference.reply import HttpReply, unreachable_as_unavailable
from sophia.inference.sse import SseParser
from sophia.nouns.errors import Unavailable, UpstreamError
from sophia.settings.loaded import ResolvedProvider

CHAT_PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"

# llama.cpp and uvicorn close an idle connection after 5 s: one that is older may be closing when it is used.
_LOCAL_KEEPALIVE_S = 4.0
_REMOTE_KEEPALIVE_S = 30.0


class Upstream:
    """Calls one provider, at most ``max_concurrency`` at a time; further calls wait in order.

    Raises ``Unavailable`` when the provider cannot be reached, stays silent, answers 5xx or has no free call within
    ``first_token_timeout_s``; ``RateLimited`` on 429; ``UpstreamError`` on other refusals.
    """

    def __init__(self, provider: ResolvedProvider) -> None:
        self.name = provider.name
        self._provider = provider
        self._settings = provider.settings
        self._slots = asyncio.Semaphore(provider.settings.max_concurrency)
        self._session: aiohttp.ClientSession | None = None
        # llama.cpp generates on after the client of a plain request has gone (its issue 24496), but not of a stream.
        self._streams_plain_chat = provider.settings.kind == "llama_embedded"

    async def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A plain request's JSON answer."""
        reply = await self._send(path, body, wait_s=self._settings.answer_timeout_s)
        try:
            content = await reply.read()
        finally:
            await reply.close()
        if reply.status != 200:
            raise refusal(self.name, reply.status, reply.headers, content)
        try:
            document = msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise UpstreamError(f"{self.name} did not answer with JSON: {error}", status=reply.status) from error
        if not isinstance(document, dict):
            raise UpstreamError(f"{self.name} did not answer with a JSON object", status=reply.status)
        return document

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The JSON chunks of a streamed answer; closing the iterator aborts the request.

        Raises ``Unavailable`` when the stream ends before its ``[DONE]``.
        """
        reply = await self._send(path, body, wait_s=self._settings.first_token_timeout_s)
        try:
            if reply.status != 200:
                raise refusal(self.name, reply.status, reply.headers, await reply.read())
            async with aclosing(self._events(reply)) as events:
                async for event in events:
                    yield event
        finally:
            await reply.close()

    async def forward(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Pass a request on; the provider's own error statuses are passed back."""
        streamed = body.get("stream") is True
        if self._streams_plain_chat and path == CHAT_PATH and not streamed:
            return await self._forward_as_stream(path, body)
        timeout_s = self._settings.first_token_timeout_s if streamed else self._settings.answer_timeout_s
        return await self._send(path, body, wait_s=timeout_s)

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _forward_as_stream(self, path: str, body: Mapping[str, Any]) -> Reply:
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        reply = await self._send(path, streamed, wait_s=self._settings.first_token_timeout_s)
        if reply.status != 200:
            return reply
        try:
            async with aclosing(self._events(reply)) as events:
                return AssembledReply(await assemble_chat(events))
        finally:
            await reply.close()

    async def _events(self, reply: HttpReply) -> AsyncGenerator[dict[str, Any]]:
        parser = SseParser()
        async with aclosing(reply.chunks()) as chunks:
            async for chunk in chunks:
                for data in parser.feed(chunk):
                    if data == b"[DONE]":
                        return
                    yield self._decode(data)
        raise Unavailable(f"the stream of {self.name} broke off")

    def _decode(self, data: bytes) -> dict[str, Any]:
        try:
            event = msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise UpstreamError(f"{self.name} streamed what is not JSON: {error}") from error
        if not isinstance(event, dict):
            raise UpstreamError(f"{self.name} streamed what is not a JSON object")
        if event.get("error"):
            raise refusal_in_stream(self.name, event["error"])
        return event

    async def _send(self, path: str, body: Mapping[str, Any], *, wait_s: float) -> HttpReply:
        """Wait for a free call, send, and return when the headers are there, ``wait_s`` after sending at the latest."""
        content = msgspec.json.encode(body)
        await self._take_slot()
        try:
            with unreachable_as_unavailable(self.name):
                async with asyncio.timeout(wait_s):
                    response = await self._open_session().post(
                        self._provider.base_url + path,
                        data=content,
                        headers={"Content-Type": "application/json"},
                        allow_redirects=False,
                    )
        except BaseException:
            self._slots.release()
            raise
        return HttpReply(
            response,
            provider=self.name,
            first_byte_s=wait_s,
            idle_s=self._settings.idle_timeout_s,
            on_end=self._slots.release,
        )

    async def _take_slot(self) -> None:
        wait_s = self._settings.first_token_timeout_s
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"all {self._settings.max_concurrency} concurrent calls to {self.name} were taken for {wait_s:g} s"
            ) from error

    def _open_session(self) -> aiohttp.ClientSession:
        # Here and not in __init__: aiohttp wants a running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._provider.headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
                connector=self._connector(),
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        if self._settings.kind == "llama_embedded":
            # It announces keep-alive and closes the connection after every stream: a call that takes it up just then
            # is lost, and a POST is not sent again by itself.
            return aiohttp.TCPConnector(limit=0, force_close=True)
        local = self._provider.base_url.startswith("http://")
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=_LOCAL_KEEPALIVE_S if local else _REMOTE_KEEPALIVE_S)
