"""Coalesces streamed text into events: few enough for the queue, quick enough for a watcher."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

from sophia.nouns.errors import Unavailable

FLUSH_INTERVAL_S = 0.1
FLUSH_CHARACTERS = 512
DRAIN_TIMEOUT_S = 90.0
"""Longer than the worker waits for a queue that restarts, so that this is no second, shorter patience."""
ABORT_DRAIN_TIMEOUT_S = 1.0
"""An attempt that was stopped has to be settled soon."""

log = logging.getLogger(__name__)


class OutputStream:
    """Within ``async with``, text given to ``add`` is sent in order by one task; leaving sends what is left.

    ``send`` gets a piece and its offset: how many characters (Unicode code points) went before it. When sending
    fails, the next ``add`` raises that error, so that nothing more is generated for nobody.
    """

    def __init__(self, send: Callable[[str, int], Awaitable[None]], offset: int) -> None:
        self.offset = offset
        self._send = send
        self._buffer: list[str] = []
        self._buffered = 0
        self._closed = False
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> OutputStream:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._some.set()
        self._full.set()
        try:
            await self._drain(DRAIN_TIMEOUT_S if error is None else ABORT_DRAIN_TIMEOUT_S)
        except Exception as failure:
            if error is None:
                raise
            # The error that ends the stream says more than that its last words were lost.
            if failure is not error:
                log.warning("streamed output was lost: %s", failure)

    def add(self, text: str) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
        self._buffer.append(text)
        self._buffered += len(text)
        self._some.set()
        if self._buffered >= FLUSH_CHARACTERS:
            self._full.set()

    async def _drain(self, timeout_s: float) -> None:
        if self._task is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._task
        except TimeoutError as error:
            raise Unavailable(f"output events could not be written within {timeout_s:g} s") from error

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL_S):
                    await self._full.wait()
            if self._buffer:
                text = self._take()
                await self._send(text, self.offset)
                self.offset += len(text)
            elif self._closed:
                return

    def _take(self) -> str:
        text = "".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        if not self._closed:
            self._some.clear()
            self._full.clear()
        return text
