"""How many instances a pool should have, and what to do about it. Pure: time and signals come in as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sophia.decisions.scaling.backlog import backlog
from sophia.decisions.scaling.base import Policy, Situation, Want
from sophia.decisions.scaling.forecast import forecast
from sophia.decisions.scaling.history import History
from sophia.decisions.scaling.schedule import schedule
from sophia.decisions.scaling.static import static
from sophia.decisions.windows import Bounds, bounds_at
from sophia.nouns.pool import Action, Demand, Instance, InstanceState, PoolSpec, ScalePlan

CAPACITY_STATES = frozenset({InstanceState.REQUESTED, InstanceState.BOOTING, InstanceState.READY})
"""States that count as capacity, now or soon. What drains no longer does, so its replacement may overlap with it for
at most ``drain_timeout_s``."""

POLICIES: Mapping[str, Policy] = {
    "static": static,
    "schedule": schedule,
    "backlog": backlog,
    "forecast": forecast,
}

MINUTE_END_MS = 15_000
"""How long before the end of a paid minute an instance may go: a pass of the loop and the call must fit in."""


def plan_scale(
    spec: PoolSpec,
    instances: Sequence[Instance],
    demand: Demand,
    now_ms: int,
    *,
    pool: str = "",
    history: History | None = None,
    policy: Policy | None = None,
) -> ScalePlan:
    """The next steps of a pool, at most one kind of scaling at a time: up at once, down only by idle instances.

    With unknown demand it does nothing at all: whoever cannot hear the queue cannot hear the workers either.
    An instance whose load is unknown is never drained, and a busy one only where the policy says so, to finish what it
    runs and take no more; above the maximum they go when they become idle.
    ``pool`` is the name put into the actions, ``history`` what was learned of the pool's demand before, ``policy``
    replaces the one that the pool names.
    """
    bounds = bounds_at(spec, now_ms)
    capacity = [instance for instance in instances if instance.state in CAPACITY_STATES]
    if demand.waiting is None or demand.running is None:
        return ScalePlan(desired=len(capacity), reason=f"holding at {len(capacity)}: the demand is unknown")
    overdue = _overdue(spec, instances, now_ms)
    gone = {instance.id for instance, _ in overdue}
    capacity = [instance for instance in capacity if instance.id not in gone]
    situation = Situation(spec=spec, capacity=capacity, demand=demand, bounds=bounds, history=history, now_ms=now_ms)
    want = (policy or POLICIES[spec.scaling.policy])(situation)
    desired, reason = _within(want, bounds)
    actions = [Action(verb="terminate", pool=pool, instance_id=instance.id, reason=why) for instance, why in overdue]
    missing = desired - len(capacity)
    actions += [Action(verb="launch", pool=pool, reason=f"{reason}; {len(capacity)} there") for _ in range(missing)]
    actions += [
        Action(verb="drain", pool=pool, instance_id=instance.id, reason=why)
        for instance, why in _dispensable(want, capacity, desired, bounds, now_ms)
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


def _within(want: Want, bounds: Bounds) -> tuple[int, str]:
    """The number the pool should settle at, within its bounds, and why."""
    source = f" ({bounds.reason})" if bounds.reason else ""
    if want.need < bounds.min:
        return bounds.min, f"{want.reason}; minimum {bounds.min}{source}"
    if want.need > bounds.max:
        return bounds.max, f"{want.reason}; maximum {bounds.max}{source}"
    return want.need, f"{want.reason}{source}"


def _dispensable(
    want: Want, capacity: Sequence[Instance], desired: int, bounds: Bounds, now_ms: int
) -> list[tuple[Instance, str]]:
    """Idle instances to drain: at once above the maximum, else after the idle timeout; the dearest first."""
    idle = [instance for instance in capacity if instance.state is InstanceState.READY and instance.busy == 0]
    idle.sort(key=lambda one: (-one.price_usd_per_hour, one.idle_since_ms or now_ms, one.id))
    over = max(0, len(capacity) - bounds.max)
    source = f" ({bounds.reason})" if bounds.reason else ""
    chosen = [(one, f"{len(capacity)} there, maximum {bounds.max}{source}") for one in idle[:over]]
    surplus = max(0, len(capacity) - desired - len(chosen))
    if want.idle_s is None:
        return chosen
    for one in idle[over:]:
        idle_s = 0.0 if one.idle_since_ms is None else (now_ms - one.idle_since_ms) / 1000
        if surplus <= 0 or one.idle_since_ms is None or idle_s < want.idle_s:
            continue
        if want.paid_out and not _minute_ends(one, now_ms):
            continue
        chosen.append((one, f"idle for {idle_s:.0f} s, timeout {want.idle_s:g} s; {desired} needed"))
        surplus -= 1
    if want.finish_busy and surplus > 0:
        chosen += _to_finish(want, capacity, surplus, desired, now_ms)
    return chosen


def _to_finish(
    want: Want, capacity: Sequence[Instance], surplus: int, desired: int, now_ms: int
) -> list[tuple[Instance, str]]:
    """Working instances that take no more, those with the least to do first."""
    working = [one for one in capacity if one.state is InstanceState.READY and one.busy]
    working.sort(key=lambda one: (one.busy or 0, -one.price_usd_per_hour, -one.requested_at_ms, one.id))
    return [
        (one, f"finishes the {one.busy} it runs; {desired} needed")
        for one in working[:surplus]
        if not want.paid_out or _minute_ends(one, now_ms)
    ]


def _minute_ends(instance: Instance, now_ms: int) -> bool:
    """Whether the minute that is paid already is about over. What is not billed yet may go at any time."""
    if instance.billed_from_ms is None:
        return True
    return (now_ms - instance.billed_from_ms) % 60_000 >= 60_000 - MINUTE_END_MS
