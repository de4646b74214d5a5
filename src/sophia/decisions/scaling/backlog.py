"""``backlog``: as many as start the last waiting task within the target wait."""

from __future__ import annotations

from math import ceil

from sophia.decisions.scaling.base import Situation, Want
from sophia.nouns.pool import Demand, InstanceState, PoolSpec


def backlog(now: Situation) -> Want:
    spec, demand = now.spec, now.demand
    waiting, running = demand.waiting or 0, demand.running or 0
    if waiting + running == 0:
        need, why = 0, "nothing waits or runs"
    elif _starving(now):
        need = len(now.capacity) + 1
        why = (
            f"the oldest of {waiting} waiting tasks is {demand.oldest_age_s:.0f} s old, "
            f"target {spec.target_wait_s:g} s, and all {len(now.capacity)} instances are full: one more"
        )
    else:
        need = _instances_for(spec, demand)
        pace = "mean task time unknown" if demand.task_s is None else f"mean task {_short(demand.task_s)} s"
        why = f"{waiting} waiting and {running} running need {need} at {spec.slots} slots ({pace}, target wait {spec.target_wait_s:g} s)"
    return Want(need=need, reason=why, idle_s=spec.idle_timeout_s)


def _instances_for(spec: PoolSpec, demand: Demand) -> int:
    """Instances on which the last waiting task starts within ``target_wait_s``; at least one.

    ``n`` slots that are all taken free ``n / task_s`` places a second, so of ``w`` waiting and ``r`` running tasks the
    last one starts after ``(w + r - n) * task_s / n`` seconds; at most the target for ``n >= (w + r) / (1 + target /
    task_s)``. Without a known task time every task is given a slot.
    """
    reuse = 1.0 if demand.task_s is None else 1 + spec.target_wait_s / max(demand.task_s, 0.001)
    return max(1, ceil(ceil(((demand.waiting or 0) + (demand.running or 0)) / reuse) / spec.slots))


def _short(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"


def _starving(now: Situation) -> bool:
    """Whether the target is being missed with everything there and full: then the mean task time misleads.

    Waiting for what boots keeps this to one step per boot.
    """
    spec, demand = now.spec, now.demand
    if not now.capacity or not demand.waiting or demand.oldest_age_s is None:
        return False
    if demand.oldest_age_s <= spec.target_wait_s or _instances_for(spec, demand) > len(now.capacity):
        return False
    return all(
        instance.state is InstanceState.READY and instance.busy is not None and instance.busy >= instance.slots
        for instance in now.capacity
    )
