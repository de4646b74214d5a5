"""A circuit breaker: whether a deployment that failed is asked again yet. Time comes in as a value."""

from __future__ import annotations

from enum import StrEnum

from sophia.settings.deployments import BreakerSettings


class BreakerState(StrEnum):
    CLOSED = "closed"
    """Calls pass."""
    HALF_OPEN = "half_open"
    """One call is under way that decides."""
    OPEN = "open"
    """No call passes until its time is over."""


class Breaker:
    """Closed, open, half-open. Calls that began before the last change of state no longer count, so that what hung for
    minutes neither opens nor closes what has moved on since.

    ``enter`` gives a mark that is handed back with the outcome. Times are seconds of one monotonic clock.
    """

    __slots__ = (
        "_calls",
        "_earlier",
        "_epoch",
        "_failed",
        "_probing",
        "_row",
        "_settings",
        "_times_opened",
        "_until_s",
        "_window_s",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._epoch = 0
        self._row = 0
        self._calls = self._failed = 0
        self._earlier = (0, 0)
        """Calls and failures of the half window before this one."""
        self._window_s = 0.0
        self._until_s: float | None = None
        self._times_opened = 0
        self._probing = False

    def state(self, now_s: float) -> BreakerState:
        if self._until_s is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing or now_s >= self._until_s else BreakerState.OPEN

    def admits(self, now_s: float) -> bool:
        return self._until_s is None or (not self._probing and now_s >= self._until_s)

    def opens_in_s(self, now_s: float) -> float:
        """Until a call is let through; 0: at once. While one decides, as long as it was open before."""
        if self._until_s is None:
            return 0.0
        return self._open_s() if self._probing else max(0.0, self._until_s - now_s)

    def enter(self, now_s: float) -> int:
        """A call begins, which ``admits`` must have allowed."""
        if self._until_s is not None:
            self._probing = True
        return self._epoch

    def succeeded(self, mark: int, now_s: float) -> None:
        if mark != self._epoch:
            return
        self._row = 0
        if self._until_s is not None:
            self._until_s = None
            self._times_opened = 0
            self._turn()
        else:
            self._count(now_s, 0)

    def failed(self, mark: int, now_s: float) -> None:
        if mark != self._epoch:
            return
        self._row += 1
        self._count(now_s, 1)
        if self._until_s is not None or self._row >= self._settings.failures or self._mostly_failing():
            self._times_opened += 1
            self._until_s = now_s + self._open_s()
            self._turn()

    def left(self, mark: int) -> None:
        """A call was given up by its caller: it says nothing."""
        if mark == self._epoch:
            self._probing = False

    def _open_s(self) -> float:
        doubled = self._settings.open_s * 2.0 ** min(max(self._times_opened, 1) - 1, 32)
        return min(doubled, max(self._settings.open_s, self._settings.open_max_s))

    def _turn(self) -> None:
        self._epoch += 1
        self._row = self._calls = self._failed = 0
        self._earlier = (0, 0)
        self._probing = False

    def _count(self, now_s: float, failed: int) -> None:
        half_s = self._settings.window_s / 2
        if now_s - self._window_s >= half_s:
            recent = now_s - self._window_s < 2 * half_s
            self._earlier = (self._calls, self._failed) if recent else (0, 0)
            self._calls = self._failed = 0
            self._window_s = now_s
        self._calls += 1
        self._failed += failed

    def _mostly_failing(self) -> bool:
        calls, failed = self._calls + self._earlier[0], self._failed + self._earlier[1]
        return calls >= self._settings.calls and failed >= self._settings.share * calls
