"""HTTP client of one OpenAI-compatible provider."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
import msgspec

from sophia.inference.answers import events
from sophia.inference.assembly import AssembledReply, assemble_chat
from sophia.inference.client import CHAT_PATH, Answer, Limits, Saturated, limits_of
from sophia.inference.reply import HttpReply, as_ours
from sophia.settings.loaded import ResolvedProvider

# llama.cpp and uvicorn close an idle connection after 5 s: one that is older may be closing when it is used.
_LOCAL_KEEPALIVE_S = 4.0
_REMOTE_KEEPALIVE_S = 30.0
_JSON = {"Content-Type": "application/json"}


class Upstream:
    """Calls one provider, at most ``max_concurrency`` at a time; further calls wait in order.

    Raises ``Unavailable`` when the provider cannot be reached, stays silent (``Late``), or has no free call within
    ``first_token_timeout_s`` (``Saturated``). Statuses are answers.
    """

    def __init__(self, provider: ResolvedProvider) -> None:
        self.name = provider.name
        self._provider = provider
        self._settings = provider.settings
        self._limits = limits_of(provider.settings)
        self._slots = asyncio.Semaphore(provider.settings.max_concurrency)
        self._session: aiohttp.ClientSession | None = None
        # llama.cpp generates on after the client of a plain request has gone (its issue 24496), but not of a stream.
        self._streams_plain_chat = provider.settings.kind == "llama_embedded"

    async def forward(
        self, path: str, body: Mapping[str, Any], limits: Limits | None = None, left_s: float | None = None
    ) -> Answer:
        """``path`` is OpenAI's below ``/v1``."""
        streamed = body.get("stream") is True
        limits = limits or self._limits
        if self._streams_plain_chat and path == CHAT_PATH and not streamed:
            return await self._forward_as_stream(body, limits, left_s)
        return await self.post(self._provider.base_url + path, body, limits, left_s, streamed=streamed)

    async def post(
        self,
        url: str,
        body: Mapping[str, Any],
        limits: Limits,
        left_s: float | None = None,
        *,
        streamed: bool,
    ) -> HttpReply:
        """Wait for a free call, send, and return when the headers are there."""
        wait_s = limits.first_token_s if streamed else limits.answer_s
        if left_s is not None:
            wait_s = min(wait_s, left_s)
        content = msgspec.json.encode(body)
        await self._take_slot(min(wait_s, limits.first_token_s))
        try:
            async with asyncio.timeout(wait_s):
                response = await self._open_session().post(
                    url,
                    data=content,
                    headers=_JSON,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s),
                )
        except (aiohttp.ClientError, OSError) as error:
            self._slots.release()
            raise as_ours(error, self.name) from error
        except BaseException:
            self._slots.release()
            raise
        return HttpReply(
            response,
            provider=self.name,
            streamed=streamed,
            first_byte_s=wait_s,
            idle_s=limits.idle_s,
            on_free=self._slots.release,
        )

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _forward_as_stream(self, body: Mapping[str, Any], limits: Limits, left_s: float | None) -> Answer:
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        reply = await self.post(self._provider.base_url + CHAT_PATH, streamed, limits, left_s, streamed=True)
        if reply.status != 200:
            return reply
        try:
            async with aclosing(events(reply)) as chunks:
                return AssembledReply(await assemble_chat(chunks), self.name)
        finally:
            await reply.close()

    async def _take_slot(self, wait_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Saturated(
                f"all {self._settings.max_concurrency} concurrent calls to {self.name} were taken for {wait_s:g} s"
            ) from error

    def _open_session(self) -> aiohttp.ClientSession:
        # Here and not in __init__: aiohttp wants a running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._provider.headers, connector=self._connector(), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        if self._settings.kind == "llama_embedded":
            # It announces keep-alive and closes the connection after every stream: a call that takes it up just then
            # is lost, and a POST is not sent again by itself.
            return aiohttp.TCPConnector(limit=0, force_close=True)
        local = self._provider.base_url.startswith("http://")
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=_LOCAL_KEEPALIVE_S if local else _REMOTE_KEEPALIVE_S)
