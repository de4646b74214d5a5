"""How many instances a pool should have, and what to do about it. Pure: time and signals come in as values."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from sophia.decisions.windows import Bounds, bounds_at
from sophia.nouns.pool import Action, Demand, Instance, InstanceState, PoolSpec, ScalePlan

CAPACITY_STATES = frozenset({InstanceState.REQUESTED, InstanceState.BOOTING, InstanceState.READY})
"""States that count as capacity, now or soon. What drains no longer does, so its replacement may overlap with it for
at most ``drain_timeout_s``."""


def plan_scale(
    spec: PoolSpec, instances: Sequence[Instance], demand: Demand, now_ms: int, *, pool: str = ""
) -> ScalePlan:
    """The next steps of a pool, at most one kind of scaling at a time: up at once, down only by idle instances.

    With unknown demand it does nothing at all: whoever cannot hear the queue cannot hear the workers either.
    A busy instance, and one whose load is unknown, is never drained; above the maximum they go when they become idle.
    ``pool`` is the name put into the actions.
    """
    bounds = bounds_at(spec, now_ms)
    capacity = [instance for instance in instances if instance.state in CAPACITY_STATES]
    if demand.waiting is None or demand.running is None:
        return ScalePlan(desired=len(capacity), reason=f"holding at {len(capacity)}: the demand is unknown")
    overdue = _overdue(spec, instances, now_ms)
    gone = {instance.id for instance, _ in overdue}
    capacity = [instance for instance in capacity if instance.id not in gone]
    desired, reason = _desired(spec, capacity, demand, bounds)
    actions = [Action(verb="terminate", pool=pool, instance_id=instance.id, reason=why) for instance, why in overdue]
    missing = desired - len(capacity)
    actions += [Action(verb="launch", pool=pool, reason=f"{reason}; {len(capacity)} there") for _ in range(missing)]
    actions += [
        Action(verb="drain", pool=pool, instance_id=instance.id, reason=why)
        for instance, why in _dispensable(spec, capacity, desired, bounds, now_ms)
    ]
    return ScalePlan(desired=desired, reason=reason, actions=tuple(actions))


def _overdue(spec: PoolSpec, instances: Sequence[Instance], now_ms: int) -> list[tuple[Instance, str]]:
    """Instances that never came up, fell silent, or do not finish draining; each with the reason."""
    found = []
    for instance in instances:
        match instance.state:
            case InstanceState.REQUESTED | InstanceState.BOOTING:
                what, since, limit_s = "booting", instance.requested_at_ms, spec.boot_timeout_of(instance.instance_type)
                since = max(since, instance.silent_since_ms or since)
            case InstanceState.READY if instance.busy is None and instance.silent_since_ms is not None:
                what, since, limit_s = "silent", instance.silent_since_ms, spec.boot_timeout_of(instance.instance_type)
            case InstanceState.DRAINING if instance.draining_since_ms is not None:
                what, since, limit_s = "draining", instance.draining_since_ms, spec.drain_timeout_s
            case _:
                continue
        elapsed_s = (now_ms - since) / 1000
        if elapsed_s > limit_s:
            found.append((instance, f"{what} for {elapsed_s:.0f} s, longer than the {limit_s:g} s allowed"))
    return found


def _desired(spec: PoolSpec, capacity: Sequence[Instance], demand: Demand, bounds: Bounds) -> tuple[int, str]:
    """The number the pool should settle at, within its bounds, and why."""
    waiting, running = demand.waiting or 0, demand.running or 0
    if waiting + running == 0:
        need, why = 0, "nothing waits or runs"
    elif _starving(spec, capacity, demand):
        need = len(capacity) + 1
        why = (
            f"the oldest of {waiting} waiting tasks is {demand.oldest_age_s:.0f} s old, "
            f"target {spec.target_wait_s:g} s, and all {len(capacity)} instances are full: one more"
        )
    else:
        need = _instances_for(spec, waiting, running, demand.task_s)
        pace = "mean task time unknown" if demand.task_s is None else f"mean task {demand.task_s:.2g} s"
        why = f"{waiting} waiting and {running} running need {need} at {spec.slots} slots ({pace}, target wait {spec.target_wait_s:g} s)"
    source = f" ({bounds.reason})" if bounds.reason else ""
    if need < bounds.min:
        return bounds.min, f"{why}; minimum {bounds.min}{source}"
    if need > bounds.max:
        return bounds.max, f"{why}; maximum {bounds.max}{source}"
    return need, f"{why}{source}"


def _instances_for(spec: PoolSpec, waiting: int, running: int, task_s: float | None) -> int:
    """Instances on which the last waiting task starts within ``target_wait_s``; at least one.

    ``n`` slots that are all taken free ``n / task_s`` places a second, so of ``w`` waiting and ``r`` running tasks the
    last one starts after ``(w + r - n) * task_s / n`` seconds; at most the target for ``n >= (w + r) / (1 + target /
    task_s)``. Without a known task time every task is given a slot.
    """
    reuse = 1.0 if task_s is None else 1 + spec.target_wait_s / max(task_s, 0.001)
    return max(1, ceil(ceil((waiting + running) / reuse) / spec.slots))


def _starving(spec: PoolSpec, capacity: Sequence[Instance], demand: Demand) -> bool:
    """Whether the target is being missed with everything there and full: then the mean task time misleads.

    Waiting for what boots keeps this to one step per boot.
    """
    if not capacity or not demand.waiting or demand.oldest_age_s is None or demand.oldest_age_s <= spec.target_wait_s:
        return False
    if _instances_for(spec, demand.waiting, demand.running or 0, demand.task_s) > len(capacity):
        return False
    return all(
        instance.state is InstanceState.READY and instance.busy is not None and instance.busy >= instance.slots
        for instance in capacity
    )


def _dispensable(
    spec: PoolSpec, capacity: Sequence[Instance], desired: int, bounds: Bounds, now_ms: int
) -> list[tuple[Instance, str]]:
    """Idle instances to drain: at once above the maximum, else after the idle timeout; the dearest first."""
    idle = [instance for instance in capacity if instance.state is InstanceState.READY and instance.busy == 0]
    idle.sort(key=lambda one: (-one.price_usd_per_hour, one.idle_since_ms or now_ms, one.id))
    over = max(0, len(capacity) - bounds.max)
    source = f" ({bounds.reason})" if bounds.reason else ""
    chosen = [(one, f"{len(capacity)} there, maximum {bounds.max}{source}") for one in idle[:over]]
    surplus = max(0, len(capacity) - desired - len(chosen))
    if spec.idle_timeout_s is None:
        return chosen
    for one in idle[over:]:
        idle_s = 0.0 if one.idle_since_ms is None else (now_ms - one.idle_since_ms) / 1000
        if surplus > 0 and one.idle_since_ms is not None and idle_s >= spec.idle_timeout_s:
            chosen.append((one, f"idle for {idle_s:.0f} s, timeout {spec.idle_timeout_s:g} s; {desired} needed"))
            surplus -= 1
    return chosen
