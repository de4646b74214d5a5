"""A proxy for byte streams that delays, stalls and cuts connections when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

CHUNK_BYTES = 65_536

Address = Path | tuple[str, int]
"""A unix socket, or host and port."""


class FaultProxy:
    """Passes everything on between its own address and ``upstream``, in order and complete, unless told otherwise.

    ``listen``: a path for a unix socket, or host and port (0: a free one; see ``address``).
    """

    def __init__(self, listen: Address, upstream: Address) -> None:
        self.address = listen
        self.delay_s = 0.0
        """Added to every chunk, in both directions."""
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        if isinstance(self.address, Path):
            self._server = await asyncio.start_unix_server(self._accept, str(self.address))
        else:
            self._server = await asyncio.start_server(self._accept, *self.address)
            host, port = self._server.sockets[0].getsockname()[:2]
            self.address = (host, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    def stall(self) -> None:
        """Pass nothing on, and close nothing: what a lost network looks like. New connections are taken, and hang."""
        self._open.clear()

    def resume(self) -> None:
        """What was held back goes on in order."""
        self._open.set()

    async def cut(self) -> int:
        """Close every connection in both directions, whatever is under way; how many there were."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await self._connect()
            directions = {
                asyncio.create_task(self._pass(reader, upstream)),
                asyncio.create_task(self._pass(answers, writer)),
            }
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
        except OSError:
            return  # nobody is there: the caller's connection is closed
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._open.wait()
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection(*self._upstream)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
