"""Blocking reads of several keys, which on a cluster take one connection for each slot."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sophia.redis.base import Caller, Redis

log = logging.getLogger(__name__)

REST_S = 1.0
"""A partition that does not answer is asked again after this, while the others are read."""

Read = tuple[str, tuple[Any, ...]]
"""A key of the slot, and the command's words."""


class Waits:
    """Reads that take nothing away: one that nobody waits for any more goes on, and the next call for the same words
    shares it."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._free: defaultdict[str, list[Caller]] = defaultdict(list)
        self._under_way: dict[Read, asyncio.Task[Any]] = {}
        self._failing: set[str] = set()

    async def first(self, reads: Sequence[Read]) -> list[Any]:
        """Answers of all that have ended once one has. None when a part of them fails and the rest brings nothing
        for ``REST_S``; raises the driver's error when all fail."""
        pending = {self._started(read): read[0] for read in reads}
        failures: list[BaseException] = []
        answers: list[Any] = []
        while pending and not answers:
            done, _ = await asyncio.wait(
                pending, timeout=REST_S if failures else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return []
            for task in done:
                key = pending.pop(task)
                error = task.exception()
                self._note(key, error, alone=len(reads) == 1)
                if error is None:
                    answers.append(task.result())
                else:
                    failures.append(error)
        if not answers:
            raise failures[0]
        return answers

    def _note(self, key: str, error: BaseException | None, *, alone: bool) -> None:
        if error is None:
            self._failing.discard(key)
        elif key not in self._failing and not alone:
            self._failing.add(key)
            log.warning("%s cannot be read, the other partitions are: %s", key, error)

    def _started(self, read: Read) -> asyncio.Task[Any]:
        task = self._under_way.get(read)
        if task is None:
            task = self._under_way[read] = asyncio.create_task(self._read(read))
            task.add_done_callback(lambda ended: self._ended(read, ended))
        return task

    async def _read(self, read: Read) -> Any:
        key, words = read
        caller = self._free[key].pop() if self._free[key] else self._client.caller(key)
        try:
            return await caller.call(*words)
        except asyncio.CancelledError:
            await caller.close()
            raise
        finally:
            self._free[key].append(caller)

    def _ended(self, read: Read, task: asyncio.Task[Any]) -> None:
        del self._under_way[read]
        if not task.cancelled():
            # Looked at because nobody may wait for it any more; whoever asks again hears it again.
            task.exception()

    async def close(self) -> None:
        under_way = list(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
