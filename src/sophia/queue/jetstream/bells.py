"""Waiting for announcements without asking, and looking less often where nothing can be new."""

from __future__ import annotations

import asyncio
import contextlib

from sophia.queue.jetstream.messages import Stored

NEWS_MAX = 500


class Bell:
    """Rings when something was announced. Whoever notes ``rings`` before looking misses nothing."""

    def __init__(self) -> None:
        self.rings = 0
        self._news: list[Stored] | None = []
        self._rung = asyncio.Event()

    def ring(self, news: Stored | None = None) -> None:
        """``news`` is what was announced; ``None`` when it is not known what may have been."""
        self.rings += 1
        if self._news is not None:
            if news is None or len(self._news) == NEWS_MAX:
                self._news = None
            else:
                self._news.append(news)
        self._rung.set()
        self._rung = asyncio.Event()

    def take_news(self) -> list[Stored] | None:
        """What was announced since the last call, ``None`` when that is not completely known."""
        news, self._news = self._news, []
        return news

    async def wait(self, heard: int, timeout_s: float) -> None:
        """Until it has rung since it had rung ``heard`` times, at most ``timeout_s`` seconds."""
        if self.rings != heard:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
