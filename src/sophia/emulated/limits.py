"""Rate limits of an emulated account."""

from __future__ import annotations

from sophia.emulated.cloud import Now

TOLERANCE_S = 0.02
"""Clocks and networks jitter; nobody's limiter is sharper than this."""


class Spacing:
    """Lets one request through every ``every_s`` seconds."""

    def __init__(self, every_s: float, now: Now) -> None:
        self._every_s = every_s
        self._now = now
        self._last_s: float | None = None

    def allows(self) -> bool:
        now_s = self._now()
        if self._last_s is not None and now_s - self._last_s < self._every_s - TOLERANCE_S:
            return False
        self._last_s = now_s
        return True
