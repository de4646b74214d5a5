"""What is learned of a pool's demand, online and from nothing but what was seen before.

Demand is the number of tasks that wait or run: slots that would be in use if there were enough of them. It is kept in
cells of a minute. Hourly figures would be too coarse for machines that boot for minutes.
"""

from __future__ import annotations

from collections import deque
from math import sqrt

import msgspec

from sophia.decisions.scaling.rental import Rentals
from sophia.nouns.pool import Demand, Scaling

CELL_MS = 60_000
WINDOW = 120
"""Cells whose mean and spread say what to expect: two hours, many boots long and short against the day."""
BIN_MS = 900_000
BINS_PER_DAY = 96
BINS = 7 * BINS_PER_DAY
BIN_WEIGHT = 45
"""Minutes after which a quarter of an hour of the week forgets: three weeks."""
BUDGET_HALF_LIFE_S = 86_400.0
BUDGET_START_S = 6 * 3600.0
"""At the beginning work of so long is taken to have used its error budget up exactly, so that little is decided by the
first hours."""
MAX_STEP_S = 120.0
TASK_TIME_S = 600.0
"""Over which the mean run of tasks is taken."""
USUAL_Z = 4.0
"""Standard deviations of headroom when the error budget is just used up; counts of tasks have long tails."""
LEAST_Z, MOST_Z = 1.0, 6.0
PACE_Z = 4.0
"""How many fewer there are with a budget that is untouched."""


