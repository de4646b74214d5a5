"""The router: one leader among its replicas keeps the queue in order, records the ledger and runs the pools."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from sophia.access.base import CallLedger, KeyStore
from sophia.access.flush import UsageFlush
from sophia.events.base import EventLog
from sophia.intake import Intake
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.queue.base import QueueUpkeep, TaskQueue
from sophia.router.accounts import Bookkeeper
from sophia.router.batches import BatchKeeper
from sophia.router.reconcile import PASS_EVERY_S, Reconciler
from sophia.router.recorder import Recorder
from sophia.router.schedules import Scheduler
from sophia.router.statistics import Statistics
from sophia.router.sweep import Sweeper
from sophia.settings.model import Settings
from sophia.store.base import Ledger, Spending

log = logging.getLogger(__name__)

LEADER_TTL_S = 7.0
LEADER_RENEW_S = 2.5
UPKEEP_LIMIT = 200
IDLE_S = 5.0
"""Longest pause between passes while no task changes; a change ends the pause."""
UPKEEP_BUSY_S = 0.2
STATISTICS_BUSY_S = 1.0
RECORD_WAIT_S = 20.0
PRUNE_EVERY_S = 3_600.0
BATCHES_BUSY_S = 0.5


class Hosted(Protocol):
    """A service that runs only where the router leads (the pool manager)."""

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class RouterLedger(Ledger, Spending, Protocol):
    """All that a router asks of the ledger."""


class Router:
    """Any number may run; one leads. A leader that cannot renew its lease in time stops leading by itself."""

    def __init__(
        self,
        holder: str,
        *,
        queue: TaskQueue,
        upkeep: QueueUpkeep,
        events: EventLog,
        ledger: RouterLedger,
        intake: Intake,
        sweeper: Sweeper,
        pools: Hosted | None,
        settings: Settings,
        clock: Clock,
        flush: UsageFlush | None = None,
        keys: KeyStore | None = None,
        calls: CallLedger | None = None,
        new_batches: Callable[[], BatchKeeper] | None = None,
    ) -> None:
        self._holder = holder
        self._queue = queue
        self._upkeep = upkeep
        self._events = events
        self._ledger = ledger
        self._recorder = Recorder(queue, upkeep, ledger)
        self._reconciler = Reconciler(queue, upkeep, ledger, self._recorder.durable_open)
        budgets = {name: tenant.budget for name, tenant in settings.tenants.items()}
        # Accounts of keys, and calls counted against budgets, are where the gate shares them with the queue.
        shared = (keys, calls) if flush is not None and keys is not None and calls is not None else None
        self._bookkeeper = Bookkeeper(upkeep, ledger, self._reconciler, budgets, clock, shared)
        self._flush = flush
        self._accounts_closed = asyncio.Event()
        self._intake = intake
        self._sweeper = sweeper
        self._pools = pools
        self._settings = settings
        self._clock = clock
        self._new_batches = new_batches
        self._batches: BatchKeeper | None = None
        self._statistics = Statistics()
        self._stopping = asyncio.Event()
        self._upkeep_wanted = asyncio.Event()
        self._statistics_wanted = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            if await self._try_to_lead():
                log.info("leading")
                await self._lead()
                log.info("no longer leading")
            await self._pause(random.uniform(0.5, 1.0) * LEADER_RENEW_S)  # noqa: S311 - jitter

    async def _try_to_lead(self) -> bool:
        try:
            return await self._upkeep.lead("router", self._holder, LEADER_TTL_S)
        except SophiaError as error:
            log.warning("cannot ask for leadership: %s", error)
            return False

    async def _lead(self) -> None:
        self._recorder.caught_up.clear()
        self._batches = None if self._new_batches is None else self._new_batches()
        duties = [
            self._forever(self._pass_of_upkeep),
            self._forever(self._record),
            self._forever(self._publish_statistics),
            self._forever(self._prune),
            self._forever(self._sweep),
            self._forever(self._open_accounts),
            self._forever(self._reconcile),
            self._forever(Scheduler(self._settings, self._intake, self._events, self._clock).submit_due),
        ]
        if self._flush is not None:
            duties.append(self._forever(self._flush.flush))
        if self._batches is not None:
            duties.append(self._forever(functools.partial(self._advance_batches, self._batches)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(duty) for duty in duties]
            if self._pools is not None:
                tasks.append(group.create_task(self._pools.run()))
            try:
                await self._hold_leadership()
            finally:
                if self._pools is not None:
                    await self._pools.stop()
                for task in tasks:
                    task.cancel()
        try:
            await self._upkeep.resign("router", self._holder)
        except SophiaError as error:
            log.warning("the leader lease will expire by itself: %s", error)

    async def _hold_leadership(self) -> None:
        """Returns when it is time to stop, or when the lease may be somebody else's."""
        renewed_s = self._clock.monotonic_s()
        while not await self._pause(LEADER_RENEW_S):
            asked_s = self._clock.monotonic_s()
            try:
                if not await self._upkeep.lead("router", self._holder, LEADER_TTL_S):
                    return
                renewed_s = asked_s
            except SophiaError as error:
                log.warning("cannot renew leadership: %s", error)
            if self._clock.monotonic_s() - renewed_s > LEADER_TTL_S:
                return

    async def _forever(self, duty: Callable[[], Awaitable[float]]) -> None:
        """Repeat a bounded duty, which says how long to pause; trouble of a dependency makes it pause longer."""
        trouble_s = 0.5
        while True:
            try:
                pause_s = await duty()
                trouble_s = 0.5
            except SophiaError as error:
                log.warning("%s: %s", _name(duty), error)
                pause_s, trouble_s = trouble_s, min(trouble_s * 2, 10.0)
            await asyncio.sleep(pause_s)

    async def _pass_of_upkeep(self) -> float:
        report = await self._upkeep.upkeep(UPKEEP_LIMIT)
        if report.promoted or report.reclaimed or report.expired or report.dead:
            log.info(
                "upkeep",
                extra={
                    "promoted": report.promoted,
                    "reclaimed": report.reclaimed,
                    "expired": report.expired,
                    "dead": report.dead,
                },
            )
        if not report.accounts_open:
            self._accounts_closed.set()
        pause_s = IDLE_S if report.next_due_in_s is None else min(report.next_due_in_s, IDLE_S)
        await asyncio.sleep(UPKEEP_BUSY_S)
        await wait_for_event(self._upkeep_wanted, pause_s)
        return 0.0

    async def _record(self) -> float:
        if await self._recorder.record_some(RECORD_WAIT_S):
            self._upkeep_wanted.set()
            self._statistics_wanted.set()
            if self._batches is not None:
                self._batches.note_change()
        return 0.02

    async def _publish_statistics(self) -> float:
        """Queue depths as events, once a second at most and only what changed."""
        events = self._statistics.changed(await self._queue.stats(), self._clock.now_ms())
        if events:
            await self._events.publish(events)
        await asyncio.sleep(STATISTICS_BUSY_S)
        await wait_for_event(self._statistics_wanted, IDLE_S)
        return 0.0

    async def _prune(self) -> float:
        days = self._settings.queue.ledger_retention_days
        gone = await self._ledger.prune(self._clock.now_ms() - round(days * 86_400_000), 1_000)
        return 1.0 if gone else PRUNE_EVERY_S

    async def _sweep(self) -> float:
        await self._recorder.caught_up.wait()
        if self._batches is not None:
            await self._batches.caught_up.wait()
        return await self._sweeper.sweep_some()

    async def _advance_batches(self, batches: BatchKeeper) -> float:
        pause_s = await batches.advance_some()
        await asyncio.sleep(BATCHES_BUSY_S)
        await wait_for_event(batches.wanted, pause_s)
        return 0.0

    async def _open_accounts(self) -> float:
        await self._accounts_closed.wait()
        if not await self._bookkeeper.reopen():
            return random.uniform(0.1, 1.0)  # noqa: S311 - jitter
        self._accounts_closed.clear()
        return 0.0

    async def _reconcile(self) -> float:
        pause_s = await self._reconciler.reconcile_some()
        if pause_s > PASS_EVERY_S:
            await wait_for_event(self._recorder.durable_open, pause_s, clear=False)
        return min(pause_s, PASS_EVERY_S)

    async def _pause(self, seconds: float) -> bool:
        """Whether it is time to stop."""
        return await wait_for_event(self._stopping, seconds, clear=False)


def _name(duty: Callable[[], Awaitable[float]]) -> str:
    called = duty.func if isinstance(duty, functools.partial) else duty
    return str(getattr(called, "__name__", called)).strip("_")


async def wait_for_event(event: asyncio.Event, timeout_s: float, *, clear: bool = True) -> bool:
    """Whether it was set within ``timeout_s``; cleared again when it is to be waited for anew."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    if clear:
        event.clear()
    return True
