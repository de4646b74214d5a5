"""How long tasks of a pool take, from its workers' reports."""

from __future__ import annotations

from collections.abc import Iterable

from sophia.queue.base import WorkerBeat

HALF_LIFE_S = 120.0
MAX_STEP_S = 30.0
"""Longest time between two looks that is counted: nothing is known about a longer gap."""


class Pace:
    """Mean run of recent tasks by Little's law: slot-seconds spent, over attempts finished; both fade over time."""

    def __init__(self) -> None:
        self._busy_s = 0.0
        self._done = 0.0
        self._last: dict[str, WorkerBeat] = {}
        self._looked_at_ms: int | None = None

    def look(self, beats: Iterable[WorkerBeat], now_ms: int) -> None:
        """Take in the pool's reports of one moment."""
        now = {beat.worker: beat for beat in beats}
        if self._looked_at_ms is not None:
            step_s = (now_ms - self._looked_at_ms) / 1000
            fade = 0.5 ** (max(0.0, step_s) / HALF_LIFE_S)
            self._busy_s *= fade
            self._done *= fade
            if 0 < step_s <= MAX_STEP_S:
                for worker, before in self._last.items():
                    after = now.get(worker)
                    if after is not None and after.started_at_ms == before.started_at_ms:
                        self._busy_s += step_s * (before.busy + after.busy) / 2
                        self._done += max(0, after.done - before.done)
        self._last, self._looked_at_ms = now, now_ms

    @property
    def task_s(self) -> float | None:
        """Seconds; ``None`` until about a task was seen to finish."""
        return self._busy_s / self._done if self._done >= 0.5 else None
