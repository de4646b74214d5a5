"""Other people's policies, as far as they can be told in the terms of ``plan_scale``; for comparison only."""

from __future__ import annotations

from collections import deque
from math import ceil, sqrt

from sophia.decisions.scaling.base import Situation, Want, instances_for


def founding(now: Situation) -> Want:
    """Windows (in the bounds), idle shutdown, and an instance for every ten tasks in the queue."""
    need = max(instances_for(now.demand.running or 0, now.spec.slots), instances_for(now.wanted_slots, now.spec.slots))
    return Want(need=need, reason="queue depth", idle_s=600.0)


class Keda:
    """The horizontal pod autoscaler fed by a queue's length: ``ceil(tasks / target)``, where the target is an instance's
    slots; it scales down to the highest of the last 300 s and to zero after a cool-down of 300 s (its defaults)."""

    def __init__(self) -> None:
        self._asked: deque[tuple[int, int]] = deque()

    def __call__(self, now: Situation) -> Want:
        need = instances_for(now.wanted_slots, now.spec.slots)
        self._asked.append((now.now_ms, need))
        while self._asked[0][0] < now.now_ms - 300_000:
            self._asked.popleft()
        return Want(need=max(one for _, one in self._asked), reason="tasks per replica", idle_s=0.0)


class SkyServe:
    """SkyServe's request-rate autoscaler: ``ceil(requests per second / target)`` over the last minute, up after 300 s
    of asking for more, down after 1,200 s (its defaults); never below one. The target is what an instance can carry."""

    def __init__(self, per_instance_qps: float) -> None:
        self._target = per_instance_qps
        self._rates: deque[tuple[int, float]] = deque()
        self._more_ms: int | None = None
        self._less_ms: int | None = None
        self._need = 1

    def __call__(self, now: Situation) -> Want:
        task_s = now.demand.task_s or 1.0
        self._rates.append((now.now_ms, now.wanted_slots / task_s))
        while self._rates[0][0] < now.now_ms - 60_000:
            self._rates.popleft()
        rate = sum(one for _, one in self._rates) / len(self._rates)
        wanted = max(1, ceil(rate / self._target))
        self._more_ms = (self._more_ms or now.now_ms) if wanted > self._need else None
        self._less_ms = (self._less_ms or now.now_ms) if wanted < self._need else None
        if self._more_ms is not None and now.now_ms - self._more_ms >= 300_000:
            self._need, self._more_ms = wanted, None
        if self._less_ms is not None and now.now_ms - self._less_ms >= 1_200_000:
            self._need, self._less_ms = wanted, None
        return Want(need=self._need, reason="request rate", idle_s=0.0)


class DelayedOff:
    """An instance goes when it was not needed for ``hold_s``; a new one comes when work waits."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s

    def __call__(self, now: Situation) -> Want:
        need = instances_for(now.wanted_slots, now.spec.slots)
        return Want(need=need, reason="work waits", idle_s=self._hold_s)


class Newsvendor:
    """The quantile of demand in the last hour at which another slot is worth its price: normal, mean and variance
    measured, ``z`` standard deviations."""

    def __init__(self, z: float) -> None:
        self._z = z
        self._seen: deque[tuple[int, int]] = deque()
        self._sum = self._squares = 0

    def __call__(self, now: Situation) -> Want:
        slots = now.wanted_slots
        self._seen.append((now.now_ms, slots))
        self._sum += slots
        self._squares += slots * slots
        while self._seen[0][0] < now.now_ms - 3_600_000:
            _, old = self._seen.popleft()
            self._sum -= old
            self._squares -= old * old
        mean = self._sum / len(self._seen)
        deviation = sqrt(max(0.0, self._squares / len(self._seen) - mean * mean))
        return Want(
            need=instances_for(mean + self._z * deviation, now.spec.slots), reason="quantile of the hour", idle_s=0.0
        )
