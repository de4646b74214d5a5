"""What pools cost: minutes of instances at their prices, and the caps on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from sophia.nouns.pool import Instance, InstanceState, PoolSpec

LEAST_RUN_S = 900.0
"""A launch must be affordable for that long, with everything that runs already: less is hardly worth a boot."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars."""

    today: float
    month: float
    per_hour: float
    """At this moment."""


class Spending:
    """Sums by pool. Every started minute of an instance is paid; days and months are UTC."""

    def __init__(self) -> None:
        self._instances: dict[str, Instance] = {}

    def load(self, instances: Iterable[Instance]) -> None:
        self._instances = {one.id: one for one in instances if one.billed_from_ms is not None}

    def take_in(self, instances: Iterable[Instance], now_ms: int) -> None:
        """Bring what changed up to date, and forget what ended before this month."""
        for one in instances:
            if one.billed_from_ms is not None:
                self._instances[one.id] = one
        month_ms = _starts(now_ms)[1]
        for one in list(self._instances.values()):
            if one.billed_to_ms is not None and one.billed_to_ms < month_ms:
                del self._instances[one.id]

    def of(self, pool: str, now_ms: int) -> Spent:
        day_ms, month_ms = _starts(now_ms)
        mine = [one for one in self._instances.values() if one.pool == pool]
        return Spent(
            today=sum(one.cost_usd(now_ms, from_ms=day_ms) for one in mine),
            month=sum(one.cost_usd(now_ms, from_ms=month_ms) for one in mine),
            per_hour=sum(one.price_usd_per_hour for one in mine if one.billed_to_ms is None and _lives(one)),
        )

    def exhausted(self, pool: str, spec: PoolSpec, now_ms: int) -> str | None:
        """Which cap is reached, in words."""
        return _over(spec, self.of(pool, now_ms), 0.0)

    def refuses(
        self, pool: str, spec: PoolSpec, live: Iterable[Instance], price_usd_per_hour: float, now_ms: int
    ) -> str | None:
        """Why one more instance at this price may not be launched, in words; ``None`` when it may."""
        rate = price_usd_per_hour + sum(one.price_usd_per_hour for one in live)
        return _over(spec, self.of(pool, now_ms), rate * LEAST_RUN_S / 3600)


def _over(spec: PoolSpec, spent: Spent, more_usd: float) -> str | None:
    for cap, used, period in (
        (spec.max_usd_per_day, spent.today, "day"),
        (spec.max_usd_per_month, spent.month, "month"),
    ):
        if cap is not None and used + more_usd >= cap:
            ahead = f" and {more_usd:.2f} more to come" if more_usd else ""
            return f"${used:.2f} spent{ahead}, of the ${cap:.2f} that the pool may cost in a {period}"
    return None


def _lives(instance: Instance) -> bool:
    return instance.state is not InstanceState.TERMINATED


def _starts(now_ms: int) -> tuple[int, int]:
    """When this UTC day and this month began."""
    day = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return round(day.timestamp() * 1000), round(day.replace(day=1).timestamp() * 1000)
