"""The worker: leases, runs, settles, and drains when it is told to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sophia.inference.base import Models
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.nouns.task import AttemptOutcome
from sophia.objects.packing import INLINE, Packing
from sophia.queue.base import Lease, WorkerBeat, WorkQueue
from sophia.settings.model import Settings
from sophia.worker import metrics
from sophia.worker.context import Handler
from sophia.worker.running import RunningAttempt, Stop

log = logging.getLogger(__name__)

LEASE_WAIT_S = 50.0
REPORT_AT_MOST_EVERY_S = 0.5
HAND_BACK_S = 3.0
"""Kept of the drain time for handing back what did not finish."""


class Worker:
    """One worker process's service. ``run`` returns when it has drained after ``stop`` or its pool's request."""

    def __init__(
        self,
        worker_id: str,
        pool: str,
        streams: Sequence[str],
        slots: int,
        *,
        queue: WorkQueue,
        models: Models,
        settings: Settings,
        handlers: Mapping[str, Handler],
        clock: Clock,
        drain_s: float,
        packing: Packing = INLINE,
    ) -> None:
        self.worker_id = worker_id
        self._pool = pool
        self._streams = tuple(streams)
        self._slots = slots
        self._queue = queue
        self._models = models
        self._settings = settings
        self._handlers = handlers
        self._clock = clock
        self._drain_s = drain_s
        self._packing = packing
        self._started_at_ms = clock.now_ms()
        self._running: dict[tuple[str, int], RunningAttempt] = {}
        self._handling = 0
        """Of those, handlers under way."""
        self._done = 0
        self._stopping = asyncio.Event()
        self._slots_changed = asyncio.Event()
        self._news = asyncio.Event()
        """Something to report."""

    def stop(self) -> None:
        """Take nothing new, finish or hand back what runs, then leave."""
        self._stopping.set()
        self._note_change()

    def _note_change(self) -> None:
        self._slots_changed.set()
        self._news.set()

    def _note_handled(self) -> None:
        self._handling -= 1
        self._note_change()

    async def run(self) -> None:
        """Raises only what nobody can mend by waiting (``ConfigError``)."""
        async with asyncio.TaskGroup() as upkeep:
            heartbeats = upkeep.create_task(self._keep(self._extend_leases, self._settings.queue.heartbeat_s))
            beats = upkeep.create_task(self._report())
            try:
                async with asyncio.TaskGroup() as attempts:
                    await self._lease_until_stopped(attempts)
                    await self._drain()
            finally:
                heartbeats.cancel()
                beats.cancel()
        await self._leave()

    async def _lease_until_stopped(self, attempts: asyncio.TaskGroup) -> None:
        while not self._stopping.is_set():
            self._slots_changed.clear()
            if (free := self._free()) <= 0:
                await self._slots_changed.wait()
                continue
            for lease in await self._leased(free):
                running = self._take(lease)
                attempts.create_task(self._finish(running))

    def _free(self) -> int:
        """An attempt whose handler is through needs its slot no more: the next one is leased while it is recorded. But no
        more than as many again are held back by a queue that does not take results."""
        return min(self._slots - self._handling, 2 * self._slots - len(self._running))

    async def _leased(self, count: int) -> list[Lease]:
        """Leases, or none when it is time to stop or the queue is in trouble."""
        leasing = asyncio.create_task(self._queue.lease(self.worker_id, self._streams, count, LEASE_WAIT_S))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({leasing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return leasing.result() if leasing.done() else []
        except SophiaError as error:
            log.warning("cannot lease: %s", error)
            await _set_within(self._stopping, random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            return []
        finally:
            leasing.cancel()
            stopping.cancel()

    def _take(self, lease: Lease) -> RunningAttempt:
        running = RunningAttempt(
            lease,
            self._pool,
            queue=self._queue,
            models=self._models,
            settings=self._settings,
            handlers=self._handlers,
            clock=self._clock,
            packing=self._packing,
            on_handled=self._note_handled,
        )
        self._handling += 1
        self._running[lease.task.id, lease.attempt] = running
        self._note_change()
        return running

    async def _finish(self, running: RunningAttempt) -> None:
        lease = running.lease
        outcome: AttemptOutcome | None = None
        try:
            outcome = await running.run()
        except SophiaError as error:
            log.error("an attempt could not be settled: %s", error, extra={"task": lease.task.id})
        finally:
            del self._running[lease.task.id, lease.attempt]
            if not running.handled:
                self._handling -= 1
            self._done += 1
            self._note_change()
        metrics.processed(lease.task.type, outcome.value if outcome else "refused").inc()

    async def _extend_leases(self) -> None:
        """Heartbeat of everything that runs. An attempt whose lease may have expired unextended is given up: another
        worker may have it, and it must not spend any more."""
        attempts = list(self._running.values())
        if not attempts:
            return
        asked_s = self._clock.monotonic_s()
        try:
            statuses = await self._queue.extend([attempt.lease for attempt in attempts])
        except SophiaError as error:
            log.warning("cannot extend leases: %s", error)
            statuses = []
        # By attempt: a lost attempt may still be ending here while this worker runs the next one of the same task.
        by_attempt = {(attempt.lease.task.id, attempt.lease.attempt): attempt for attempt in attempts}
        for status in statuses:
            attempt = by_attempt[status.task_id, status.attempt]
            if not status.held:
                attempt.stop(Stop.LOST)
            else:
                attempt.extended_at_s = asked_s
                if status.cancel_requested:
                    attempt.stop(Stop.CANCELLED)
        heard_of = {(status.task_id, status.attempt) for status in statuses}
        for key in by_attempt.keys() - heard_of:
            if self._clock.monotonic_s() - by_attempt[key].extended_at_s > self._settings.queue.lease_s:
                by_attempt[key].stop(Stop.LOST)

    async def _report(self) -> None:
        """Report for duty at a slow pace, and soon after the number of running tasks has changed."""
        while True:
            self._news.clear()
            beat = self._beat()
            try:
                if await self._queue.beat(beat) and not self._stopping.is_set():
                    self.stop()
            except SophiaError as error:
                log.warning("cannot report: %s", error)
            await asyncio.sleep(REPORT_AT_MOST_EVERY_S)
            await _set_within(self._news, beat.due_again_in_s - REPORT_AT_MOST_EVERY_S)

    def _beat(self) -> WorkerBeat:
        return WorkerBeat(
            worker=self.worker_id,
            pool=self._pool,
            state="draining" if self._stopping.is_set() else "ready",
            busy=min(len(self._running), self._slots),
            slots=self._slots,
            started_at_ms=self._started_at_ms,
            done=self._done,
        )

    async def _drain(self) -> None:
        until_s = self._clock.monotonic_s() + max(0.0, self._drain_s - HAND_BACK_S)
        while self._running and self._clock.monotonic_s() < until_s:
            self._slots_changed.clear()
            await _set_within(self._slots_changed, until_s - self._clock.monotonic_s())
        for attempt in list(self._running.values()):
            attempt.stop(Stop.DRAINED)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_S):
                await self._queue.leave(self.worker_id)
        except (SophiaError, TimeoutError) as error:
            log.warning("could not say goodbye: %s", error)

    async def _keep(self, call: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await call()


async def _set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
