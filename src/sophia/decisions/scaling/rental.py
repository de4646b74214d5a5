"""Own instances beside a hosted model, which takes what finds no slot: rent or pay by use."""

from __future__ import annotations

MOST_INSTANCES = 1_000
"""Looked at one by one, as many as were ever in use at once."""


class Rentals:
    """The k-th instance earns what its slots would have cost at the hosted model, and pays for its own time. It is wanted
    when that has earned a boot, and no longer when it has lost one again: the ski rental problem with a launch as its
    price, for each instance by itself (lazy capacity provisioning, Lin et al. 2011: never more than three times the cost
    of a plan that knows the future). All in seconds of an instance, and with no figure to be tuned.
    """

    def __init__(self, boot_s: float) -> None:
        self._boot_s = boot_s
        self._scores_s: list[float] = []
        self._wanted: list[bool] = []

    @property
    def need(self) -> int:
        """Instances that pay."""
        return max((k for k, wanted in enumerate(self._wanted, 1) if wanted), default=0)

    @property
    def scores_s(self) -> tuple[float, ...]:
        return tuple(round(one, 1) for one in self._scores_s)

    @property
    def wanted(self) -> tuple[bool, ...]:
        return tuple(self._wanted)

    def resume(self, scores_s: tuple[float, ...], wanted: tuple[bool, ...]) -> None:
        if len(scores_s) == len(wanted):
            self._scores_s, self._wanted = list(scores_s), list(wanted)

    def look(self, slots_used: float, slots: int, step_s: float, worth: float) -> None:
        """``slots_used`` were wanted for ``step_s``; a second of one costs ``worth`` seconds of an instance over there."""
        while len(self._scores_s) * slots < slots_used and len(self._scores_s) < MOST_INSTANCES:
            self._scores_s.append(0.0)
            self._wanted.append(False)
        for k, score_s in enumerate(self._scores_s):
            used = min(slots, max(0.0, slots_used - k * slots))
            score_s = min(self._boot_s, max(0.0, score_s + (used * worth - 1) * step_s))
            self._wanted[k] = score_s > 0 if self._wanted[k] else score_s >= self._boot_s
            self._scores_s[k] = score_s
