"""Which bounds hold for a pool now: its schedule windows in local time, daylight saving honoured."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from zoneinfo import ZoneInfo

import msgspec

from sophia.nouns.pool import PoolSpec, Window

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_S = 86_400


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances a pool may have now, and what says so."""

    min: int
    max: int
    reason: str


def bounds_at(spec: PoolSpec, now_ms: int) -> Bounds:
    """The bounds at a moment. The first window that holds decides, else the pool's own ``min`` and ``max`` do.

    While a window is less than its lead away, both its bounds and those that hold now are met, so that its capacity is
    ready when it opens. A lead is ignored when an earlier window would shadow the opening.
    """
    bounds = _in_force(spec, now_ms)
    for window in spec.windows:
        opens_ms = _next_opening(window, now_ms)
        if opens_ms is None or _holding(spec.windows, opens_ms) is not window:
            continue
        bounds = Bounds(
            min=max(bounds.min, window.min),
            max=max(bounds.max, window.max),
            reason=f"{_words(window)} opens in {(opens_ms - now_ms) / 1000:.0f} s",
        )
    return bounds


def _in_force(spec: PoolSpec, now_ms: int) -> Bounds:
    window = _holding(spec.windows, now_ms)
    if window is not None:
        return Bounds(min=window.min, max=window.max, reason=_words(window))
    return Bounds(min=spec.min, max=spec.max, reason="outside all windows" if spec.windows else "")


def _holding(windows: tuple[Window, ...], now_ms: int) -> Window | None:
    for window in windows:
        if any(opens <= now_ms < closes for opens, closes in _spans(window, now_ms, ahead_days=0)):
            return window
    return None


def _next_opening(window: Window, now_ms: int) -> int | None:
    """When the window opens, if that is after ``now_ms`` and within its lead."""
    lead_ms = window.lead_s * 1000
    spans = _spans(window, now_ms, ahead_days=ceil(window.lead_s / _DAY_S) + 1)
    return next((opens for opens, closes in spans if now_ms < opens <= now_ms + lead_ms and opens < closes), None)


def _spans(window: Window, now_ms: int, *, ahead_days: int) -> list[tuple[int, int]]:
    """Openings and closings, milliseconds since the epoch, from yesterday's to those ``ahead_days`` from now."""
    zone = ZoneInfo(window.time_zone)
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    spans = []
    for offset in range(-1, ahead_days + 1):
        day = today + timedelta(days=offset)
        if _DAYS[day.weekday()] not in window.days:
            continue
        last_day = day if start < end else day + timedelta(days=1)
        # An hour that comes twice belongs to the window both times.
        spans.append((_instant_ms(day, start, zone, fold=0), _instant_ms(last_day, end, zone, fold=1)))
    return spans


def _instant_ms(day: date, at: time, zone: ZoneInfo, *, fold: int) -> int:
    """A local time as milliseconds since the epoch; one that the clocks skip is the moment of their jump."""
    wanted = datetime.combine(day, at)
    moment = wanted.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wanted:
        return round(moment.timestamp() * 1000)
    low, high = sorted(round(wanted.replace(tzinfo=zone, fold=f).timestamp()) for f in (0, 1))
    while low < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) < wanted:
            low = middle + 1
        else:
            high = middle
    return low * 1000


def _words(window: Window) -> str:
    return f"window {' '.join(window.days)} {window.start}-{window.end} {window.time_zone}"
