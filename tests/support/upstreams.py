"""An OpenAI-compatible server played by the test: what hosted providers do that small local models never would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Reply = Callable[[web.Request], Any]


class Upstream:
    """Records what it is asked and answers what it is told to; by default it never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.broken_off = asyncio.Event()
        """Somebody closed a connection before its answer was complete."""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: Any = None
        """JSON; ``None``: a stream of ``chunks``, then silence."""
        self.chunks: list[bytes] = []
        self.drop_after_chunks = False
        """Close the connection instead of falling silent."""
        self._more: asyncio.Queue[bytes] = asyncio.Queue()
        self.end_after_chunks = False
        """End the answer as it should be."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        if self.answer is not None:
            return web.json_response(self.answer, status=self.status, headers=self.headers)
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            if self.chunks:
                await response.prepare(request)
                for chunk in self.chunks:
                    await response.write(chunk)
                if self.end_after_chunks:
                    return response
                if self.drop_after_chunks and request.transport is not None:
                    request.transport.abort()
            await response.write(await self._more.get())
            return response
        except (asyncio.CancelledError, ConnectionError):
            self.broken_off.set()
            raise

    def go_on(self, rest: bytes) -> None:
        """Let the answer that has fallen silent go on with this, and end."""
        self._more.put_nowait(rest)


@asynccontextmanager
async def upstream(played: Upstream | None = None) -> AsyncIterator[Upstream]:
    played = played or Upstream()
    app = web.Application()
    app.router.add_post("/v1/{path:.*}", played.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield played
    finally:
        await runner.cleanup()
