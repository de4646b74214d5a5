"""A provider's HTTP answer whose body has not been read yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from sophia.nouns.errors import Unavailable, UpstreamError

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
    """A ``Reply`` over aiohttp. Whoever holds one reads it to its end or closes it: until then it takes one of the
    provider's concurrent calls.

    ``first_byte_s`` and ``idle_s`` bound the wait for the first and for every further piece of the body.
    Raises ``Unavailable`` when the body breaks off or stays silent for longer.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        provider: str,
        first_byte_s: float,
        idle_s: float,
        on_end: Callable[[], None],
    ) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items() if name.lower() not in _DROPPED_HEADERS
        }
        self._response = response
        self._provider = provider
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._on_end: Callable[[], None] | None = on_end

    async def read(self) -> bytes:
        """The whole body, at most ``MAX_BODY_BYTES``."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                await self.close()
                raise UpstreamError(f"{self._provider} sent more than {MAX_BODY_BYTES} bytes", status=self.status)
        return bytes(body)

    async def chunks(self) -> AsyncGenerator[bytes]:
        wait_s = self._first_byte_s
        try:
            while True:
                with unreachable_as_unavailable(self._provider):
                    async with asyncio.timeout(wait_s):
                        chunk = await self._response.content.readany()
                if not chunk:
                    break
                wait_s = self._idle_s
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        """Drop the connection unless the body was read to its end, in which case it is kept for the next call."""
        if self._on_end is None:
            return
        on_end, self._on_end = self._on_end, None
        self._response.close()
        on_end()


@contextmanager
def unreachable_as_unavailable(provider: str) -> Iterator[None]:
    """Translate what aiohttp raises while a provider is called or read."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise Unavailable(f"{provider} cannot be reached: no connection in time") from error
    except TimeoutError as error:
        raise Unavailable(f"{provider} did not answer in time") from error
    except aiohttp.ClientPayloadError as error:
        raise Unavailable(f"the answer of {provider} broke off: {error}") from error
    except aiohttp.InvalidURL as error:
        raise UpstreamError(f"the address of {provider} is not a URL: {error}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{provider} cannot be reached: {error or type(error).__name__}") from error
