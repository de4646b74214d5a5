"""When schedules are due, daylight saving days included."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia.decisions.schedule import ON_TIME_MS, due, next_occurrence

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
CRONS = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "0,30 1,2,3 * * *",
    "15 */2 * * *",
    "5 0 1 * *",
    "0 9 * * mon-fri",
    "0 12 l * *",
    "0 0 29 2 *",
    "*/20 * * * * *",
)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def local(at_ms: int | None, zone: str) -> str:
    assert at_ms is not None
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).isoformat()


def following(cron: str, zone: str, after: str, count: int) -> list[str]:
    found, at_ms = [], ms(after)
    for _ in range(count):
        step = next_occurrence(cron, zone, at_ms)
        found.append(local(step, zone))
        assert step is not None
        at_ms = step
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # The clocks of Berlin skip from 02:00 to 03:00 on 2026-03-29 and go from 03:00 back to 02:00 on 2026-10-25.
        (
            "30 2 * * *",
            BERLIN,
            "2026-03-28T12:00:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            "2026-10-24T12:00:00+02:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        # Two times that are skipped come once, right after the gap; as does one that is at its end anyway.
        (
            "0,30 2,3 * * *",
            BERLIN,
            "2026-03-29T01:00:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        # What comes every hour goes on every hour, also through the hour that comes twice.
        (
            "0 * * * *",
            BERLIN,
            "2026-03-29T01:30:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"],
        ),
        (
            "0 * * * *",
            BERLIN,
            "2026-10-25T01:30:00+02:00",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ),
        # Within the second of two equal hours, what ran in the first does not run again.
        ("45 1 * * *", NEW_YORK, "2026-11-01T01:10:00-05:00", ["2026-11-02T01:45:00-05:00"]),
        ("45 1 * * *", NEW_YORK, "2026-11-01T01:10:00-04:00", ["2026-11-01T01:45:00-04:00"]),
        # Half an hour is skipped there.
        ("15 2 * * *", LORD_HOWE, "2026-10-03T12:00:00+10:30", ["2026-10-04T02:30:00+11:00"]),
        # A day of the month and a day of the week: either, as in cron.
        (
            "0 0 13 * fri",
            "UTC",
            "2026-02-11T00:00:00+00:00",
            ["2026-02-13T00:00:00+00:00", "2026-02-20T00:00:00+00:00"],
        ),
        ("*/30 * * * * *", "UTC", "2026-01-01T00:00:00.500+00:00", ["2026-01-01T00:00:30+00:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00+00:00", ["2028-02-29T00:00:00+00:00"]),
    ],
)
def test_what_comes_next(cron: str, zone: str, after: str, expected: list[str]) -> None:
    assert following(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [(0, []), (1, ["2026-03-29T03:00:00+02:00"]), (2, ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"])],
)
def test_of_what_was_missed_the_latest_are_made_up_for(catch_up: int, expected: list[str]) -> None:
    after_ms, now_ms = ms("2026-03-20T00:00:00+01:00"), ms("2026-03-29T12:00:00+02:00")
    found = due("30 2 * * *", BERLIN, after_ms=after_ms, now_ms=now_ms, catch_up=catch_up)
    assert [local(at_ms, BERLIN) for at_ms in found] == expected


def test_what_is_only_late_runs_in_full_and_counts_as_the_latest() -> None:
    now_ms = ms("2026-01-01T00:10:00+00:00")
    every_10_s = due("*/10 * * * * *", "UTC", after_ms=now_ms - 35_000, now_ms=now_ms, catch_up=1)
    assert every_10_s == [now_ms - 30_000, now_ms - 20_000, now_ms - 10_000, now_ms]
    hourly = due("0 * * * *", "UTC", after_ms=0, now_ms=ms("2026-01-01T03:00:20+00:00"), catch_up=1)
    assert [local(at_ms, "UTC") for at_ms in hourly] == ["2026-01-01T03:00:00+00:00"]


def test_years_of_missed_minutes_are_not_walked_through() -> None:
    now_ms = ms("2026-01-01T00:00:30+00:00")
    assert len(due("* * * * *", BERLIN, after_ms=0, now_ms=now_ms, catch_up=100)) == 100
    assert due("0 0 29 2 *", BERLIN, after_ms=0, now_ms=now_ms, catch_up=1) == [ms("2024-02-29T00:00:00+01:00")]


zones = st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE])
moments = st.one_of(
    st.integers(min_value=ms("2026-01-01T00:00:00+00:00"), max_value=ms("2027-01-01T00:00:00+00:00")),
    # Around changes of the clocks in these places.
    st.sampled_from(
        ["2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00", "2026-11-01T06:00+00:00", "2026-10-03T15:30+00:00"]
    )
    .map(ms)
    .flatmap(lambda at: st.integers(min_value=at - 4 * 3_600_000, max_value=at + 4 * 3_600_000)),
)


def walked(cron: str, zone: str, after_ms: int, until_ms: int) -> list[int]:
    found, at_ms = [], next_occurrence(cron, zone, after_ms)
    while at_ms is not None and at_ms <= until_ms:
        found.append(at_ms)
        at_ms = next_occurrence(cron, zone, at_ms)
    return found


@given(st.sampled_from(CRONS), zones, moments, st.integers(0, 3 * 3_600_000), st.integers(0, 3 * 3_600_000))
@settings(max_examples=150, deadline=None)
def test_every_occurrence_comes_once_however_time_is_cut(
    cron: str, zone: str, at_ms: int, first: int, rest: int
) -> None:
    whole = walked(cron, zone, at_ms, at_ms + first + rest)
    assert all(a < b for a, b in pairwise(whole))
    middle_ms = at_ms + first
    assert walked(cron, zone, at_ms, middle_ms) + walked(cron, zone, middle_ms, middle_ms + rest) == whole


@given(st.sampled_from(CRONS), zones, moments, st.integers(0, 6 * 3_600_000), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_due_is_the_end_of_what_came(cron: str, zone: str, after_ms: int, span_ms: int, catch_up: int) -> None:
    now_ms = after_ms + span_ms
    came = walked(cron, zone, after_ms, now_ms)
    late = [at_ms for at_ms in came if at_ms > now_ms - ON_TIME_MS]
    count = max(len(late), min(catch_up, len(came)))
    assert due(cron, zone, after_ms=after_ms, now_ms=now_ms, catch_up=catch_up) == came[len(came) - count :]


@given(zones, moments, st.integers(0, 59), st.integers(0, 23))
@settings(max_examples=100, deadline=None)
def test_a_daily_job_runs_once_on_every_day(zone: str, at_ms: int, minute: int, hour: int) -> None:
    start = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).replace(
        hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    end = start + timedelta(days=5)
    found = walked(
        f"{minute} {hour} * * *", zone, round(start.timestamp() * 1000) - 1, round(end.timestamp() * 1000) - 1
    )
    days = [datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date() for at_ms in found]
    assert days == [(start + timedelta(days=n)).date() for n in range(5)]
