"""Schedule windows: local hours, lead times, and the days on which clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from sophia.decisions.plan_scale import plan_scale
from sophia.decisions.windows import bounds_at
from sophia.nouns.pool import Demand, Instance, InstanceState, PoolSpec, Window

LA = "America/Los_Angeles"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")
EVERY_DAY = (*WEEKDAYS, "sat", "sun")


def window(start: str, end: str, low: int, high: int, *, days=WEEKDAYS, lead_s: float = 0.0, zone: str = LA) -> Window:
    return Window(days=days, start=start, end=end, time_zone=zone, min=low, max=high, lead_s=lead_s)


def spec(*windows: Window, low: int = 0, high: int = 3) -> PoolSpec:
    return PoolSpec(
        provider="local",
        streams=("planning",),
        instance_types=("process",),
        min=low,
        max=high,
        idle_timeout_s=600,
        slots=1,
        windows=windows,
    )


def ms(text: str, zone: str = LA) -> int:
    """``2026-01-05 09:00`` local, or with an explicit offset."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)


BUSINESS = window("09:00", "18:00", 2, 10, lead_s=600)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-05 08:49:59", (0, 3)),
        ("2026-01-05 08:50:00", (2, 10)),
        ("2026-01-05 09:00:00", (2, 10)),
        ("2026-01-05 17:59:59", (2, 10)),
        ("2026-01-05 18:00:00", (0, 3)),
        ("2026-01-03 12:00:00", (0, 3)),  # a Saturday
        ("2026-07-06 09:00:00", (2, 10)),  # daylight saving time
        ("2026-07-06 08:30:00", (0, 3)),
    ],
)
def test_business_hours_with_lead(at, expected):
    bounds = bounds_at(spec(BUSINESS), ms(at))
    assert (bounds.min, bounds.max) == expected


def test_the_same_local_hour_is_another_utc_hour_in_summer():
    assert bounds_at(spec(BUSINESS), ms("2026-01-05T17:00:00+00:00")).min == 2
    assert bounds_at(spec(BUSINESS), ms("2026-07-06T16:00:00+00:00")).min == 2
    assert bounds_at(spec(BUSINESS), ms("2026-01-05T16:00:00+00:00")).min == 0


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        # 2026-03-08: 02:00 PST becomes 03:00 PDT.
        ("2026-03-08T09:29:59+00:00", False),
        ("2026-03-08T09:30:00+00:00", True),  # 01:30 PST
        ("2026-03-08T09:59:59+00:00", True),
        ("2026-03-08T10:00:00+00:00", False),  # the clocks jump over 02:30: the window closes as they do
    ],
)
def test_a_closing_that_the_clocks_skip_is_their_jump(at, open_):
    bounds = bounds_at(spec(window("01:30", "02:30", 1, 1, days=EVERY_DAY)), ms(at))
    assert (bounds.min == 1) is open_


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        ("2026-03-08T09:59:59+00:00", False),
        ("2026-03-08T10:00:00+00:00", True),  # 03:00 PDT, the first moment at or past 02:30
        ("2026-03-08T10:59:59+00:00", True),
        ("2026-03-08T11:00:00+00:00", False),  # 04:00 PDT
    ],
)
def test_an_opening_that_the_clocks_skip_is_their_jump(at, open_):
    bounds = bounds_at(spec(window("02:30", "04:00", 1, 1, days=EVERY_DAY)), ms(at))
    assert (bounds.min == 1) is open_


def test_a_window_inside_the_skipped_hour_does_not_open():
    skipped = spec(window("02:15", "02:45", 1, 1, days=EVERY_DAY, lead_s=3600))
    for minute in range(240):
        assert bounds_at(skipped, ms("2026-03-08T08:30:00+00:00") + minute * 60_000).min == 0


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        # 2026-11-01: 02:00 PDT becomes 01:00 PST.
        ("2026-11-01T07:59:59+00:00", False),
        ("2026-11-01T08:00:00+00:00", True),  # 01:00 PDT
        ("2026-11-01T09:30:00+00:00", True),  # 01:30 PST
        ("2026-11-01T09:59:59+00:00", True),
        ("2026-11-01T10:00:00+00:00", False),  # 02:00 PST
    ],
)
def test_an_hour_that_comes_twice_belongs_to_the_window_both_times(at, open_):
    bounds = bounds_at(spec(window("01:00", "02:00", 1, 1, days=EVERY_DAY)), ms(at))
    assert (bounds.min == 1) is open_


def test_a_night_window_belongs_to_the_day_it_starts_on():
    night = spec(window("22:00", "06:00", 1, 1, days=("fri",)))
    assert bounds_at(night, ms("2026-01-09 23:00")).min == 1
    assert bounds_at(night, ms("2026-01-10 05:59")).min == 1
    assert bounds_at(night, ms("2026-01-10 06:00")).min == 0
    assert bounds_at(night, ms("2026-01-09 05:00")).min == 0


def test_a_lead_reaches_over_midnight():
    early = spec(window("00:10", "06:00", 1, 2, days=("mon",), lead_s=3600))
    assert bounds_at(early, ms("2026-01-04 23:10")).min == 1
    assert bounds_at(early, ms("2026-01-04 23:09")).min == 0


def test_the_first_window_that_holds_decides():
    rest = window("00:00", "00:00", 0, 3, days=EVERY_DAY)
    pool = spec(BUSINESS, rest, low=1, high=10)
    assert bounds_at(pool, ms("2026-01-05 12:00")).max == 10
    assert (bounds_at(pool, ms("2026-01-05 20:00")).min, bounds_at(pool, ms("2026-01-05 20:00")).max) == (0, 3)
    assert bounds_at(pool, ms("2026-01-05 08:55")).min == 2


def test_a_lead_into_a_window_that_is_shadowed_is_ignored():
    shadowed = window("12:00", "13:00", 7, 9, lead_s=600)
    assert bounds_at(spec(BUSINESS, shadowed), ms("2026-01-05 11:55")).min == 2


def test_the_reason_names_the_window():
    assert "09:00-18:00 America/Los_Angeles" in bounds_at(spec(BUSINESS), ms("2026-01-05 12:00")).reason
    assert "opens in 300 s" in bounds_at(spec(BUSINESS), ms("2026-01-05 08:55")).reason


def test_leaving_a_window_drains_idle_instances_at_once_and_spares_the_busy_ones():
    at = ms("2026-01-05 18:00:01")
    there = [
        Instance(
            id=f"i{n}",
            pool="p",
            state=InstanceState.READY,
            requested_at_ms=0,
            idle_since_ms=None if n < 4 else at - 1000,
            busy=1 if n < 4 else 0,
            slots=1,
        )
        for n in range(6)
    ]
    plan = plan_scale(spec(BUSINESS), there, Demand(waiting=0, running=4), at)
    assert [(a.verb, a.instance_id) for a in plan.actions] == [("drain", "i4"), ("drain", "i5")]
    assert "6 there, maximum 3" in plan.actions[0].reason
