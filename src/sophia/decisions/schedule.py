"""When a schedule is due. Cron expressions as Debian's cron reads them, daylight saving included (``cronsim``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

ON_TIME_MS = 60_000
"""An occurrence that old is late, not missed: longer than it takes a router to take over from another."""


def next_occurrence(cron: str, time_zone: str, after_ms: int) -> int | None:
    """The first occurrence after a moment, in milliseconds since the epoch; ``None`` when none comes in 50 years."""
    return next(_occurrences(cron, time_zone, after_ms), None)


def due(cron: str, time_zone: str, *, after_ms: int, now_ms: int, catch_up: int) -> list[int]:
    """Occurrences to run now of those after ``after_ms``, oldest first.

    All that are at most ``ON_TIME_MS`` late, and as many before those as it takes to make the latest ``catch_up``.
    """
    on_time_ms = max(after_ms, now_ms - ON_TIME_MS)
    latest = deque(_until(cron, time_zone, on_time_ms, now_ms))
    span_ms = 2 * ON_TIME_MS
    # Looked for in growing steps back: a year of missed minutes is not walked through to find the last one.
    while len(latest) < catch_up and on_time_ms > after_ms:
        from_ms = max(after_ms, now_ms - span_ms)
        missing = catch_up - len(latest)
        earlier = deque(_until(cron, time_zone, from_ms, on_time_ms), maxlen=missing)
        if len(earlier) == missing or from_ms == after_ms:
            return [*earlier, *latest]
        span_ms *= 4
    return list(latest)


def _until(cron: str, time_zone: str, after_ms: int, until_ms: int) -> Iterator[int]:
    for at_ms in _occurrences(cron, time_zone, after_ms):
        if at_ms > until_ms:
            return
        yield at_ms


def _occurrences(cron: str, time_zone: str, after_ms: int) -> Iterator[int]:
    """Strictly rising. Of several local times that daylight saving moves to one moment, that moment comes once."""
    zone = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    last_ms = after_ms
    for moment in CronSim(cron, datetime.fromtimestamp(after_ms / 1000, zone)):
        at_ms = round(moment.timestamp() * 1000)
        if at_ms > last_ms:
            last_ms = at_ms
            yield at_ms
