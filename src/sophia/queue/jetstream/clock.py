"""The server's wall clock, so that machines whose clocks differ agree on what is due and whose lease has ended."""

from __future__ import annotations

import itertools
import os
import time

import msgspec

from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.failures import Trouble
from sophia.queue.jetstream.messages import Put

SYNC_EVERY_S = 30.0
UNSURE_MS = 250.0
"""A notion of the time that may be more than this wrong is made better at the next call that comes a second later."""
SYNC_UNSURE_EVERY_S = 1.0
TICK_TTL_S = 10
DRIFT = 200e-6
"""By how much two clocks may differ in their speed; quartz is ten times better."""


class Bounds(msgspec.Struct, frozen=True):
    """Between which values the server's wall clock minus our monotonic one lies, in milliseconds."""

    low_ms: float
    high_ms: float

    @property
    def middle_ms(self) -> float:
        return (self.low_ms + self.high_ms) / 2

    @property
    def width_ms(self) -> float:
        return self.high_ms - self.low_ms

    def after(self, seconds: float) -> Bounds:
        """What is still known then."""
        return Bounds(self.low_ms - seconds * DRIFT * 1000, self.high_ms + seconds * DRIFT * 1000)

    def narrowed(self, new: Bounds) -> Bounds:
        """Both hold, unless they contradict each other: then somebody has set the server's clock, and ``new`` holds."""
        low_ms, high_ms = max(self.low_ms, new.low_ms), min(self.high_ms, new.high_ms)
        return Bounds(low_ms, high_ms) if low_ms <= high_ms else new


class ServerClock:
    """Asks the server now and then, and counts on with the monotonic clock in between. An answer that took long says
    little, and so it changes little: a worker behind a stalled connection does not end up in the past."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._unique = os.urandom(8).hex()
        self._ticks = itertools.count(1)
        self._bounds: Bounds | None = None
        self._synced_at_s = 0.0

    async def now_ms(self) -> int:
        """At most ``SYNC_EVERY_S`` old a notion of the server's time. Raises what ``Bus`` raises."""
        at_s = time.monotonic()
        if self._bounds is None:
            return await self.sync()
        every_s = SYNC_EVERY_S if self._bounds.width_ms <= UNSURE_MS else SYNC_UNSURE_EVERY_S
        if at_s - self._synced_at_s > every_s:
            return await self.sync()
        return self._estimate_ms(at_s, self._bounds)

    async def sync(self) -> int:
        """Ask the server now: it stored our tick after we sent it and before we heard of it."""
        subject = names.tick(self._unique)
        sent_s = time.monotonic()
        await self._bus.write([Put(subject, str(next(self._ticks)).encode(), ttl_s=TICK_TTL_S)])
        heard_s = time.monotonic()
        stored = await self._bus.last(subject)
        at_s = time.monotonic()
        if stored is not None:
            # The stamp is cut to whole milliseconds.
            seen = Bounds(stored.at_ms - heard_s * 1000, stored.at_ms + 1 - sent_s * 1000)
            known = None if self._bounds is None else self._bounds.after(at_s - self._synced_at_s)
            self._bounds = seen if known is None else known.narrowed(seen)
            self._synced_at_s = at_s
        if self._bounds is None:
            raise Trouble("the server's time is not known")
        return self._estimate_ms(at_s, self._bounds)

    def _estimate_ms(self, at_s: float, bounds: Bounds) -> int:
        return round(at_s * 1000 + bounds.middle_ms)
