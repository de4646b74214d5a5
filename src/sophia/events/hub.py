"""One tail of the platform's log per process, shared by all who follow it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import StrEnum

import msgspec

from sophia.cancel import cancel_all
from sophia.events.base import EventLog, Page
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.event import Event

log = logging.getLogger(__name__)

READ_LIMIT = 500
READ_WAIT_S = 20.0
BACKOFF_MAX_S = 5.0
START_TIMEOUT_S = 5.0

Match = Callable[[Event], bool]


class Delivery(msgspec.Struct, frozen=True):
    """An event, and where the hub stood before it (see ``events.cursors``)."""

    event: Event
    before: str


class Loss(StrEnum):
    """Why a subscription missed events: re-read the log from your own cursor, then ``resume``."""

    OVERFLOW = "overflow"
    """Its consumer was too slow."""
    GAP = "gap"
    """The log itself was trimmed before the hub could read it."""


class Subscription:
    """Matching events since ``start``, oldest first, in a bounded buffer."""

    def __init__(self, match: Match, start: str, capacity: int) -> None:
        self.start = start
        """Every matching event after this cursor arrives here."""
        self.loss: Loss | None = None
        self._match = match
        self._buffer: deque[Delivery] = deque()
        self._capacity = capacity
        self._arrived = asyncio.Event()

    @property
    def drained(self) -> bool:
        """Whether all that has come was taken."""
        return not self._buffer and self.loss is None

    async def next(self, timeout_s: float) -> Delivery | None:
        """The next event; ``None`` after ``timeout_s`` seconds without one, or at once while ``loss`` is set."""
        if not self._buffer and self.loss is None:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
        if self.loss is not None or not self._buffer:
            return None
        return self._buffer.popleft()

    def resume(self, start: str) -> None:
        """Collect again, from the hub's position ``start`` on."""
        self.start, self.loss = start, None
        self._buffer.clear()

    def wake(self) -> None:
        """Let a waiting ``next`` return now."""
        self._arrived.set()

    def offer(self, delivery: Delivery) -> None:
        if self.loss is not None or not self._match(delivery.event):
            return
        if len(self._buffer) >= self._capacity:
            self.lose(Loss.OVERFLOW)
            return
        self._buffer.append(delivery)
        self._arrived.set()

    def lose(self, loss: Loss) -> None:
        self.loss = loss
        self._buffer.clear()
        self._arrived.set()


class Hub:
    """Follows the log with one blocking read, whoever subscribes, and goes on from its cursor after an outage."""

    def __init__(self, events: EventLog, *, capacity: int = 1000, read_wait_s: float = READ_WAIT_S) -> None:
        self._events = events
        self._capacity = capacity
        self._read_wait_s = read_wait_s
        self._cursor: str | None = None
        self._following = asyncio.Event()
        self._stopped = asyncio.Event()
        self._subscriptions: set[Subscription] = set()

    @property
    def cursor(self) -> str:
        """The position up to which events were handed out. Raises ``Unavailable`` before the log was ever reached."""
        if self._cursor is None:
            raise Unavailable("events are not being followed yet", retry_after_s=1)
        return self._cursor

    @property
    def followers(self) -> int:
        """Subscriptions now open."""
        return len(self._subscriptions)

    async def run(self) -> None:
        """Follow until ``stop``."""
        tail = asyncio.create_task(self._tail(), name="event-hub")
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({tail, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if tail.done():
                tail.result()
        finally:
            await cancel_all(tail, stopped)

    async def stop(self) -> None:
        self._stopped.set()

    def wake(self) -> None:
        """Let every waiting ``next`` return now, so that its consumer can look whether to go on."""
        for subscription in self._subscriptions:
            subscription.wake()

    @contextlib.asynccontextmanager
    async def subscribe(self, match: Match) -> AsyncIterator[Subscription]:
        """Every event for which ``match`` is true from now on. Raises ``Unavailable`` while the log was never reached."""
        if self._cursor is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await self._following.wait()
        subscription = Subscription(match, self.cursor, self._capacity)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _tail(self) -> None:
        failures = 0
        while True:
            try:
                if self._cursor is None:
                    self._cursor = await self._events.head()
                    self._following.set()
                page = await self._events.read(self._cursor, READ_LIMIT, self._read_wait_s)
            except SophiaError as error:
                failures += 1
                pause_s = min(BACKOFF_MAX_S, 0.1 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
                log.warning("event log unavailable, next try in %.1f s: %s", pause_s, error.message)
                await asyncio.sleep(pause_s)
                continue
            if failures:
                log.info("event log is back after %d failed reads", failures)
                failures = 0
            self._hand_out(page)

    def _hand_out(self, page: Page) -> None:
        before = self._cursor or ""
        if page.gap:
            log.warning("the event log was trimmed before it was read: subscribers read again from their cursors")
            for subscription in self._subscriptions:
                subscription.lose(Loss.GAP)
        for event in page.events:
            delivery = Delivery(event, before)
            for subscription in self._subscriptions:
                subscription.offer(delivery)
            before = event.cursor
        self._cursor = page.cursor
