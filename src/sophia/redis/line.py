"""One connection that many calls share: the driver's own path costs four times as much processor time for a call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis
import redis.asyncio as aioredis
from redis import exceptions as driver
from redis._parsers.base import BaseParser


class Line(asyncio.Protocol):
    """Calls are written at once, answers come in the order of the calls; the first call connects, also after a loss.

    The driver connects (TLS, credentials, database) and names the errors. A call whose answer takes longer than the
    pool's ``socket_timeout`` ends the connection and, with ``TimeoutError``, every call on it. A caller that is cancelled
    forgets its answer; the call itself may have been done.
    """

    def __init__(self, pool: aioredis.ConnectionPool) -> None:
        self._pool = pool
        self._timeout_s: float = pool.connection_kwargs["socket_timeout"]
        self._connection: aioredis.Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def call(self, *words: Any) -> Any:
        """One command. Raises the driver's errors."""
        if self._transport is None:
            await self._open()
        if self._transport is None:
            raise driver.ConnectionError("the connection was lost at once")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((future, loop.time()))
        if self._watch is None:
            self._watch = loop.call_later(self._timeout_s, self._look)
        self._transport.write(hiredis.pack_command(words))
        return await future

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

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(driver.ConnectionError(f"the server closed the connection: {exc}" if exc else "the server closed it"))

    def _look(self) -> None:
        """Once per time-out, not once per call."""
        self._watch = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        left_s = self._waiting[0][1] + self._timeout_s - loop.time()
        if left_s > 0:
            self._watch = loop.call_later(left_s, self._look)
        else:
            self._end(driver.TimeoutError("the server did not answer in time"))

    def _end(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(error)
