"""A pool in virtual time: tasks of a trace, machines that boot, a policy that is asked every tick.

Machines take work oldest first, so that work is packed on few of them and the others fall idle. What a machine runs is
never interrupted. Everything random is drawn from one seed.
"""

from __future__ import annotations

import random
from collections import deque
from heapq import heapify, heappop, heappush

import msgspec
import numpy as np
from numpy.typing import NDArray

from sophia.decisions.plan_scale import plan_scale
from sophia.decisions.scaling.base import Policy
from sophia.decisions.scaling.history import History
from sophia.nouns.pool import Demand, Instance, InstanceState, PoolSpec

RANKS = 1 << 20
MONDAY_MS = 1_704_067_200_000
"""Where traces without a date begin: Monday, 1 January 2024, 00:00 UTC."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks by arrival."""

    name: str
    at_s: NDArray[np.float64]
    run_s: NDArray[np.float64]
    hosted_usd: NDArray[np.float64]
    span_s: float


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider does. Outages are spans in which no launch succeeds."""

    boot_s: tuple[float, float] = (300.0, 420.0)
    refused: float = 0.0
    outages_per_day: float = 0.0
    outage_s: float = 1800.0
    retry_s: float = 30.0
    seed: int = 1


class Outcome(msgspec.Struct, kw_only=True):
    """What a policy did with a trace."""

    policy: str
    waits_s: NDArray[np.float64]
    instance_s: float
    launches: int
    refused: int
    hosted: int
    hosted_usd: float
    peak: int


class _Machine:
    __slots__ = ("asked_ms", "busy", "draining", "idle_ms", "ready_ms", "view")

    def __init__(self, asked_ms: int, ready_ms: int) -> None:
        self.asked_ms = asked_ms
        self.ready_ms = ready_ms
        self.busy = 0
        self.draining = False
        self.idle_ms = ready_ms
        self.view: Instance | None = None


def run(
    trace: Trace,
    spec: PoolSpec,
    policy: Policy | None,
    *,
    name: str,
    weather: Weather,
    tick_s: float = 10.0,
    start: int = 0,
    history: History | None = None,
) -> Outcome:
    """The trace from its first task to the end of its last. ``start`` instances are there at the beginning."""
    return _World(trace, spec, policy, name, weather, tick_s, start, history).run()


class _World:
    def __init__(
        self,
        trace: Trace,
        spec: PoolSpec,
        policy: Policy | None,
        name: str,
        weather: Weather,
        tick_s: float,
        start: int,
        history: History | None,
    ) -> None:
        self._trace, self._spec, self._policy, self._name = trace, spec, policy, name
        self._weather, self._tick_ms = weather, round(tick_s * 1000)
        self._chance = random.Random(weather.seed)  # noqa: S311  # repeatable, not secret
        outage_chance = random.Random(weather.seed + 1)  # noqa: S311  # drawn apart, so that policies meet the same outages
        self._outages = _outages(weather, trace.span_s, outage_chance)
        self._machines: dict[int, _Machine] = {}
        self._history = history or History(spec.scaling, spec.slots)
        self._next_rank = 0
        self._paid_ms = 0
        self._refused = 0
        self._launch_after_ms = 0
        self._peak = 0
        self._booting: list[int] = []
        self._draining: set[int] = set()
        self._free: list[int] = []
        self._running: list[int] = []
        self._queue: deque[int] = deque()
        self._at: list[int] = (trace.at_s * 1000).astype(np.int64).tolist()
        self._took: list[int] = np.maximum(trace.run_s * 1000, 1).astype(np.int64).tolist()
        self._waits = [0] * len(self._at)
        self._next = 0
        self._hosted: list[int] = []
        self._away: list[int] = []
        self._hosted_sums = np.cumsum(trace.hosted_usd)
        cold = spec.scaling.when_cold
        self._overflow_ms = round(cold.wait_s * 1000) if cold.overflow else None
        self._busy_ms = self._done = 0.0
        for _ in range(start):
            self._add(0, 0)
        self._open(0)

    def run(self) -> Outcome:
        now = 0
        while self._next < len(self._at) or self._queue or self._running:
            now += self._tick_ms
            before = len(self._running) + len(self._away)
            done = self._advance(now) + self._hand_over(now)
            self._open(now)
            self._start_waiting(now)
            self._pace(before, done)
            demand = self._demand(now)
            self._history.look(demand, now + MONDAY_MS)
            self._plan(demand, now)
        for rank in list(self._machines):
            self._leave(rank, now)
        return Outcome(
            policy=self._name,
            waits_s=np.array(self._waits) / 1000.0,
            instance_s=self._paid_ms / 1000,
            launches=self._next_rank,
            refused=self._refused,
            hosted=len(self._hosted),
            hosted_usd=float(self._trace.hosted_usd[self._hosted].sum()) if self._hosted else 0.0,
            peak=self._peak,
        )

    def _advance(self, until: int) -> int:
        """Arrivals and ends before ``until``, in order; the number of ends. The only part that runs once per task."""
        at, took, waits, count = self._at, self._took, self._waits, len(self._at)
        running, free, queue, machines = self._running, self._free, self._queue, self._machines
        draining, at_once = self._draining, self._overflow_ms == 0
        i, done = self._next, 0
        while True:
            arrival = at[i] if i < count and at[i] < until else until
            limit = arrival * RANKS
            while running and running[0] < limit:
                end, rank = divmod(heappop(running), RANKS)
                done += 1
                if rank in draining:
                    self._finish(rank, end)
                elif queue:
                    j = queue.popleft()
                    waits[j] = end - at[j]
                    heappush(running, (end + took[j]) * RANKS + rank)
                else:
                    machine = machines[rank]
                    machine.busy -= 1
                    machine.idle_ms = end
                    heappush(free, rank)
            if arrival >= until:
                self._next = i
                return done
            if free:
                rank = heappop(free)
                machines[rank].busy += 1
                heappush(running, (arrival + took[i]) * RANKS + rank)
            elif at_once:
                self._hosted.append(i)
                heappush(self._away, arrival + took[i])
            else:
                queue.append(i)
            i += 1

    def _hand_over(self, now: int) -> int:
        """To the hosted model goes what has waited for as long as it may; the number of ends there."""
        queue, away = self._queue, self._away
        while self._overflow_ms and queue and now - self._at[queue[0]] >= self._overflow_ms:
            j = queue.popleft()
            self._waits[j] = now - self._at[j]
            self._hosted.append(j)
            heappush(away, now + self._took[j])
        there = len(away)
        while away and away[0] <= now:
            heappop(away)
        return there - len(away)

    def _start_waiting(self, now: int) -> None:
        while self._queue and self._free:
            j = self._queue.popleft()
            rank = heappop(self._free)
            self._machines[rank].busy += 1
            self._waits[j] = now - self._at[j]
            heappush(self._running, (now + self._took[j]) * RANKS + rank)

    def _pace(self, before: int, done: int) -> None:
        """The mean run of recent tasks as the pool manager measures it: Little's law, fading over two minutes."""
        fade = 0.5 ** (self._tick_ms / 120_000)
        self._busy_ms = self._busy_ms * fade + (before + len(self._running) + len(self._away)) / 2 * self._tick_ms
        self._done = self._done * fade + done

    def _demand(self, now: int) -> Demand:
        queue, seen = self._queue, self._next
        priced = self._overflow_ms is not None and seen
        return Demand(
            waiting=len(queue),
            running=len(self._running),
            oldest_age_s=(now - self._at[queue[0]]) / 1000 if queue else None,
            task_s=self._busy_ms / self._done / 1000 if self._done >= 0.5 and self._busy_ms else None,
            hosted=len(self._away),
            hosted_usd=float(self._hosted_sums[seen - 1]) / seen if priced else None,
        )

    def _plan(self, demand: Demand, now: int) -> None:
        views = [self._view(rank, machine, now) for rank, machine in self._machines.items()]
        plan = plan_scale(self._spec, views, demand, now + MONDAY_MS, history=self._history, policy=self._policy)
        for action in plan.actions:
            if action.verb == "launch":
                self._launch(now)
            else:
                self._drain(int(action.instance_id), now)

    def _drain(self, rank: int, now: int) -> None:
        machine = self._machines[rank]
        if not machine.busy:
            self._leave(rank, now)
            return
        machine.draining = True
        self._draining.add(rank)
        self._close(rank)

    def _finish(self, rank: int, now: int) -> None:
        """A task of an instance that drains has ended; with its last one it goes."""
        machine = self._machines[rank]
        machine.busy -= 1
        if not machine.busy:
            self._draining.discard(rank)
            self._leave(rank, now)

    def _close(self, rank: int) -> None:
        self._free[:] = [one for one in self._free if one != rank]
        heapify(self._free)

    def _view(self, rank: int, machine: _Machine, now: int) -> Instance:
        ready = machine.ready_ms <= now
        seen = machine.view
        idle = machine.idle_ms if ready and not machine.busy else None
        busy = machine.busy if ready else None
        idle_ms = None if idle is None else idle + MONDAY_MS
        state = InstanceState.READY if ready else InstanceState.BOOTING
        if machine.draining:
            state = InstanceState.DRAINING
        if seen is not None and (seen.state, seen.busy, seen.idle_since_ms) == (state, busy, idle_ms):
            return seen
        machine.view = Instance(
            id=str(rank),
            pool="",
            state=state,
            requested_at_ms=machine.asked_ms + MONDAY_MS,
            idle_since_ms=idle_ms,
            busy=busy,
            slots=self._spec.slots,
            billed_from_ms=machine.asked_ms + MONDAY_MS,
        )
        return machine.view

    def _launch(self, now: int) -> None:
        if now < self._launch_after_ms:
            return
        weather = self._weather
        out = any(start <= now < end for start, end in self._outages)
        if out or (weather.refused and self._chance.random() < weather.refused):
            self._refused += 1
            self._launch_after_ms = now + round(weather.retry_s * 1000)
            return
        boot_s = self._chance.uniform(*weather.boot_s)
        self._add(now, now + round(boot_s * 1000))

    def _add(self, asked_ms: int, ready_ms: int) -> None:
        self._machines[self._next_rank] = _Machine(asked_ms, ready_ms)
        self._booting.append(self._next_rank)
        self._next_rank += 1
        self._peak = max(self._peak, len(self._machines))

    def _open(self, now: int) -> None:
        """Put the slots of machines that have become ready into use."""
        for rank in [rank for rank in self._booting if self._machines[rank].ready_ms <= now]:
            self._booting.remove(rank)
            for _ in range(self._spec.slots):
                heappush(self._free, rank)

    def _leave(self, rank: int, now: int) -> None:
        machine = self._machines.pop(rank)
        if rank in self._booting:
            self._booting.remove(rank)
        self._close(rank)
        minutes = -(-(now - machine.asked_ms) // 60_000)
        self._paid_ms += minutes * 60_000


def _outages(weather: Weather, span_s: float, chance: random.Random) -> list[tuple[float, float]]:
    found = []
    at = 0.0
    while weather.outages_per_day and at < span_s:
        at += chance.expovariate(weather.outages_per_day / 86_400)
        found.append((at * 1000, (at + weather.outage_s) * 1000))
        at += weather.outage_s
    return found
