"""``forecast``: capacity for the demand that is likely while a machine boots, as much as the objective asks for.

Headroom over the recent mean is paced by the error budget: while less work was late than the objective allows there may
be less of it. An instance that is not needed goes when it has been idle for as long as a boot takes (to keep it costs no
more than another boot would have), shortly before the end of a minute that is paid.
"""

from __future__ import annotations

from sophia.decisions.scaling.base import Situation, Want, instances_for
from sophia.decisions.scaling.deferrable import deferrable


def forecast(now: Situation) -> Want:
    scaling = now.spec.scaling
    if scaling.deferrable:
        return deferrable(now)
    task_s = now.history.task_s if now.history is not None else now.demand.task_s
    if scaling.when_cold.overflow and now.demand.hosted_usd is not None and task_s:
        return _beside_hosted(now, now.demand.hosted_usd / task_s)
    here = now.wanted_slots
    likely = now.history.likely() if now.history is not None else float(here)
    # Until there is a history a task that waits must still wake the pool.
    need = max(instances_for(likely, now.spec.slots), 1 if here else 0, scaling.keep_warm)
    why = f"{here} slots in use or waited for, {likely:.1f} likely to be within {scaling.boot_s:.0f} s"
    return Want(need=need, reason=why, idle_s=_idle_s(now), paid_out=True)


def _beside_hosted(now: Situation, usd_per_slot_s: float) -> Want:
    """As many instances as earn their price, by what their use would have cost at the hosted model."""
    scaling = now.spec.scaling
    price = scaling.usd_per_hour / 3600
    least = price / usd_per_slot_s if usd_per_slot_s > 0 else float("inf")
    worth = now.history.worth_renting if now.history is not None else 0
    why = f"an instance pays from {least:.1f} slots in use, else the hosted model is cheaper: {worth} pay"
    # What is worth its price already is so with the price of another boot. Persistent pools keep what they have.
    idle_s = None if now.spec.idle_timeout_s is None else 0.0
    return Want(need=max(worth, scaling.keep_warm), reason=why, idle_s=idle_s, paid_out=True)


def _idle_s(now: Situation) -> float | None:
    """Never, for a persistent pool."""
    return None if now.spec.idle_timeout_s is None else now.spec.scaling.boot_s
