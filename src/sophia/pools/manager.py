"""The pool manager: looks, plans, acts, tells. One at a time per platform; its host runs it under the leader lease."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Mapping

from msgspec.structs import replace

from sophia.decisions.plan_scale import plan_scale
from sophia.decisions.scaling.history import History
from sophia.decisions.windows import bounds_at
from sophia.events.base import EventLog
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import Demand, InstanceState, PoolSpec, PoolStatus, ScalePlan
from sophia.pools.act import Actor
from sophia.pools.breakers import Breakers
from sophia.pools.journal import Journal
from sophia.pools.memory import Memory
from sophia.pools.observe import Observation, demand_for, observe
from sophia.pools.orders import OrderDesk
from sophia.pools.pace import Pace
from sophia.pools.reaper import Reaper
from sophia.pools.roster import Roster
from sophia.pools.spending import Spending
from sophia.providers.base import Provider
from sophia.queue.base import QueueUpkeep, TaskQueue
from sophia.settings.model import Settings
from sophia.store.base import Ledger

log = logging.getLogger(__name__)

QUIET_S = 5.0
"""Longest pause while nothing waits, runs or changes. Any event of the platform ends it, so a task that comes to a pool
at zero is seen at once, and quiet pools cost next to nothing."""
STOP_GRACE_S = 3.0
LOCAL = "local"
SHUTDOWN_POLL_S = 0.1


class PoolManager:
    """``run`` may be called again after it ended. Stopping leaves the machines as they are: whoever runs next finds
    them in the ledger and in the providers' lists. ``shutdown`` ends the local ones."""

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        queue: TaskQueue,
        upkeep: QueueUpkeep,
        events: EventLog,
        ledger: Ledger,
        clock: Clock,
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._pools: Mapping[str, PoolSpec] = settings.pools
        self._tick_s = settings.pools_loop.tick_s
        self._providers = providers
        self._queue = queue
        self._upkeep = upkeep
        self._events = events
        self._clock = clock
        traits = {name: provider.traits for name, provider in providers.items()}
        self._roster = Roster(self._pools, settings.pools_loop.history_s, traits)
        self._journal = Journal(events, ledger, clock)
        self._spending = Spending()
        chance = chance or random.SystemRandom()
        self._breakers = Breakers(clock, chance)
        self._actor = Actor(
            providers,
            upkeep,
            self._roster,
            self._journal,
            self._spending,
            self._breakers,
            clock,
            chance,
            settings.models,
        )
        self._desk = OrderDesk(self._pools, providers, self._roster, self._actor, events, clock)
        self._reaper = Reaper(self._pools, providers, ledger, clock, settings.pools_loop.reap_every_s)
        self._paces = {name: Pace() for name in self._pools}
        self._histories = {name: History(spec.scaling, spec.slots) for name, spec in self._pools.items()}
        self._memory = Memory(self._histories, events, clock)
        self._loaded = False
        self._rest_s = 0.0
        """How long nothing is expected to change by itself."""
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()

    async def run(self) -> None:
        """Look after the pools until ``stop``. Trouble with queue, ledger or providers makes it hold, not end."""
        self._stopping.clear()
        self._stopped.clear()
        self._loaded, self._rest_s = False, 0.0
        passes = asyncio.create_task(self._passes(), name="pools")
        reaping = asyncio.create_task(self._reaper.run(), name="reaper")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({passes, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({passes}, timeout=STOP_GRACE_S)
        finally:
            for task in (passes, reaping, stopping):
                task.cancel()
            await asyncio.gather(passes, reaping, stopping, return_exceptions=True)
            if self._loaded:
                await self._memory.keep(now=True)
            self._stopped.set()
        if not passes.cancelled():
            passes.result()

    async def stop(self) -> None:
        """End ``run`` and wait for that: what it is doing now has ``STOP_GRACE_S`` to finish, since another manager may
        begin. The machines go on."""
        self._stopping.set()
        async with asyncio.timeout(2 * STOP_GRACE_S):
            await self._stopped.wait()

    async def tick(self) -> None:
        """One pass over all pools. Raises ``Unavailable`` while the ledger cannot be read for the first time."""
        if not self._loaded:
            kept = await self._journal.load()
            self._roster.load(kept.instances, kept.seen_at_ms)
            self._spending.load(kept.everything)
            self._desk.open(kept.cordoned)
            self._histories.update({name: History(spec.scaling, spec.slots) for name, spec in self._pools.items()})
            await self._memory.recall()
            self._loaded = True
        seen = await observe(self._queue, self._providers, self._clock)
        await self._take_in(seen)
        await self._actor.deliver_again()
        await self._desk.carry_out()
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._look_after(name, spec, seen)) for name, spec in self._pools.items()]
        statuses = [look.result() for look in looks]
        await self._tell(statuses)
        await self._memory.keep()
        quiet = all(self._is_quiet(status) for status in statuses)
        self._rest_s = self._quiet_for_s(statuses, seen.at_ms) if quiet else 0.0

    async def shutdown(self, drain_timeout_s: float) -> None:
        """Stop, then drain every local machine, and terminate what is still there after ``drain_timeout_s``."""
        await self.stop()
        provider = self._providers.get(LOCAL)
        if provider is None:
            return
        until_s = self._clock.monotonic_s() + drain_timeout_s
        left = await provider.machines()
        for machine in left:
            await self._reach(machine.name, "provider", provider.drain(machine.ref), until_s)
        for machine in left:
            await self._reach(machine.name, "queue", self._upkeep.request_stop(machine.name), until_s)
        while left and self._clock.monotonic_s() < until_s:
            await asyncio.sleep(SHUTDOWN_POLL_S)
            left = await provider.machines()
        for machine in left:
            log.warning("terminating %s: it did not drain within %.0f s", machine.name, drain_timeout_s)
            await provider.terminate(machine.ref)
        await self._tell_of_shutdown()

    async def _passes(self) -> None:
        trouble_s = 0.5
        while not self._stopping.is_set():
            try:
                cursor = await self._events.head() if self._rest_s else None
                await self.tick()
                await self._rest(cursor)
                trouble_s = 0.5
            except SophiaError as error:
                log.warning("the pools are left alone for %.1f s: %s", trouble_s, error)
                await self._pause(trouble_s)
                trouble_s = min(trouble_s * 2, 10.0)

    async def _take_in(self, seen: Observation) -> None:
        before = {one.id: one.state for one in self._roster.everyone()}
        findings = self._roster.take_in(seen)
        for provider, machine in findings.strays:
            await self._actor.end_stray(self._providers[provider], machine)
        for instance in findings.failed_boots:
            self._breakers.pool_failed(instance.pool, f"{instance.id} was gone before it was ready")
        for instance, reason in findings.ill:
            await self._actor.drain(self._provider_of(instance.pool), instance, reason)
        for instance, reason in findings.lost:
            await self._actor.terminate(self._provider_of(instance.pool), instance, reason)
        for instance in self._roster.everyone():
            if instance.state is InstanceState.READY and before.get(instance.id) is not InstanceState.READY:
                self._breakers.pool_succeeded(instance.pool)
            self._journal.note(instance)
        self._spending.take_in(self._roster.everyone(), seen.at_ms)
        if seen.beats is not None:
            for name, pace in self._paces.items():
                pace.look([beat for beat in seen.beats.values() if beat.pool == name], seen.at_ms)

    async def _look_after(self, name: str, spec: PoolSpec, seen: Observation) -> PoolStatus:
        if spec.provider not in self._providers:
            return self._status(name, spec, seen, None, Demand(waiting=None, running=None))
        demand = demand_for(spec, seen, self._paces[name].task_s)
        history = self._histories[name]
        history.look(demand, seen.at_ms)
        within = self._within_caps(name, spec, seen.at_ms)
        plan = plan_scale(within, self._roster.live(name), demand, seen.at_ms, pool=name, history=history)
        if plan.actions:
            log.info(
                "pool %s: %s",
                name,
                ", ".join(f"{action.verb} {action.instance_id}".strip() for action in plan.actions),
                extra={
                    "pool": name,
                    "desired": plan.desired,
                    "reason": plan.reason,
                    "actions": [
                        {"verb": action.verb, "instance": action.instance_id, "reason": action.reason}
                        for action in plan.actions
                    ],
                },
            )
            allowed = [one for one in plan.actions if one.verb != "launch" or name not in self._desk.cordoned]
            await self._actor.carry_out(name, spec, allowed)
        return self._status(name, spec, seen, plan, demand)

    def _provider_of(self, pool: str) -> Provider:
        return self._providers[self._pools[pool].provider]

    def _within_caps(self, name: str, spec: PoolSpec, now_ms: int) -> PoolSpec:
        """The pool as it may be today: of none at all when it has cost what it may."""
        if self._spending.exhausted(name, spec, now_ms) is None:
            return spec
        return replace(spec, min=0, max=0, windows=())

    def _status(
        self, name: str, spec: PoolSpec, seen: Observation, plan: ScalePlan | None, demand: Demand
    ) -> PoolStatus:
        bounds = bounds_at(spec, seen.at_ms)
        paused = self._breakers.paused(name, spec.provider) or self._spending.exhausted(name, spec, seen.at_ms)
        reason = plan.reason if plan else f"provider {spec.provider} is not set up here"
        if name in self._desk.cordoned:
            paused = "cordoned: nothing is launched"
        spent = self._spending.of(name, seen.at_ms)
        return PoolStatus(
            name=name,
            provider=spec.provider,
            streams=spec.streams,
            min=bounds.min,
            max=bounds.max,
            idle_timeout_s=spec.idle_timeout_s,
            desired=plan.desired if plan else None,
            reason=f"{reason}; {paused}" if paused else reason,
            waiting=demand.waiting,
            running=demand.running,
            instances=tuple(one for one in self._roster.everyone() if one.pool == name),
            cordoned=name in self._desk.cordoned,
            usd_per_hour=round(spent.per_hour, 6),
            spent_usd_today=round(spent.today, 6),
            spent_usd_month=round(spent.month, 6),
            max_usd_per_day=spec.max_usd_per_day,
            max_usd_per_month=spec.max_usd_per_month,
        )

    async def _tell(self, statuses: list[PoolStatus]) -> None:
        for status in statuses:
            self._journal.note_pool(status)
        await self._journal.flush(statuses, {one.id for one in self._roster.everyone()})

    def _is_quiet(self, status: PoolStatus) -> bool:
        """Whether nothing of a pool can change before somebody publishes an event, but by the passing of time."""
        settled = all(
            one.state is InstanceState.TERMINATED or (one.state is InstanceState.READY and one.busy == 0)
            for one in status.instances
        )
        unwanted = status.desired is None or (status.waiting == 0 and status.running == 0)
        return settled and unwanted and self._breakers.paused(status.name, status.provider) is None

    def _quiet_for_s(self, statuses: list[PoolStatus], now_ms: int) -> float:
        """``QUIET_S``, or less when an instance will have been idle for its time before that."""
        left_s = [
            status.idle_timeout_s - (now_ms - one.idle_since_ms) / 1000
            for status in statuses
            for one in status.instances
            if status.idle_timeout_s is not None and one.idle_since_ms is not None
        ]
        return min([QUIET_S, *(seconds for seconds in left_s if seconds > 0)])

    async def _rest(self, cursor: str | None) -> None:
        """Until the next pass: a tick, or while all is quiet until something happens after ``cursor``."""
        if cursor is None or self._rest_s <= self._tick_s:
            await self._pause(self._tick_s)
            return
        happening = asyncio.create_task(self._events.read(cursor, 1, self._rest_s))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({happening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if happening in done:
                happening.result()
        finally:
            happening.cancel()
            stopping.cancel()
            await asyncio.gather(happening, stopping, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _reach(self, worker: str, way: str, order: Awaitable[None], until_s: float) -> None:
        """Tell a worker to drain on one of two ways; the other one may reach it where this does not."""
        left_s = until_s - self._clock.monotonic_s()
        try:
            async with asyncio.timeout(max(0.0, min(1.0, left_s))):
                await order
        except (SophiaError, TimeoutError) as error:
            log.info("worker %s does not hear of the shutdown by its %s: %s", worker, way, error)

    async def _tell_of_shutdown(self) -> None:
        """Leave true records behind, as far as ledger and queue still answer."""
        now_ms = self._clock.now_ms()
        for instance in self._roster.everyone():
            spec = self._pools.get(instance.pool)
            if instance.state is InstanceState.TERMINATED or spec is None or spec.provider != LOCAL:
                continue
            ended = replace(instance, state=InstanceState.TERMINATED, busy=None, reason="the platform was shut down")
            self._roster.put(ended, now_ms)
            self._journal.note(ended)
        unknown = Observation(at_ms=now_ms, streams=None, beats=None, machines={})
        statuses = [
            replace(
                self._status(name, spec, unknown, None, Demand(waiting=None, running=None)),
                reason="the platform is down",
            )
            for name, spec in self._pools.items()
        ]
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await self._tell(statuses)
        except TimeoutError:
            log.warning("the shutdown of the pools could not be recorded in time")
