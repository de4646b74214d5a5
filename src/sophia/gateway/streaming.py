"""Answers that take their time, and clients that leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sophia.cancel import REPEAT_S

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``; the moment the client goes away, cancel it and raise ``ClientDisconnect``.

    The request's body must have been read before: what arrives is thrown away.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("there is no task to cancel")
    asked, before = 0, task.cancelling()

    async def watch() -> None:
        nonlocal asked
        while (await receive())["type"] != "http.disconnect":
            pass
        # Again and again, see `sophia.cancel`. The work has a task already: one more for it would cost more than the rest.
        while True:
            asked += 1
            task.cancel()
            await asyncio.sleep(REPEAT_S)

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if asked and asked == task.cancelling() - before:
            raise ClientDisconnect from None
        raise
    finally:
        # From here on it cannot cancel anything: it is thrown out of its wait before it goes on.
        watcher.cancel()
        for _ in range(asked):
            task.uncancel()


async def send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def send_end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(Response):
    """Server-sent events from a generator, which is closed as soon as the client goes away."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
        await send_start(send, 200, headers)
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send_chunk(send, chunk)
        await send_end(send)
