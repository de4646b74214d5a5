"""What pools cost, and the caps on it."""

from __future__ import annotations

from typing import Any

import pytest

from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.pools.billing import Sightings
from sophia.pools.spending import Spending
from sophia.providers.base import Machine
from tests.support.clocks import moment_ms

NOON = moment_ms("2026-03-02T12:00:00Z")
MINUTE = 60_000


def spec(**changes: Any) -> PoolSpec:
    values: dict[str, Any] = {
        "provider": "lambda",
        "streams": (),
        "instance_types": ("gpu_1x_a10",),
        "min": 0,
        "max": 3,
        "idle_timeout_s": 60.0,
        "slots": 1,
    }
    return PoolSpec(**(values | changes))


def instance(name: str = "a", **changes: Any) -> Instance:
    values: dict[str, Any] = {"state": InstanceState.READY, "requested_at_ms": NOON, "price_usd_per_hour": 6.0}
    return Instance(id=name, pool="gpu", **(values | changes))


def machine(**changes: Any) -> Machine:
    values: dict[str, Any] = {"state": "running", "billed": True, "price_usd_per_hour": 6.0}
    return Machine(ref="r", name="a", pool="gpu", instance_type="gpu_1x_a10", region="x", **(values | changes))


@pytest.mark.parametrize(("paid_ms", "minutes"), [(0, 0), (1, 1), (MINUTE, 1), (MINUTE + 1, 2)])
def test_every_started_minute_is_paid(paid_ms, minutes):
    assert instance(billed_from_ms=NOON, billed_to_ms=NOON + paid_ms).paid_minutes(NOON + 10 * MINUTE) == minutes


def test_what_has_not_begun_to_cost_costs_nothing():
    assert instance().paid_minutes(NOON + 10 * MINUTE) == 0


def test_sums_are_of_the_utc_day_and_month():
    spending = Spending()
    midnight = moment_ms("2026-03-02T00:00:00Z")
    spending.load([instance("a", billed_from_ms=midnight - 60 * MINUTE), instance("b", billed_from_ms=NOON)])
    spent = spending.of("gpu", NOON + 60 * MINUTE)
    assert spent.today == pytest.approx(13 * 6 + 6)
    assert spent.month == pytest.approx(14 * 6 + 6)
    assert spent.per_hour == 12
    assert spending.of("other", NOON).month == 0


def test_what_ended_last_month_is_forgotten():
    spending = Spending()
    february = moment_ms("2026-02-10T00:00:00Z")
    spending.load([instance(billed_from_ms=february, billed_to_ms=february + MINUTE)])
    spending.take_in([], NOON)
    assert spending.of("gpu", NOON).month == 0


def test_a_launch_must_be_affordable_for_a_while_with_all_that_runs():
    spending = Spending()
    spending.load([instance(billed_from_ms=NOON - 60 * MINUTE)])
    capped = spec(max_usd_per_day=9.0)
    # 6 dollars are spent; two instances cost 3 more in a quarter of an hour.
    assert spending.refuses("gpu", capped, [instance()], 6.0, NOON) == (
        "$6.00 spent and 3.00 more to come, of the $9.00 that the pool may cost in a day"
    )
    assert spending.refuses("gpu", spec(max_usd_per_day=9.1), [instance()], 6.0, NOON) is None
    assert spending.exhausted("gpu", capped, NOON) is None
    assert spending.exhausted("gpu", spec(max_usd_per_month=6.0), NOON) is not None


def test_costs_begin_and_end_between_two_looks():
    sightings = Sightings()
    seen = sightings.listed(instance(), machine(billed=False), NOON)
    seen = sightings.listed(seen, machine(), NOON + 4_000)
    assert seen.billed_from_ms == NOON + 2_000
    seen = sightings.listed(seen, machine(), NOON + 60_000)
    seen = sightings.gone(seen, NOON + 64_000)
    assert seen.billed_to_ms == NOON + 62_000


def test_a_machine_that_costs_although_it_was_ended_is_billed_on():
    sightings = Sightings()
    ended = instance(billed_from_ms=NOON, billed_to_ms=NOON + 1_000)
    assert sightings.listed(ended, machine(), NOON + 5_000).billed_to_ms is None
