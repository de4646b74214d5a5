"""One HTTP exchange with a cloud's API: a whole answer, or ``Unavailable``."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import msgspec

from sophia.nouns.errors import Unavailable

MAX_ANSWER_BYTES = 16 * 1024 * 1024


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class ApiTransport:
    """``base_url`` without a slash at its end; ``timeout_s`` for a whole exchange; ``whom`` as errors name it."""

    def __init__(self, base_url: str, token: str, timeout_s: float, whom: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._whom = whom
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises ``Unavailable`` when there is no answer, or only a part of one."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method, self._base_url + path, data=body, headers=sent, allow_redirects=False
            ) as answer:
                return Reply(
                    status=answer.status,
                    headers={name.lower(): value for name, value in answer.headers.items()},
                    body=await self._content(answer, path),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._whom} does not answer: {error or 'time-out'}") from error

    async def _content(self, answer: aiohttp.ClientResponse, path: str) -> bytes:
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise Unavailable(f"the answer of {self._whom} to {path} has no end")
        return bytes(content)

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
