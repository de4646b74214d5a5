"""Policies beside each other on one trace, with the baselines that a claim about cost must be held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from sophia.decisions.scaling.base import Policy
from sophia.nouns.pool import PoolSpec, Scaling, WhenCold
from sophia.simulate import rivals
from sophia.simulate.optimum import optimum_s, work_bound_s
from sophia.simulate.world import Outcome, Trace, Weather, run

ALWAYS_ON = 10


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one trace. Costs count started minutes from the launch call on."""

    trace: str
    policy: str
    usd: float
    gpu_usd: float
    hosted_usd: float
    gpu_hours: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    in_objective: float
    in_deadline: float
    launches: int
    refused: int
    hosted: int
    of_optimum: float
    """Cost over that of the offline optimum for the pool's own machines."""
    of_always_on: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    trace: str
    tasks: int
    days: float
    objective_s: float
    share: float
    optimum_usd: float
    """No plan that starts everything within the objective costs less."""
    optimum_share_usd: float
    """No plan that starts the objective's share within it costs less."""
    work_usd: float
    """No plan at all costs less."""
    rows: tuple[Row, ...]


Entry = tuple[PoolSpec, Callable[[], Policy | None], int]
"""The pool, its policy (fresh for every run; ``None``: the one that the pool names), instances at the beginning."""


def entries(pool: PoolSpec, trace: Trace) -> dict[str, Entry]:
    """The policies of the comparison by name, all with the pool's slots and objective."""
    plain = replace(pool, windows=(), min=0)
    uncapped = replace(
        pool, windows=tuple(replace(one, max=max(one.max, pool.max)) for one in pool.windows), idle_timeout_s=600.0
    )
    founding = replace(pool, idle_timeout_s=600.0)
    seconds = float(trace.run_s.mean())
    scaling = replace(pool.scaling, policy="forecast", when_cold=WhenCold(), deferrable=False)
    warm = replace(plain, scaling=replace(scaling, keep_warm=max(1, scaling.keep_warm)))
    hosted = replace(plain, scaling=replace(scaling, when_cold=WhenCold(overflow=True)))
    late = replace(plain, scaling=replace(scaling, deferrable=True))
    return {
        "forecast": (warm, _own, 1),
        "forecast+hosted": (hosted, _own, 0),
        "forecast deferrable": (late, _own, 0),
        "backlog": (replace(plain, min=1, scaling=Scaling(policy="backlog")), _own, 1),
        "founding schedule": (founding, lambda: rivals.founding, 1),
        "founding, no cap": (uncapped, lambda: rivals.founding, 1),
        "keda-like": (replace(plain, min=1), rivals.Keda, 1),
        "skyserve-like": (replace(plain, min=1), lambda: rivals.SkyServe(0.8 * pool.slots / seconds), 1),
        "delayed-off 10 min": (replace(plain, min=1), lambda: rivals.DelayedOff(600.0), 1),
        "delayed-off 60 min": (replace(plain, min=1), lambda: rivals.DelayedOff(3600.0), 1),
        "newsvendor": (replace(plain, min=1), lambda: rivals.Newsvendor(2.33), 1),
        "static half": (_fixed(plain, ceil(pool.max / 2)), _own, ceil(pool.max / 2)),
    }


def compare(
    trace: Trace, pool: PoolSpec, chosen: Mapping[str, Entry], *, weather: Weather, tick_s: float = 10.0
) -> Comparison:
    """Run every chosen policy, always-on at ten and right-sized always-on over the trace."""
    scaling = pool.scaling
    boot_s = sum(weather.boot_s) / 2
    hourly = scaling.usd_per_hour / 3600
    best_s = optimum_s(trace, pool.slots, boot_s, scaling.objective_s, 1.0)
    outcomes = [
        run(trace, spec, policy(), name=name, weather=weather, tick_s=tick_s, start=start)
        for name, (spec, policy, start) in chosen.items()
    ]
    plain = replace(pool, windows=(), min=0)
    outcomes.append(_always_on(trace, plain, ALWAYS_ON, f"always-on {ALWAYS_ON}", weather))
    outcomes.append(_right_sized(trace, plain, weather))
    return Comparison(
        trace=trace.name,
        tasks=len(trace.at_s),
        days=trace.span_s / 86_400,
        objective_s=scaling.objective_s,
        share=scaling.share,
        optimum_usd=best_s * hourly,
        optimum_share_usd=optimum_s(trace, pool.slots, boot_s, scaling.objective_s, scaling.share) * hourly,
        work_usd=work_bound_s(trace, pool.slots) * hourly,
        rows=tuple(_row(trace, pool, outcome, best_s) for outcome in outcomes),
    )


def beaten(comparison: Comparison) -> dict[str, list[str]]:
    """For every policy the others that are both cheaper and better: more within the objective."""
    return {
        one.policy: [
            other.policy for other in comparison.rows if other.usd < one.usd and other.in_objective > one.in_objective
        ]
        for one in comparison.rows
    }


def recommend(comparison: Comparison, share: float) -> Row | None:
    """The cheapest row that keeps the objective; ``None`` when none does."""
    good = [row for row in comparison.rows if row.in_objective >= share]
    return min(good, key=lambda row: row.usd, default=None)


def _own() -> None:
    return None


def _fixed(spec: PoolSpec, number: int) -> PoolSpec:
    return replace(spec, min=number, max=number, idle_timeout_s=None, scaling=Scaling(policy="static"))


def _always_on(trace: Trace, spec: PoolSpec, number: int, name: str, weather: Weather) -> Outcome:
    """A fixed number needs no ticks of ten seconds: nothing is planned."""
    return run(trace, _fixed(spec, number), None, name=name, weather=weather, tick_s=600.0, start=number)


def _right_sized(trace: Trace, spec: PoolSpec, weather: Weather) -> Outcome:
    """The smallest fixed number that keeps the objective, found by halving."""
    scaling = spec.scaling
    low, high = 1, 2
    outcomes: dict[int, Outcome] = {}

    def good(number: int) -> bool:
        outcomes[number] = _always_on(trace, spec, number, f"right-sized {number}", weather)
        return bool((outcomes[number].waits_s <= scaling.objective_s).mean() >= scaling.share)

    while not good(high):
        low, high = high + 1, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    if high not in outcomes:
        good(high)
    return outcomes[high]


def _row(trace: Trace, pool: PoolSpec, outcome: Outcome, best_s: float) -> Row:
    scaling = pool.scaling
    waits = outcome.waits_s
    middle, most, nearly_all = (float(one) for one in np.quantile(waits, [0.5, 0.95, 0.99]))
    gpu_usd = outcome.instance_s / 3600 * scaling.usd_per_hour
    usd = gpu_usd + outcome.hosted_usd
    return Row(
        trace=trace.name,
        policy=outcome.policy,
        usd=usd,
        gpu_usd=gpu_usd,
        hosted_usd=outcome.hosted_usd,
        gpu_hours=outcome.instance_s / 3600,
        wait_p50_s=middle,
        wait_p95_s=most,
        wait_p99_s=nearly_all,
        in_objective=float((waits <= scaling.objective_s).mean()),
        in_deadline=float((waits <= scaling.deadline_s).mean()),
        launches=outcome.launches,
        refused=outcome.refused,
        hosted=outcome.hosted,
        of_optimum=usd / (best_s / 3600 * scaling.usd_per_hour),
        of_always_on=usd / (ALWAYS_ON * trace.span_s / 3600 * scaling.usd_per_hour),
    )


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.to_builtins(comparisons)
    for one, comparison in zip(found, comparisons, strict=True):
        one["cheaper_and_better"] = beaten(comparison)
    return found
