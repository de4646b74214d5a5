"""Many callers, one round trip: concurrent single calls become one call of many items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Coalescer(Generic[Item, Answer]):
    """Hands items of concurrent callers to ``run`` together, at most ``max_items`` a call and one call at a time.

    While a call is under way the next batch gathers, so batches grow with load and an idle caller waits for nobody.
    An error of a call goes to every caller in it. A caller that is cancelled does not stop the call.
    """

    def __init__(self, run: Callable[[list[Item]], Awaitable[Sequence[Answer]]], max_items: int = 256) -> None:
        self._run = run
        self._max_items = max_items
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def many(self, items: Sequence[Item]) -> list[Answer]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = []
        for item in items:
            future: asyncio.Future[Answer] = loop.create_future()
            self._waiting.append((item, future))
            futures.append(future)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run_all())
        if len(futures) == 1:
            return [await futures[0]]
        return await asyncio.gather(*futures)

    async def _run_all(self) -> None:
        # Let every task that is ready to run in this turn of the loop add its items first.
        await asyncio.sleep(0)
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_items))]
            try:
                answers = await self._run([item for item, _ in batch])
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - handed to every caller
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def close(self) -> None:
        """Let what was handed in finish."""
        if self._pump is not None and not self._pump.done():
            await asyncio.wait({self._pump}, timeout=10)
