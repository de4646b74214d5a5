"""After a full disk the embedded Redis writes its append-only file anew, as soon as it can write again."""

from __future__ import annotations

import asyncio
import logging

import redis.asyncio as aioredis
from redis import exceptions as driver

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""The server itself tries a failed write again once a second."""
TIMEOUT_S = 5.0


class AofGuard:
    """Watches one server of our own over its socket; one ``INFO`` a second.

    Valkey 9.1 cuts off what it has written of a piece that did not fit, but when it has rewritten the file before, it goes
    on behind the place where that piece ended: a hole of zeros remains, which it cannot read at its next start, and the
    next piece that does not fit would take accepted ones with it. A file that is written anew from memory has neither.
    """

    def __init__(self, url: str) -> None:
        self._client = aioredis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, protocol=2, max_connections=1
        )
        self._refused: int | None = None
        self._torn = False

    async def run(self) -> None:
        """Until it is cancelled. A server that does not answer is asked again."""
        try:
            while True:
                try:
                    await self._look()
                except (driver.RedisError, OSError) as error:
                    log.debug("the embedded Redis does not answer: %s", error)
                await asyncio.sleep(LOOK_S)
        finally:
            await self._client.aclose()

    async def _look(self) -> None:
        state = await self._client.info("persistence", "errorstats")
        refused = int(state.get("errorstat_MISCONF", {}).get("count", 0))
        fails = state["aof_last_write_status"] != "ok"
        # A failure may have come and gone between two looks; then some command was refused meanwhile.
        if not self._torn and (fails or refused > (self._refused or 0)):
            self._torn = True
            log.warning("the embedded Redis could not write to its disk")
        self._refused = refused
        # What is being rewritten now was begun before this look, perhaps before the failure.
        rests = not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])
        if self._torn and not fails and rests:
            await self._rewrite()

    async def _rewrite(self) -> None:
        before = await self._client.info("persistence")
        await self._client.bgrewriteaof()
        while True:
            await asyncio.sleep(LOOK_S / 10)
            state = await self._client.info("persistence")
            if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                break
        done = state["aof_last_bgrewrite_status"] == "ok" and state["aof_rewrites"] > before["aof_rewrites"]
        if done and state["aof_last_write_status"] == "ok":
            self._torn = False
            log.warning("the embedded Redis can write again, and has written its append-only file anew")
