"""What no plan can beat, even one that knows the whole trace. The reasoning is in ``docs/simulator.md``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sophia.simulate.world import Trace

CELLS_S = (30.0, 60.0, 90.0)
"""Every length of cell gives a lower bound; the highest is taken."""
PRICES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Multipliers for late work, instance-seconds per slot-second; each gives a lower bound too."""


def work_bound_s(trace: Trace, slots: int) -> float:
    """Instance-seconds of the bare work with every slot always full: a lower bound for every plan whatsoever."""
    return float(trace.run_s.sum()) / slots


def optimum_s(trace: Trace, slots: int, boot_s: float, objective_s: float, share: float) -> float:
    """Instance-seconds, boots included, below which no plan starts ``share`` of the tasks within ``objective_s``."""
    longest = np.sort(trace.run_s)[::-1]
    late_s = float(longest[: round((1 - share) * len(longest))].sum())
    best = work_bound_s(trace, slots)
    for cell_s in CELLS_S:
        if 2 * cell_s > boot_s:
            continue
        must = _must_run(trace, cell_s, objective_s)
        prices = PRICES if late_s else (1e6,)
        for price in prices:
            bound = _cheapest(must, slots, cell_s, boot_s - 2 * cell_s, price) - price * late_s
            best = max(best, bound)
    return best


def _must_run(trace: Trace, cell_s: float, objective_s: float) -> NDArray[np.float64]:
    """Slot-seconds that must be run in each cell: what was to be done by its end, had every task started as late as it
    may, less what could be done before it, had every task started at once."""
    count = int(np.ceil((float(trace.at_s[-1]) + objective_s + float(trace.run_s.max())) / cell_s)) + 1
    edges = np.arange(count + 1, dtype=np.float64) * cell_s
    early, late = _done_by(edges, trace.at_s, trace.run_s), _done_by(edges, trace.at_s + objective_s, trace.run_s)
    return np.maximum(late[1:] - early[:-1], 0.0)


def _done_by(edges: NDArray[Any], starts: NDArray[np.float64], run_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slot-seconds run before each edge."""
    ends = np.sort(starts + run_s)
    sums_of_ends = np.concatenate(([0.0], np.cumsum(ends)))
    ordered = np.sort(starts)
    sums_of_starts = np.concatenate(([0.0], np.cumsum(ordered)))
    begun, over = np.searchsorted(ordered, edges), np.searchsorted(ends, edges)
    return np.asarray((edges * begun - sums_of_starts[begun]) - (edges * over - sums_of_ends[over]))


def _cheapest(must: NDArray[np.float64], slots: int, cell_s: float, launch_s: float, price: float) -> float:
    """The cheapest whole numbers of instances, cell by cell, with ``launch_s`` for each one added and ``price`` for each
    slot-second that they are short of. Exact, by dynamic programming over the number of instances."""
    top = int(np.ceil(must.max() / (cell_s * slots)))
    number = np.arange(top + 1)
    room, running, launching = number * (cell_s * slots), number * cell_s, number * launch_s
    cost = launching.astype(np.float64)
    for work in must.tolist():
        # From more instances for nothing, from fewer for a launch each.
        down = np.minimum.accumulate(cost[::-1])[::-1]
        up = np.minimum.accumulate(cost - launching) + launching
        cost = np.minimum(down, up) + running + price * np.maximum(work - room, 0.0)
    return float(cost.min())
