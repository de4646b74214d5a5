"""Clocks for tests."""

from __future__ import annotations

import time
from datetime import datetime


class WallClock:
    """Wall time that stands still until it is moved; durations are real, so that leases live."""

    def __init__(self, start: str) -> None:
        self._now_ms = moment_ms(start)

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return time.monotonic()

    def set(self, to: str) -> None:
        self._now_ms = moment_ms(to)


def moment_ms(text: str) -> int:
    """``2026-01-31T12:00:00Z`` in milliseconds since the epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
