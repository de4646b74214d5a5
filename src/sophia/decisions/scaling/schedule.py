"""``schedule``: the plain rules. Windows bound the pool, every task that waits or runs is given a slot, what idles goes.

It is cheap where a window's maximum makes work wait; the price is paid in waiting, so both are to be told together.
"""

from __future__ import annotations

from sophia.decisions.scaling.base import Situation, Want, instances_for


def schedule(now: Situation) -> Want:
    need = instances_for(now.wanted_slots, now.spec.slots)
    why = f"{now.demand.waiting} waiting and {now.demand.running} running take {need} at {now.spec.slots} slots"
    return Want(need=need, reason=why if need else "nothing waits or runs", idle_s=now.spec.idle_timeout_s)
