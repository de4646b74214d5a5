"""A provider's HTTP answer whose body has not been read yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

import aiohttp

from sophia.inference.client import Late
from sophia.nouns.errors import SophiaError, Unavailable, UpstreamError

MAX_BODY_BYTES = 64 * 1024 * 1024

# Of one connection, or no longer true once the body was decompressed here.
_DROPPED_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "server",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class HttpReply:
    """An ``Answer`` over aiohttp. Whoever holds one reads it to its end or closes it: until then it takes one of the
    provider's concurrent calls.

    ``first_byte_s`` and ``idle_s`` bound the wait for the first and for every further piece of the body.
    Raises ``Unavailable`` when the body breaks off or stays silent for longer.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        provider: str,
        streamed: bool,
        first_byte_s: float,
        idle_s: float,
        on_free: Callable[[], None],
    ) -> None:
        self.status: int = response.status
        self.provider = provider
        self.on_end: Callable[[bool], None] | None = None
        self.on_close: Callable[[bool], None] | None = None
        """The same for whoever made the call."""
        self._response = response
        self._streamed = streamed and response.status == 200
        self._wait_s = first_byte_s
        self._idle_s = idle_s
        self._on_free: Callable[[], None] | None = on_free
        self._body: bytes | None = None
        self._first = b""
        self._marks: Mapping[str, str] = {}
        self._headers: Mapping[str, str] | None = None
        self._broken = False

    @property
    def headers(self) -> Mapping[str, str]:
        if self._headers is None:
            kept = {name.lower(): value for name, value in self._response.headers.items()}
            for name in _DROPPED_HEADERS & kept.keys():
                del kept[name]
            kept.update(self._marks)
            self._headers = kept
        return self._headers

    def mark(self, headers: Mapping[str, str]) -> None:
        self._marks, self._headers = headers, None

    async def begin(self) -> bytes:
        if not self._streamed:
            return await self.read()
        # Some providers send comments to keep the connection while they think: that is no beginning of an answer.
        while not self._first or (self._first.startswith(b":") and b"\ndata" not in self._first):
            chunk = await self._next(self._wait_s)
            if not chunk:
                break
            self._first += chunk
        self._wait_s = self._idle_s
        return self._first

    async def read(self) -> bytes:
        """The whole body, at most ``MAX_BODY_BYTES``."""
        if self._body is None:
            try:
                self._body = await self._whole()
            finally:
                await self.close()
        return self._body

    async def _whole(self) -> bytes:
        pieces, size = [], 0
        if self._first:
            pieces.append(self._first)
            size, self._first = len(self._first), b""
        content = self._response.content
        # Most answers are there in one piece, end and all: asking for more would be half of the work.
        while not content.at_eof() and (chunk := await self._next(self._wait_s)):
            self._wait_s = self._idle_s
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise UpstreamError(f"{self.provider} sent more than {MAX_BODY_BYTES} bytes", status=self.status)
            pieces.append(chunk)
        return b"".join(pieces)

    async def chunks(self) -> AsyncGenerator[bytes]:
        if self._body is not None:
            yield self._body
            return
        try:
            if self._first:
                first, self._first = self._first, b""
                yield first
            while chunk := await self._next(self._wait_s):
                self._wait_s = self._idle_s
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        """Drop the connection unless the body was read to its end, in which case it is kept for the next call."""
        if self._on_free is None:
            return
        on_free, self._on_free = self._on_free, None
        self._response.close()
        on_free()
        for call in (self.on_close, self.on_end):
            if call is not None:
                call(self._broken)
        self.on_close = self.on_end = None

    async def _next(self, wait_s: float) -> bytes:
        try:
            async with asyncio.timeout(wait_s):
                return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            self._broken = True
            raise as_ours(error, self.provider) from error


def as_ours(error: Exception, provider: str) -> SophiaError:
    """What aiohttp raises while a provider is called or read."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unavailable(f"{provider} cannot be reached: no connection in time")
    if isinstance(error, TimeoutError):
        return Late(f"{provider} did not answer in time")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Unavailable(f"the answer of {provider} broke off: {error}")
    if isinstance(error, aiohttp.InvalidURL):
        return UpstreamError(f"the address of {provider} is not a URL: {error}")
    return Unavailable(f"{provider} cannot be reached: {error or type(error).__name__}")