class Cell(msgspec.Struct):
    """Looks of a minute: their number, and the sums of the slots seen and of their squares."""

    count: int = 0
    total: int = 0
    squares: int = 0


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What a history knows, for whoever looks after the pool next. Bounded: two hours of minutes, a week of quarters."""

    at: int | None
    """The last minute, since 1970."""
    cell: Cell
    cells: tuple[Cell, ...]
    bins: tuple[float, ...]
    seen: tuple[int, ...]
    started: float
    late: float
    task_s: float | None = None
    scores_s: tuple[float, ...] = ()
    wanted: tuple[bool, ...] = ()


class History:
    """Of one pool. ``look`` takes in what is seen; everything else only reads."""

    def __init__(self, scaling: Scaling, slots: int) -> None:
        self._slots = slots
        self._price = scaling.usd_per_hour / 3600
        self._rentals = Rentals(scaling.boot_s)
        self.task_s: float | None = None
        """Mean run of the tasks that were seen to end, also while none runs any more. Slow: the first seconds after a
        rest show only tasks that have not ended."""
        self._lead_cells = max(1, round(scaling.boot_s * 1000 / CELL_MS))
        self._objective_s = scaling.objective_s
        self._allowed = 1 - scaling.share
        self._at: int | None = None
        self._cell = Cell()
        self._cells: deque[Cell] = deque()
        self._count = self._total = self._squares = 0
        self._bins = [0.0] * BINS
        self._seen = [0] * BINS
        self._last_ms: int | None = None
        self._started = self._late = 0.0

    def look(self, demand: Demand, now_ms: int) -> None:
        """Take in the demand of one moment. Unknown demand teaches nothing."""
        if demand.waiting is None or demand.running is None:
            self._last_ms = None
            return
        self._time(demand, now_ms)
        self._spend(demand, now_ms)
        self._rent(demand, now_ms)
        self._last_ms = now_ms
        at = now_ms // CELL_MS
        if self._at is None:
            self._at = at
        elif at > self._at:
            self._close(self._at)
            self._at = at
        slots = demand.running + demand.hosted + round(_would_run(demand))
        cell = self._cell
        cell.count += 1
        cell.total += slots
        cell.squares += slots * slots

    def learned(self) -> Learned:
        """All of it, to be kept."""
        return Learned(
            at=self._at,
            cell=self._cell,
            cells=tuple(self._cells),
            bins=tuple(round(one, 3) for one in self._bins),
            seen=tuple(self._seen),
            started=self._started,
            late=self._late,
            task_s=self.task_s,
            scores_s=self._rentals.scores_s,
            wanted=self._rentals.wanted,
        )

    def resume(self, learned: Learned, now_ms: int) -> None:
        """Go on where another one ended. Minutes that are too long ago to say what comes next are left out; the week and
        the error budget are not."""
        if learned.at is None or len(learned.bins) != BINS or len(learned.seen) != BINS:
            return
        self._bins, self._seen = list(learned.bins), list(learned.seen)
        self._started, self._late = learned.started, learned.late
        self.task_s = learned.task_s
        self._rentals.resume(learned.scores_s, learned.wanted)
        if 0 <= now_ms // CELL_MS - learned.at <= WINDOW:
            self._at, self._cell = learned.at, learned.cell
            for cell in learned.cells[-WINDOW:]:
                self._keep(cell)

    def likely(self) -> float:
        """Slots that suffice while what is launched now boots: mean and spread of the last two hours, moved as the day
        and the week usually move, with the headroom that the error budget asks for."""
        count = self._count + self._cell.count
        if not count:
            return 0.0
        mean = (self._total + self._cell.total) / count
        spread = sqrt(max(0.0, (self._squares + self._cell.squares) / count - mean * mean))
        return (mean + self.headroom() * spread) * self.drift()

    def headroom(self) -> float:
        """Standard deviations above the mean: an error budget that is spent asks for more, an untouched one for less."""
        left = 1 - self.late_share() / self._allowed
        return min(MOST_Z, max(LEAST_Z, USUAL_Z - PACE_Z * left))

    def late_share(self) -> float:
        """Share of the work of about the last day that started later than the objective allows."""
        return self._late / self._started if self._started else 0.0

    @property
    def worth_renting(self) -> int:
        """Instances that pay beside the hosted model, by their use lately."""
        return self._rentals.need

    def drift(self) -> float:
        """How much more there usually is after a boot than in the middle of the window, at this time of the week; 1 while
        that is not known. What usually becomes less is let go when it has."""
        if self._at is None:
            return 1.0
        here, there = self._usual(self._at - WINDOW // 2), self._usual(self._at + self._lead_cells)
        if here is None or there is None:
            return 1.0
        return min(1.5, max(1.0, (1 + there) / (1 + here)))

    def _usual(self, at: int) -> float | None:
        """Mean demand of the hour around a minute of the week; of that hour on any day until this one was seen."""
        middle = at * CELL_MS // BIN_MS
        found = [self._bin(index) for index in range(middle - 2, middle + 3)]
        known = [one for one in found if one is not None]
        return sum(known) / len(known) if len(known) == len(found) else None

    def _bin(self, index: int) -> float | None:
        index %= BINS
        if self._seen[index]:
            return self._bins[index]
        same = [one for one in range(index % BINS_PER_DAY, BINS, BINS_PER_DAY) if self._seen[one]]
        return sum(self._bins[one] for one in same) / len(same) if same else None

    def _close(self, at: int) -> None:
        cell, self._cell = self._cell, Cell()
        self._keep(cell)
        index = at * CELL_MS // BIN_MS % BINS
        self._seen[index] = min(self._seen[index] + 1, BIN_WEIGHT)
        self._bins[index] += (cell.total / cell.count - self._bins[index]) / self._seen[index]

    def _keep(self, cell: Cell) -> None:
        self._cells.append(cell)
        self._count += cell.count
        self._total += cell.total
        self._squares += cell.squares
        if len(self._cells) > WINDOW:
            old = self._cells.popleft()
            self._count -= old.count
            self._total -= old.total
            self._squares -= old.squares

    def _step_s(self, now_ms: int) -> float:
        """Since the last look, as far as it may be spoken for."""
        return 0.0 if self._last_ms is None else min(max(0.0, (now_ms - self._last_ms) / 1000), MAX_STEP_S)

    def _time(self, demand: Demand, now_ms: int) -> None:
        if demand.task_s is None:
            return
        known_s = demand.task_s if self.task_s is None else self.task_s
        self.task_s = known_s + (demand.task_s - known_s) * min(1.0, self._step_s(now_ms) / TASK_TIME_S)

    def _rent(self, demand: Demand, now_ms: int) -> None:
        if demand.hosted_usd is None or not self.task_s:
            return
        slots = (demand.running or 0) + demand.hosted + _would_run(demand)
        worth = demand.hosted_usd / self.task_s / self._price
        self._rentals.look(slots, self._slots, self._step_s(now_ms), worth)

    def _spend(self, demand: Demand, now_ms: int) -> None:
        """What started since the last look, and what of it was late. The queue is first come first served, so what
        starts is about as old as the oldest that still waits."""
        running, waiting = demand.running or 0, demand.waiting or 0
        if self._last_ms is None or demand.task_s is None:
            return
        step_s = self._step_s(now_ms)
        fade = 0.5 ** (step_s / BUDGET_HALF_LIFE_S)
        pace = running / max(demand.task_s, 0.01)
        if not self._started:
            self._started = pace * BUDGET_START_S
            self._late = self._started * self._allowed
        started = pace * step_s
        late = waiting > 0 and (demand.oldest_age_s or 0.0) > self._objective_s
        self._started = self._started * fade + started
        self._late = self._late * fade + (started if late else 0.0)


def _would_run(demand: Demand) -> float:
    """Slots that what waits would have in use if there had been enough: a queue that grew while a machine booted holds
    the arrivals of minutes, of which those of one task's time would have run at once (Little's law)."""
    waiting, age_s = demand.waiting or 0, demand.oldest_age_s or 0.0
    if demand.task_s is None or age_s <= demand.task_s:
        return waiting
    return waiting * demand.task_s / age_s
