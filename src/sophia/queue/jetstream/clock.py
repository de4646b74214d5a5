"""The server's wall clock, so that machines whose clocks differ agree on what is due and whose lease has ended."""

from __future__ import annotations

import itertools
import os
import time

from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.messages import Put

SYNC_EVERY_S = 30.0


class ServerClock:
    """Asks the server now and then, and counts on with the monotonic clock in between."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._unique = os.urandom(8).hex()
        self._ticks = itertools.count(1)
        self._offset_ms = 0.0
        self._synced_at_s: float | None = None

    async def now_ms(self) -> int:
        """At most ``SYNC_EVERY_S`` old a notion of the server's time. Raises what ``Bus`` raises."""
        at_s = time.monotonic()
        if self._synced_at_s is None or at_s - self._synced_at_s > SYNC_EVERY_S:
            return await self.sync()
        return round(at_s * 1000 + self._offset_ms)

    async def sync(self) -> int:
        """Ask the server now. Its answer is at most one round trip old."""
        subject = names.tick(self._unique)
        await self._bus.write([Put(subject, str(next(self._ticks)).encode(), ttl_s=1)])
        stored = await self._bus.last(subject)
        at_s = time.monotonic()
        if stored is not None:
            self._offset_ms = stored.at_ms - at_s * 1000
            self._synced_at_s = at_s
        return round(at_s * 1000 + self._offset_ms)
