"""Fetching pages that users name: bounded in time, size, redirects and reach."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType

import aiohttp
import msgspec
from yarl import URL

from sophia.nouns.errors import InvalidInput, RateLimited, SophiaError, Unavailable, UpstreamError
from sophia.settings.inference import ResearchSettings
from sophia.worker.addresses import AddressRefused, public_socket

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READABLE = frozenset({"application/json", "application/xhtml+xml", "application/xml"})
_CHUNK_BYTES = 65_536
_LONGEST_RETRY_AFTER_S = 3600.0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A fetched document. ``url`` is where the last redirect led."""

    url: str
    content_type: str
    """Lower case, without parameters."""
    charset: str | None
    body: bytes


class Fetcher:
    """Use with ``async with``. One ``get`` at a time holds one of ``settings.concurrency`` places."""

    def __init__(self, settings: ResearchSettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        guard = None if self._settings.allow_private_addresses else public_socket
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.concurrency, socket_factory=guard),
            # Redirects could carry cookies from one user's site to another.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": self._settings.user_agent},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> Page:
        """The document at ``url``, all redirects followed.

        Raises ``Unavailable`` or ``RateLimited`` for what may pass (time-out, no connection, 5xx, 429), ``UpstreamError``
        for what will not (other 4xx, content that is not text, too large), ``InvalidInput`` for an address or scheme
        that is not allowed.
        """
        limit_s = self._settings.fetch_timeout_s
        async with self._places:
            try:
                async with asyncio.timeout(limit_s):
                    return await self._follow(url)
            except TimeoutError as error:
                raise Unavailable(f"no complete answer within {limit_s:g} s") from error
            except aiohttp.ClientError as error:
                raise _translated(error) from error

    async def _follow(self, url: str) -> Page:
        target = _checked(url)
        for _ in range(self._settings.max_redirects + 1):
            answer = await self._hop(target)
            if isinstance(answer, Page):
                return answer
            target = answer
        raise UpstreamError(f"more than {self._settings.max_redirects} redirects")

    async def _hop(self, url: URL) -> Page | URL:
        """One request: the page, or where it redirects to."""
        if self._session is None:
            raise RuntimeError("the fetcher is used outside of its context")
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                return _checked(response.headers["Location"], base=response.url)
            _check_status(response)
            if not is_readable(response.content_type):
                raise UpstreamError(f"its content type {response.content_type} is not text")
            body = await self._body(response)
            return Page(url=str(response.url), content_type=response.content_type, charset=response.charset, body=body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The body as decompressed, read piece by piece so that neither length nor compression can fill the memory."""
        most = self._settings.max_page_bytes
        body = bytearray()
        if (response.content_length or 0) <= most:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > most:
                    break
            else:
                return bytes(body)
        raise UpstreamError(f"it is larger than {most} bytes")


def is_readable(content_type: str) -> bool:
    """Whether a content type is text in some form."""
    return content_type.startswith("text/") or content_type in _READABLE or content_type.endswith(("+json", "+xml"))


def _checked(url: str, base: URL | None = None) -> URL:
    try:
        target = URL(url) if base is None else base.join(URL(url))
    except ValueError as error:
        raise InvalidInput(f"{url[:200]!r} is not a URL: {error}") from error
    if target.scheme not in ("http", "https") or not target.host:
        raise InvalidInput(f"{url[:200]!r} is not an http or https URL")
    return target


def _check_status(response: aiohttp.ClientResponse) -> None:
    said = f"HTTP {response.status} {response.reason or ''}".strip()
    if response.status == 429:
        raise RateLimited(said, retry_after_s=_seconds(response.headers.get("Retry-After")))
    if response.status >= 500 or response.status == 408:
        raise Unavailable(said)
    if response.status != 200:
        raise UpstreamError(said, status=response.status)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in its usual form; a date is left to the caller's own backoff."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return None
    return min(float(retry_after), _LONGEST_RETRY_AFTER_S)


def _translated(error: aiohttp.ClientError) -> SophiaError:
    match error:
        case aiohttp.InvalidURL():
            return InvalidInput(f"it is not a usable URL: {error}")
        case aiohttp.ClientConnectorError(os_error=AddressRefused()):
            return InvalidInput(f"{error.os_error}, and settings allow no other (research.allow_private_addresses)")
        case aiohttp.ClientConnectorDNSError(os_error=OSError(errno=number)) if number != socket.EAI_AGAIN:
            return UpstreamError(f"its host name is not known: {error.host}")
        case aiohttp.ClientSSLError():
            return UpstreamError(f"no trusted TLS connection: {error}")
        case _:
            return Unavailable(f"no answer: {error or type(error).__name__}")
