"""What a scaling policy is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import msgspec

from sophia.decisions.scaling.history import History
from sophia.decisions.windows import Bounds
from sophia.nouns.pool import Demand, Instance, PoolSpec


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at one moment. Its demand is known: with an unknown one no policy is asked."""

    spec: PoolSpec
    capacity: Sequence[Instance]
    """Requested, booting and ready instances."""
    demand: Demand
    bounds: Bounds
    history: History | None
    now_ms: int

    @property
    def wanted_slots(self) -> int:
        return (self.demand.waiting or 0) + (self.demand.running or 0)


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances there should be, before the bounds, and which surplus ones may go."""

    need: int
    reason: str
    idle_s: float | None
    """Surplus instances idle for so long are drained; ``None``: none are."""
    paid_out: bool = False
    """Let surplus instances go only shortly before the end of a paid minute."""
    finish_busy: bool = False
    """Surplus instances may be drained while they work: they take no more, finish, and go."""


Policy = Callable[[Situation], Want]


def instances_for(slots_wanted: float, slots: int) -> int:
    return ceil(slots_wanted / slots - 1e-9)
