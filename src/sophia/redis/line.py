"""One connection that many calls share: the driver's own path costs four times as much processor time for a call."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any, NamedTuple

import hiredis
import redis.asyncio as aioredis
from redis import exceptions as driver
from redis._parsers.base import BaseParser

MOST_UNSENT_BYTES = 1_048_576
SENT_AGAIN_BYTES = 262_144
"""Calls that wait are written again once there is no more than this left to send."""


class Unsent(NamedTuple):
    """A call that waits for the server to take up others."""

    words: tuple[Any, ...]
    future: asyncio.Future[Any]
    since_s: float


class Line(asyncio.Protocol):
    """Calls are written at once, answers come in the order of the calls; the first call connects, also after a loss.

    The driver connects (TLS, credentials, database) and names the errors. A call whose answer takes longer than the
    pool's ``socket_timeout`` ends the connection and, with ``TimeoutError``, every call on it. A caller that is cancelled
    forgets its answer; the call itself may have been done.

    While the server takes nothing up, at most ``MOST_UNSENT_BYTES`` and one call more are kept for it in written form;
    further calls wait in line, for ``socket_timeout`` too at most, and were not done when that is over.
    """

    def __init__(self, pool: aioredis.ConnectionPool) -> None:
        self._pool = pool
        self._timeout_s: float = pool.connection_kwargs["socket_timeout"]
        self._connection: aioredis.Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: deque[Unsent] = deque()
        self._is_full = False
        self._watch: asyncio.TimerHandle | None = None

    async def call(self, *words: Any) -> Any:
        """One command. Raises the driver's errors."""
        if self._transport is None:
            await self._open()
        if self._transport is None:
            raise driver.ConnectionError("the connection was lost at once")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._watch is None:
            self._watch = loop.call_later(self._timeout_s, self._look)
        if self._is_full or self._unsent:
            self._unsent.append(Unsent(words, future, loop.time()))
        else:
            self._write(self._transport, words, future)
        return await future

    def _write(self, transport: asyncio.Transport, words: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        packed = hiredis.pack_command(words)
        self._waiting.append((future, asyncio.get_running_loop().time()))
        transport.write(packed)

    async def close(self) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        self._end(driver.ConnectionError("the connection was closed"))
        await self._disconnect()

    async def _open(self) -> None:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect())
        await asyncio.shield(self._opening)

    async def _connect(self) -> None:
        await self._disconnect()
        connection: Any = self._pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()
        self._connection = connection
        # From here on the driver only holds the connection; its streams are out of the way.
        transport = connection._writer.transport
        self._reader = hiredis.Reader(protocolError=driver.InvalidResponse, replyError=BaseParser.parse_error)
        transport.set_protocol(self)
        if transport.is_closing():
            raise driver.ConnectionError("the connection was lost at once")
        transport.set_write_buffer_limits(MOST_UNSENT_BYTES, SENT_AGAIN_BYTES)
        self._is_full = False
        self._transport = transport

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                future, _ = self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (driver.InvalidResponse, IndexError) as error:
            self._end(driver.ConnectionError(f"the server's answer was not understood: {error}"))

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        while self._unsent and not self._is_full and self._transport is not None:
            words, future, _ = self._unsent.popleft()
            if future.done():
                continue
            try:
                self._write(self._transport, words, future)
            except Exception as error:  # noqa: BLE001 - words that cannot be written are their caller's trouble alone
                future.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(driver.ConnectionError(f"the server closed the connection: {exc}" if exc else "the server closed it"))

    def _look(self) -> None:
        """Once per time-out, not once per call."""
        self._watch = None
        loop = asyncio.get_running_loop()
        over_s = loop.time() - self._timeout_s
        if self._waiting and self._waiting[0][1] <= over_s:
            self._end(driver.TimeoutError("the server did not answer in time"))
            return
        while self._unsent and (self._unsent[0].since_s <= over_s or self._unsent[0].future.done()):
            future = self._unsent.popleft().future
            if not future.done():
                future.set_exception(driver.TimeoutError("the server did not take the call up in time"))
        since_s = [began_s for _, began_s in itertools.islice(self._waiting, 1)]
        since_s += [call.since_s for call in itertools.islice(self._unsent, 1)]
        if since_s:
            self._watch = loop.call_later(min(since_s) - over_s, self._look)

    def _end(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        unsent, self._unsent = self._unsent, deque()
        for future in (*(future for future, _ in waiting), *(call.future for call in unsent)):
            if not future.done():
                future.set_exception(error)
