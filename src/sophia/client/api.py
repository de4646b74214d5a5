"""One method per operation of the HTTP API; answers as plain JSON values."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from sophia import __version__
from sophia.client.address import Address
from sophia.client.errors import Refused, Unreachable
from sophia.client.sse import EventParser, ServerEvent
from sophia.nouns.task import TaskState

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
"""Between two pieces of an answer; event streams send a comment every 15 s."""
TRIES = 4
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
LONG_POLL_S = 30
_TRY_AGAIN = frozenset({429, 502, 503, 504})

Json = dict[str, Any]


class Api:
    """Use as ``async with Api(address) as api``. Every call raises ``Unreachable`` when the platform cannot be
    reached after a bounded number of tries, and ``Refused`` when it answers with an error.

    Calls that are safe to repeat are repeated; a submission is one of them, by its idempotency key.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": f"sophia-cli/{__version__}"}
        if self.address.api_key:
            headers["Authorization"] = f"Bearer {self.address.api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit(self, submission: Mapping[str, Any], idempotency_key: str) -> Json:
        return await self._call("POST", "/v1/tasks", body=submission, headers={"Idempotency-Key": idempotency_key})

    async def task(self, task_id: str, wait_s: float = 0) -> Json:
        query = {"wait": f"{wait_s:g}"} if wait_s else {}
        return await self._call("GET", f"/v1/tasks/{quote(task_id, safe='')}", query=query)

    async def wait(self, task_id: str) -> Json:
        """The task once it is final."""
        while True:
            task = await self.task(task_id, LONG_POLL_S)
            if TaskState(task["state"]).is_final:
                return task

    async def tasks(self, states: Sequence[str], types: Sequence[str], limit: int, cursor: str | None = None) -> Json:
        query = {"limit": str(limit)}
        if states:
            query["state"] = ",".join(states)
        if types:
            query["type"] = ",".join(types)
        if cursor:
            query["cursor"] = cursor
        return await self._call("GET", "/v1/tasks", query=query)

    async def cancel(self, task_id: str, reason: str | None) -> Json:
        body = {"reason": reason} if reason else {}
        return await self._call("POST", f"/v1/tasks/{quote(task_id, safe='')}/cancel", body=body)

    async def explain(self, task_id: str) -> Json:
        return await self._call("GET", f"/v1/tasks/{quote(task_id, safe='')}/explain")

    async def dead_letters(self, limit: int) -> Json:
        return await self._call("GET", "/v1/dead-letters", query={"limit": str(limit)})

    async def redrive(self, task_ids: Sequence[str] | None) -> Json:
        """Queue dead letters again; ``None``: all, up to the number that one call takes (see ``more``)."""
        body: Json = {"all": True} if task_ids is None else {"ids": list(task_ids)}
        return await self._call("POST", "/v1/dead-letters/redrive", body=body)

    async def poison(self, limit: int) -> Json:
        return await self._call("GET", "/v1/poison", query={"limit": str(limit)})

    async def queue(self) -> Json:
        return await self._call("GET", "/v1/queue")

    async def budgets(self, tenant: str | None) -> Json:
        """Of the key's tenant, or, for an operator's key, of any."""
        return await self._call("GET", "/v1/budgets", query={} if tenant is None else {"tenant": tenant})

    async def schedules(self) -> Json:
        return await self._call("GET", "/v1/schedules")

    async def pools(self) -> Json:
        return await self._call("GET", "/v1/pools")

    async def order_pool(self, pool: str, verb: str, instance: str | None, dry_run: bool) -> Json:
        body: Json = {"verb": verb, "dry_run": dry_run} | ({} if instance is None else {"instance": instance})
        return await self._call("POST", f"/v1/pools/{quote(pool, safe='')}/orders", body=body, tries=1)

    async def create_key(self, body: Json) -> Json:
        # Not repeated: a key whose text was lost on the way would be left over.
        return await self._call("POST", "/v1/keys", body=body, tries=1)

    async def keys(self) -> Json:
        return await self._call("GET", "/v1/keys")

    async def usage(self, query: Mapping[str, str]) -> Json:
        return await self._call("GET", "/v1/usage", query=query)

    async def revoke_key(self, key_id: str) -> Json:
        return await self._call("DELETE", f"/v1/keys/{quote(key_id, safe='')}")

    async def ready(self) -> Json:
        """The readiness report, whether it is ready or not."""
        return await self._call("GET", "/ready", tries=1, also_fine=frozenset({503}))

    async def events(self, task_id: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        """One connection's worth of a task's events; ends when the connection does, by plan or not."""
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        try:
            async with self._open().get(
                f"{self.address.url}/v1/tasks/{quote(task_id, safe='')}/events", headers=headers
            ) as answer:
                if answer.status != 200:
                    raise Refused(answer.status, _json(await answer.read()))
                parser = EventParser()
                async for chunk in answer.content.iter_any():
                    for event in parser.feed(chunk):
                        yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        tries: int = TRIES,
        also_fine: frozenset[int] = frozenset(),
    ) -> Json:
        for attempt in range(1, tries + 1):
            try:
                return await self._once(method, path, query or {}, body, headers or {}, also_fine)
            except (Refused, Unreachable) as error:
                if attempt == tries or (isinstance(error, Refused) and error.status not in _TRY_AGAIN):
                    raise
                await asyncio.sleep(pause_s(attempt, error.retry_after_s))
        raise AssertionError("unreachable: the last try returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        also_fine: frozenset[int],
    ) -> Json:
        sent = {"Content-Type": "application/json", **headers} if body is not None else headers
        data = msgspec.json.encode(body) if body is not None else None
        try:
            async with self._open().request(
                method, self.address.url + path, params=query, data=data, headers=sent
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        if answer.status >= 400 and answer.status not in also_fine:
            raise Refused(answer.status, _json(content) | _retry_after(answer.headers.get("Retry-After")))
        value = _json(content)
        if not value:
            raise Unreachable(
                f"{self.address.url} does not answer as Sophia's API would",
                mend="is something else running there? name the right address with --url",
            )
        return value

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise AssertionError("use the client as an async context manager")
        return self._session

    def _unreachable(self, error: BaseException) -> Unreachable:
        what = "no answer in time" if isinstance(error, TimeoutError) else _in_words(error)
        return Unreachable(
            f"cannot reach the platform at {self.address.url} ({what}; the address is from {self.address.source})",
            mend="is it running? start it with `make up`, or name another address with --url",
        )


def pause_s(attempt: int, asked_s: float | None = None) -> float:
    """Before the next try: doubling with jitter, or what the platform asked for, within bounds."""
    pause = FIRST_PAUSE_S * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    return min(max(pause, asked_s or 0), LONGEST_PAUSE_S)


def _json(content: bytes) -> Json:
    try:
        value = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _retry_after(header: str | None) -> Json:
    return {"retry_after_s": float(header)} if header and header.isdecimal() else {}


def _in_words(error: BaseException) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
