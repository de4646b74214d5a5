"""Pools, their instances, and plans to change them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours of the week in which other bounds hold. Times are local to ``time_zone``, daylight saving honoured.

    An ``end`` at or before ``start`` is on the next day (``00:00`` to ``00:00`` is the whole day). Of a pool's windows
    the first one that holds decides; outside all of them the pool's own bounds do.
    """

    days: tuple[str, ...]
    """Lower-case English three-letter names: mon tue wed thu fri sat sun."""
    start: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    time_zone: str
    min: Count
    max: Count
    lead_s: Seconds = 300.0


class WhenCold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of work that finds no free slot."""

    overflow: bool = False
    """Whether it may go to a hosted model. For ``sophia simulate`` only so far: running pools send nothing there."""
    wait_s: Seconds = 0.0
    """How long it waits for a slot before it does."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a pool decides its number of instances, and the objective that it is held to."""

    policy: Literal["static", "schedule", "backlog", "forecast"] = "backlog"
    objective_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Work starts within so many seconds ..."""
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.99
    """... in this share of cases."""
    boot_s: Annotated[float, msgspec.Meta(gt=0)] = 360.0
    """From a launch to the first task, as usual."""
    usd_per_hour: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """Of one instance, as compared with a hosted model."""
    keep_warm: Count = 0
    """Instances that ``forecast`` never goes below, demand or not; one where capacity is scarce."""
    deferrable: bool = False
    """Whether all work of the pool may wait until ``deadline_s`` for capacity that pays."""
    deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 900.0
    when_cold: WhenCold = WhenCold()


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Desired capacity: what may run, where, and when it goes away again."""

    provider: str
    streams: tuple[str, ...]
    """Route names that its workers serve, in order of preference."""
    instance_types: tuple[str, ...]
    regions: tuple[str, ...] = ()
    min: Count
    max: Count
    idle_timeout_s: Seconds | None
    """An instance idle for longer is drained; ``null``: never (a persistent pool)."""
    slots: Annotated[int, msgspec.Meta(ge=1)]
    """Tasks that one instance runs at once."""
    target_wait_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    boot_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 900.0
    boot_timeouts_s: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}
    """By instance type, where one needs another than ``boot_timeout_s``."""
    drain_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    max_price_usd_per_hour: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Of one instance; dearer offers are not taken."""
    max_usd_per_day: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What the pool's instances may cost in a UTC day: nothing is launched that would run past it, and what is idle
    goes when it is reached."""
    max_usd_per_month: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """The same for a UTC month."""
    windows: tuple[Window, ...] = ()
    scaling: Scaling = Scaling()
    models: tuple[str, ...] = ()

    def boot_timeout_of(self, instance_type: str) -> float:
        return self.boot_timeouts_s.get(instance_type, self.boot_timeout_s)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could be launched now."""

    instance_type: str
    region: str
    price_usd_per_hour: float
    available: bool | None
    """``None``: the provider does not say."""


class InstanceState(StrEnum):
    REQUESTED = "requested"
    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    TERMINATED = "terminated"


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One machine or worker process."""

    id: str
    """Ours: recorded before the launch call, stamped into the machine's name."""
    pool: str
    state: InstanceState
    provider_ref: str = ""
    """The provider's own id; empty until the launch is answered."""
    instance_type: str = ""
    region: str = ""
    price_usd_per_hour: float = 0.0
    requested_at_ms: int
    ready_at_ms: int | None = None
    idle_since_ms: int | None = None
    draining_since_ms: int | None = None
    silent_since_ms: int | None = None
    """Since when it could have reported and has not; ``None`` while it reports, and while nobody can listen."""
    busy: int | None = None
    """Tasks running on it; ``None`` while it has not reported."""
    slots: int = 0
    reason: str = ""
    """Why it is in this state, in words."""
    billed_from_ms: int | None = None
    """When it began to cost money, as far as the provider's lists tell; ``None``: not yet."""
    billed_to_ms: int | None = None
    """When it ceased to; ``None`` while it costs."""

    def paid_minutes(self, now_ms: int, *, from_ms: int = 0) -> int:
        """Minutes that it has cost since ``from_ms``; every started one counts."""
        if self.billed_from_ms is None:
            return 0
        begin_ms = max(self.billed_from_ms, from_ms)
        end_ms = now_ms if self.billed_to_ms is None else min(self.billed_to_ms, now_ms)
        return max(0, -((begin_ms - end_ms) // 60_000))

    def cost_usd(self, now_ms: int, *, from_ms: int = 0) -> float:
        return self.paid_minutes(now_ms, from_ms=from_ms) * self.price_usd_per_hour / 60


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a pool. ``None`` means unknown, which is neither zero nor infinite: the scaler holds."""

    waiting: int | None
    running: int | None
    oldest_age_s: float | None = None
    task_s: float | None = None
    """Mean run of recent tasks, seconds."""
    hosted: int = 0
    """Tasks that run at a hosted model because no slot was free."""
    hosted_usd: float | None = None
    """What a mean recent task would cost at a hosted model; ``None``: unknown, or there is none for it."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan. ``instance_id`` is empty for launches."""

    verb: str
    """``launch``, ``drain`` or ``terminate``."""
    pool: str
    instance_id: str = ""
    reason: str


class ScalePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, each step with its reason; ``desired`` is the number the pool should settle at."""

    desired: int
    reason: str
    actions: tuple[Action, ...] = ()


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as its manager last saw it."""

    name: str
    provider: str
    streams: tuple[str, ...]
    min: int
    max: int
    idle_timeout_s: float | None
    desired: int | None
    reason: str
    waiting: int | None
    running: int | None
    instances: tuple[Instance, ...] = ()
    cordoned: bool = False
    """An operator wants no launches."""
    usd_per_hour: float = 0.0
    """What its instances cost at this moment."""
    spent_usd_today: float = 0.0
    spent_usd_month: float = 0.0
    """Of this UTC day and month, by the started minute."""
    max_usd_per_day: float | None = None
    max_usd_per_month: float | None = None


class PoolOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants of a pool. ``verb``: ``drain`` or ``terminate`` an instance, ``cordon``, ``uncordon`` or
    ``launch`` one more."""

    id: str
    pool: str
    verb: Literal["drain", "terminate", "cordon", "uncordon", "launch"]
    instance: str = ""
    dry_run: bool = False
    """Only say what would be done."""
    by: str = ""
    expires_at_ms: int
    """Nobody waits for the answer any more: it is not carried out after that."""


class PoolOrders(msgspec.Struct, frozen=True, kw_only=True):
    """Under the snapshot name ``POOL_ORDERS``, as JSON."""

    orders: tuple[PoolOrder, ...]


class PoolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    ok: bool
    message: str


class PoolAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """Under the snapshot name ``POOL_ANSWERS``, as JSON: the latest ones."""

    answers: tuple[PoolAnswer, ...]


POOL_ORDERS = "pool-orders"
POOL_ANSWERS = "pool-answers"


class PoolsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the pool manager publishes under the snapshot name ``pools``, as JSON."""

    at_ms: int
    pools: tuple[PoolStatus, ...]
