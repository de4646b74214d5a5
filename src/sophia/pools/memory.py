"""What was learned of demand outlives the manager that learned it: the next leader goes on where the last one ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from sophia.decisions.scaling.history import History, Learned
from sophia.events.base import EventLog
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError

log = logging.getLogger(__name__)

HISTORIES = "pool-histories"
"""Name of the snapshot: JSON, by pool, some 20 KB each."""
KEEP_EVERY_S = 120.0
"""So much is lost with a manager that is killed."""
TIMEOUT_S = 2.0


class Memory:
    """Of one manager. Trouble with the event log costs what was learned, and stops nothing."""

    def __init__(self, histories: Mapping[str, History], events: EventLog, clock: Clock) -> None:
        self._histories = histories
        self._events = events
        self._clock = clock
        self._kept_at_s = clock.monotonic_s()

    async def recall(self) -> None:
        """Take over what the last manager knew of pools that are there still."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                body = await self._events.snapshot(HISTORIES)
            learned = {} if body is None else msgspec.json.decode(body, type=dict[str, Learned])
        except (SophiaError, TimeoutError, msgspec.DecodeError) as error:
            log.warning("what was learned of demand before is not known: %s", error or "no answer")
            return
        self._kept_at_s = self._clock.monotonic_s()
        for name, history in self._histories.items():
            if name in learned:
                history.resume(learned[name], self._clock.now_ms())

    async def keep(self, *, now: bool = False) -> None:
        """Now and then, or ``now``."""
        if not now and self._clock.monotonic_s() - self._kept_at_s < KEEP_EVERY_S:
            return
        self._kept_at_s = self._clock.monotonic_s()
        body = msgspec.json.encode({name: history.learned() for name, history in self._histories.items()})
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._events.put_snapshot(HISTORIES, body)
        except (SophiaError, TimeoutError) as error:
            log.warning("what was learned of demand is kept later: %s", error or "no answer")
