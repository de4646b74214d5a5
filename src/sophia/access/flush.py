"""From the gate's counters to the ledger."""

from __future__ import annotations

from sophia.access.base import CallLedger, CallUpkeep
from sophia.nouns.clock import Clock

LIMIT = 1_000
IDLE_S = 15.0
"""Usage that nobody asked for reaches the ledger within that; an idle platform asks Redis 0.07 times a second for it."""


class UsageFlush:
    """Any number may run at once, in routers and gateways: a batch is recorded once, whoever takes it."""

    def __init__(self, upkeep: CallUpkeep, ledger: CallLedger, clock: Clock) -> None:
        self._upkeep = upkeep
        self._ledger = ledger
        self._clock = clock

    async def flush(self) -> float:
        """One bounded pass; gives the seconds until another is worth while."""
        batches, again_s = await self._upkeep.upkeep(LIMIT)
        for batch in batches:
            await self._ledger.record_calls(batch, self._clock.now_ms())
            await self._upkeep.recorded(batch)
        return IDLE_S if again_s is None else min(IDLE_S, max(0.05, again_s))
