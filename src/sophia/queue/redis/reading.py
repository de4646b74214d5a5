"""Blocking reads of a worker's streams on Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis import exceptions as driver

from sophia.queue.redis.shared import GROUP, ID_LENGTH, PRIORITIES, Scripts
from sophia.redis.base import Caller, Redis
from sophia.redis.connection import translated

LONGEST_BLOCK_S = 55.0
"""Blocking reads end before common idle time-outs of 60 s cut the connection."""
ENDS_TOGETHER_S = 0.15
"""A server at rest looks ten times a second whether a blocking read has waited long enough."""

Entry = tuple[str, int, str, str, bytes]
"""Stream, priority, entry id, task id, body."""


class Lines:
    """One connection for each worker and partition: a blocking read holds up its connection. ``blocking`` is a client
    whose reply time-out is above ``LONGEST_BLOCK_S``."""

    def __init__(self, blocking: Redis, scripts: Scripts) -> None:
        self._blocking = blocking
        self._scripts = scripts
        self._lines: dict[tuple[str, str], Caller] = {}

    async def read(self, worker: str, prefix: str, streams: Sequence[str], wait_s: float) -> list[Entry]:
        """One entry of each stream at most: what else waits is leased by priority right after."""
        keys = [f"{prefix}:stream:{stream}:{priority}" for stream in streams for priority in range(PRIORITIES)]
        block_ms = max(1, round(min(wait_s, LONGEST_BLOCK_S) * 1000))
        words = (
            *("XREADGROUP", "GROUP", GROUP, worker, "COUNT", 1, "BLOCK", block_ms, "STREAMS"),
            *keys,
            *(">" for _ in keys),
        )
        line = self._lines.get((worker, prefix))
        if line is None:
            line = self._lines[worker, prefix] = self._blocking.caller(keys[0])
        async with translated():
            try:
                answer = await line.call(*words)
            except asyncio.CancelledError:
                # Without a connection the server forgets the read; else it would deliver an entry to nobody.
                await line.close()
                raise
            except driver.ResponseError as error:
                if "UNBLOCKED" in str(error):
                    # The stream has left this server, or the server is no master any more.
                    return []
                if "NOGROUP" not in str(error):
                    raise
                await self._scripts.ensure_groups(prefix, self._scripts.options.streams)
                return []
        return list(_entries(prefix, answer))

    def taken(self, worker: str, prefix: str) -> Caller | None:
        """The connection, for its taker to close; the next read makes another."""
        return self._lines.pop((worker, prefix), None)

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()


async def first_that_brings(reads: Sequence[asyncio.Task[list[Entry]]], wait_s: float) -> None:
    """Until a read has entries or an error, all have ended, or the time is over."""
    # The server ends them; one that is left behind would bring a task when nobody waits for it any more.
    until_s = time.monotonic() + wait_s + (ENDS_TOGETHER_S if len(reads) > 1 else 0.0)
    pending = set(reads)
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=max(0.0, until_s - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
        )
        if not done or any(read.cancelled() or read.exception() or read.result() for read in done):
            return
        # The server's clock has ended these; it is about to end those that began with them.
        until_s = min(until_s, time.monotonic()) + ENDS_TOGETHER_S


def _entries(prefix: str, answer: Any) -> Iterable[Entry]:
    for key, items in answer or ():
        stream, _, priority = key.decode().removeprefix(f"{prefix}:stream:").rpartition(":")
        for entry, fields in items:
            # As ``entry_id`` in Lua: what is no task of ours gets no id, and the script sets it aside.
            body: bytes = fields[1] if len(fields) == 2 and fields[0] == b"b" else b""
            task_id = body[2 : 2 + ID_LENGTH].decode(errors="replace") if body.startswith(b'["') else ""
            yield stream, int(priority), entry.decode(), task_id, body
