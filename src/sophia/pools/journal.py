"""Tells the world what the pools do: ledger, events, snapshot, gauges. Trouble with one of them stops nothing here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import msgspec

from sophia.events.base import EventLog
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError, Unavailable
from sophia.nouns.event import Event, EventKind
from sophia.nouns.pool import Instance, InstanceState, PoolsSnapshot, PoolStatus
from sophia.pools.metrics import POOL_DESIRED, POOL_INSTANCES
from sophia.store.base import Ledger

log = logging.getLogger(__name__)

SNAPSHOT = "pools"
SNAPSHOT_EVERY_S = 15.0
"""While anything runs, the snapshot is at most this old even if nothing changed."""
WRITE_TIMEOUT_S = 15.0
MAX_PENDING = 1_000
"""Events kept while the log cannot be reached; the oldest go first."""
SHOWN_STATES = ("requested", "booting", "ready", "working", "draining", "terminated")

_encode = msgspec.json.Encoder()


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the last manager left behind."""

    instances: list[Instance]
    """Live ones of the ledger, and those that the last snapshot shows as terminated."""
    everything: list[Instance]
    """All that the ledger has: they cost something."""
    cordoned: frozenset[str]
    seen_at_ms: int | None
    """When it last looked, about."""


class Journal:
    """What was told already is not told again; what could not be told is told later."""

    def __init__(self, events: EventLog, ledger: Ledger, clock: Clock) -> None:
        self._events = events
        self._ledger = ledger
        self._clock = clock
        self._shown: dict[str, tuple[str, int | None]] = {}
        self._recorded: dict[str, tuple[object, ...]] = {}
        self._pools: dict[str, tuple[object, ...]] = {}
        self._pending: list[Event] = []
        self._unrecorded: dict[str, Instance] = {}
        self._snapshot: tuple[PoolStatus, ...] | None = None
        self._snapshot_at_s = 0.0

    async def load(self) -> Kept:
        """Raises ``Unavailable``."""
        async with _bounded("the ledger"):
            everything = await self._ledger.instances(live_only=False)
        instances = [one for one in everything if one.state is not InstanceState.TERMINATED]
        live = {one.id for one in instances}
        snapshot = await self._last_snapshot()
        shown = () if snapshot is None else snapshot.pools
        instances += [
            one
            for pool in shown
            for one in pool.instances
            if one.state is InstanceState.TERMINATED and one.id not in live
        ]
        for one in instances:
            self._shown[one.id] = (shown_state(one), one.busy)
            self._recorded[one.id] = _recorded_form(one)
        self._snapshot = None
        return Kept(
            instances=instances,
            everything=everything,
            cordoned=frozenset(pool.name for pool in shown if pool.cordoned),
            seen_at_ms=None if snapshot is None else snapshot.at_ms,
        )

    async def _last_snapshot(self) -> PoolsSnapshot | None:
        async with _bounded("the event log"):
            body = await self._events.snapshot(SNAPSHOT)
        if body is None:
            return None
        try:
            return msgspec.json.decode(body, type=PoolsSnapshot)
        except msgspec.DecodeError as error:
            log.warning("the snapshot of another version is not taken over: %s", error)
            return None

    async def record_intent(self, instance: Instance) -> None:
        """Keep and publish what is about to be launched. Raises when it is not recorded: nothing may be launched then."""
        async with _bounded("the ledger"):
            await self._ledger.record_instance(instance)
        self._recorded[instance.id] = _recorded_form(instance)
        self.note(instance)
        try:
            await self._publish()
        except SophiaError as error:
            log.warning("pool events are published later: %s", error)

    def note(self, instance: Instance) -> None:
        """An instance as it is now; told with the next ``flush`` if that is news."""
        if self._recorded.get(instance.id) != _recorded_form(instance):
            self._unrecorded[instance.id] = instance
        view = (shown_state(instance), instance.busy)
        if self._shown.get(instance.id) == view:
            return
        self._shown[instance.id] = view
        data = {
            "pool": instance.pool,
            "instance": instance.id,
            "state": view[0],
            "reason": instance.reason,
            "busy": instance.busy,
            "slots": instance.slots,
        }
        self._pend(EventKind.INSTANCE_CHANGED, f"{instance.pool}/{instance.id}", data)

    def note_pool(self, status: PoolStatus) -> None:
        view = (status.desired, status.reason, status.usd_per_hour, status.cordoned)
        if self._pools.get(status.name) == view:
            return
        self._pools[status.name] = view
        data = {
            "pool": status.name,
            "desired": status.desired,
            "reason": status.reason,
            "min": status.min,
            "max": status.max,
            "waiting": status.waiting,
            "running": status.running,
            "usd_per_hour": status.usd_per_hour,
            "spent_usd_today": status.spent_usd_today,
            "cordoned": status.cordoned,
        }
        self._pend(EventKind.POOL_CHANGED, status.name, data)

    async def flush(self, statuses: Sequence[PoolStatus], known: Collection[str]) -> None:
        """Tell everything that is news, and put the snapshot when it changed or has grown old.

        ``known`` are the instances that may be noted again; what was told of others is forgotten.
        """
        self._measure(statuses)
        try:
            await self._record()
        except SophiaError as error:
            log.warning("instances are recorded later: %s", error)
        try:
            await self._publish()
            await self._put_snapshot(tuple(statuses))
        except SophiaError as error:
            log.warning("pool events are published later: %s", error)
        for gone in (self._shown.keys() | self._recorded.keys()) - set(known) - self._unrecorded.keys():
            self._shown.pop(gone, None)
            self._recorded.pop(gone, None)

    async def _record(self) -> None:
        for instance in list(self._unrecorded.values()):
            async with _bounded("the ledger"):
                await self._ledger.record_instance(instance)
            self._recorded[instance.id] = _recorded_form(instance)
            self._unrecorded.pop(instance.id)

    async def _publish(self) -> None:
        batch, self._pending = self._pending, []
        if not batch:
            return
        try:
            async with _bounded("the event log"):
                await self._events.publish(batch)
        except BaseException:
            self._pending[:0] = batch
            raise

    async def _put_snapshot(self, statuses: tuple[PoolStatus, ...]) -> None:
        now_s = self._clock.monotonic_s()
        runs = any(one.state is not InstanceState.TERMINATED for status in statuses for one in status.instances)
        old = runs and now_s - self._snapshot_at_s >= SNAPSHOT_EVERY_S
        if statuses == self._snapshot and not old:
            return
        async with _bounded("the event log"):
            await self._events.put_snapshot(
                SNAPSHOT, _encode.encode(PoolsSnapshot(at_ms=self._clock.now_ms(), pools=statuses))
            )
        self._snapshot, self._snapshot_at_s = statuses, now_s

    def _pend(self, kind: EventKind, subject: str, data: dict[str, Any]) -> None:
        self._pending.append(Event(kind=kind, at_ms=self._clock.now_ms(), subject=subject, data=data))
        if len(self._pending) > MAX_PENDING:
            log.warning("%d pool events are given up: the event log is away too long", len(self._pending) - MAX_PENDING)
            del self._pending[:-MAX_PENDING]

    def _measure(self, statuses: Sequence[PoolStatus]) -> None:
        for status in statuses:
            states = [shown_state(one) for one in status.instances]
            for state in SHOWN_STATES[:-1]:
                POOL_INSTANCES.labels(status.name, state).set(states.count(state))
            if status.desired is not None:
                POOL_DESIRED.labels(status.name).set(status.desired)


def shown_state(instance: Instance) -> str:
    """As users see it: a ready instance with tasks is ``working``."""
    return "working" if instance.state is InstanceState.READY and instance.busy else instance.state.value


def _recorded_form(instance: Instance) -> tuple[object, ...]:
    return (
        instance.state,
        instance.provider_ref,
        instance.reason,
        instance.price_usd_per_hour,
        instance.billed_from_ms,
        instance.billed_to_ms,
    )


@contextlib.asynccontextmanager
async def _bounded(what: str) -> AsyncIterator[None]:
    """A write that takes too long is ``Unavailable``."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise Unavailable(f"{what} did not answer within {WRITE_TIMEOUT_S:g} s") from error
