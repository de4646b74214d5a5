"""Void index entries on their way out, so that whoever made them void need not wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from sophia.nouns.errors import SophiaError
from sophia.queue.jetstream.failures import persistently

log = logging.getLogger(__name__)

AT_ONCE = 250
DONE_WITHIN_S = 10.0


class Discards:
    """What is not deleted when its process dies, or the server is gone for long, is swept up as void later."""

    def __init__(self, delete: Callable[[Sequence[int]], Awaitable[None]]) -> None:
        self._delete = delete
        self._left: dict[int, None] = {}
        self._pump: asyncio.Task[None] | None = None

    def __contains__(self, seq: int) -> bool:
        return seq in self._left

    def add(self, seqs: Iterable[int]) -> None:
        self._left.update(dict.fromkeys(seqs))
        if self._left and (self._pump is None or self._pump.done()):
            self._pump = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._left:
            some = list(self._left)[:AT_ONCE]
            try:
                await persistently(lambda s=some: self._delete(s))  # type: ignore[misc]
            except SophiaError as error:
                log.warning("void index entries stay until they are swept up: %s", error)
            for seq in some:
                del self._left[seq]

    async def done(self) -> None:
        """Everything that was added before this is deleted."""
        if self._pump is not None and not self._pump.done():
            await asyncio.wait({self._pump}, timeout=DONE_WITHIN_S)

    def forget(self) -> None:
        """The sequences are of a stream that is no more, or nobody is there to delete them."""
        if self._pump is not None:
            self._pump.cancel()
        self._left.clear()
