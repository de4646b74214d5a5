"""Scaling policies, each by itself."""

from __future__ import annotations

from typing import Any

from sophia.decisions.plan_scale import plan_scale
from sophia.decisions.scaling.history import History
from sophia.nouns.pool import Demand, Instance, InstanceState, PoolSpec, Scaling, WhenCold

NOW = 1_704_067_200_000
MINUTE_MS = 60_000


def pool(**changes) -> PoolSpec:
    values: dict[str, Any] = {
        "provider": "lambda",
        "streams": ("planning",),
        "instance_types": ("gpu",),
        "min": 0,
        "max": 10,
        "idle_timeout_s": 600.0,
        "slots": 4,
    }
    scaling = Scaling(**changes.pop("scaling", {}))
    return PoolSpec(**(values | changes), scaling=scaling)


def ready(name: str, busy: int, *, idle_s: float | None = None, billed_s: float = 3600.0) -> Instance:
    return Instance(
        id=name,
        pool="p",
        state=InstanceState.READY,
        requested_at_ms=NOW - 4_000_000,
        busy=busy,
        slots=4,
        idle_since_ms=None if idle_s is None else NOW - round(idle_s * 1000),
        billed_from_ms=NOW - round(billed_s * 1000),
    )


def learned(spec: PoolSpec, slots: list[int], *, until: int = NOW) -> History:
    history = History(spec.scaling, spec.slots)
    for minute, running in enumerate(slots):
        history.look(Demand(waiting=0, running=running, task_s=8.0), until - (len(slots) - minute) * MINUTE_MS)
    return history


def verbs(plan) -> list[str]:
    return [action.verb for action in plan.actions]


def test_static_is_as_many_as_the_bounds_allow():
    assert plan_scale(pool(max=3, scaling={"policy": "static"}), [], Demand(waiting=0, running=0), NOW).desired == 3


def test_schedule_gives_every_task_a_slot_within_its_bounds():
    spec = pool(max=3, scaling={"policy": "schedule"})
    assert plan_scale(spec, [], Demand(waiting=5, running=0, task_s=0.1), NOW).desired == 2
    assert plan_scale(spec, [], Demand(waiting=500, running=0), NOW).desired == 3


def test_forecast_wakes_for_one_task_without_any_history():
    spec = pool(scaling={"policy": "forecast"})
    assert plan_scale(spec, [], Demand(waiting=1, running=0), NOW).desired == 1
    assert (
        plan_scale(spec, [], Demand(waiting=1, running=0), NOW, history=History(spec.scaling, spec.slots)).desired == 1
    )


def test_forecast_has_headroom_for_demand_that_varies_and_none_for_demand_that_does_not():
    spec = pool(scaling={"policy": "forecast"})
    even, uneven = learned(spec, [4] * 100), learned(spec, [0, 8] * 50)
    now = Demand(waiting=0, running=4, task_s=8.0)
    assert plan_scale(spec, [], now, NOW, history=even).desired == 1
    assert plan_scale(spec, [], now, NOW, history=uneven).desired > 3


def test_an_error_budget_that_is_overspent_buys_headroom():
    spec = pool(scaling={"policy": "forecast"})
    calm, late = learned(spec, [4] * 60), learned(spec, [4] * 60)
    for minute in range(30):
        late.look(Demand(waiting=9, running=4, oldest_age_s=60.0, task_s=8.0), NOW + minute * MINUTE_MS)
    assert late.late_share() > calm.late_share()
    assert late.headroom() > calm.headroom()


def test_a_queue_that_grew_during_a_boot_counts_as_what_would_have_run():
    spec = pool(scaling={"policy": "forecast"})
    history = History(spec.scaling, spec.slots)
    for minute in range(10):
        history.look(Demand(waiting=300, running=4, oldest_age_s=300.0, task_s=2.0), NOW + minute * MINUTE_MS)
    assert history.likely() == 6.0


def test_the_usual_morning_is_prepared_before_it_comes():
    spec = pool(scaling={"policy": "forecast"})
    day = [1] * 540 + [9] * 900
    quiet = learned(spec, [1] * 1440 + [1] * 535)
    known = learned(spec, day + day[:535])
    assert known.drift() > 1.2
    assert known.likely() > quiet.likely()


def test_surplus_goes_when_it_idled_for_a_boot_and_a_paid_minute_ends():
    spec = pool(scaling={"policy": "forecast", "boot_s": 300})
    history = learned(spec, [0] * 60)
    nothing = Demand(waiting=0, running=0)
    late_in_minute, early_in_minute = 3650.0, 3610.0
    for idle_s, billed_s, expected in (
        (400, late_in_minute, ["drain"]),
        (400, early_in_minute, []),
        (200, late_in_minute, []),
    ):
        there = [ready("a", 0, idle_s=idle_s, billed_s=billed_s)]
        assert verbs(plan_scale(spec, there, nothing, NOW, history=history)) == expected
    assert verbs(plan_scale(spec, [ready("a", 1)], nothing, NOW, history=history)) == []


def test_keep_warm_holds_one():
    spec = pool(scaling={"policy": "forecast", "keep_warm": 1})
    assert (
        plan_scale(spec, [], Demand(waiting=0, running=0), NOW, history=History(spec.scaling, spec.slots)).desired == 1
    )


def test_deferrable_work_waits_for_a_batch_then_for_its_deadline():
    spec = pool(scaling={"policy": "forecast", "deferrable": True, "deadline_s": 900, "boot_s": 300})
    few = Demand(waiting=3, running=0, oldest_age_s=30.0, task_s=10.0)
    assert plan_scale(spec, [], few, NOW).desired == 0
    assert plan_scale(spec, [], Demand(waiting=3, running=0, oldest_age_s=600.0, task_s=10.0), NOW).desired == 1
    assert plan_scale(spec, [], Demand(waiting=300, running=0, oldest_age_s=30.0, task_s=10.0), NOW).desired >= 1


def test_beside_a_hosted_model_only_what_pays_is_launched():
    spec = pool(scaling={"policy": "forecast", "when_cold": WhenCold(overflow=True), "usd_per_hour": 3.6})
    dear = Demand(waiting=0, running=0, hosted=4, task_s=10.0, hosted_usd=0.01)
    cheap = Demand(waiting=0, running=0, hosted=4, task_s=10.0, hosted_usd=0.001)
    for price, desired in ((dear, 1), (cheap, 0)):
        history = History(spec.scaling, spec.slots)
        for minute in range(100):
            history.look(price, NOW - (100 - minute) * MINUTE_MS)
        assert plan_scale(spec, [], price, NOW, history=history).desired == desired


def test_unknown_demand_holds_and_teaches_nothing():
    spec = pool(scaling={"policy": "forecast"})
    history = learned(spec, [4] * 60)
    before = history.likely()
    unknown = Demand(waiting=None, running=None)
    history.look(unknown, NOW)
    assert history.likely() == before
    assert plan_scale(spec, [ready("a", 0, idle_s=9000)], unknown, NOW, history=history).actions == ()


def test_the_last_instance_of_deferrable_work_finishes_and_goes_though_something_always_runs():
    spec = pool(scaling={"policy": "forecast", "deferrable": True})
    running = Demand(waiting=0, running=2, task_s=2.0)
    only = [ready("a", 2, billed_s=3650.0)]
    assert verbs(plan_scale(spec, only, running, NOW)) == ["drain"]
    # Not in the middle of a paid minute, not one of several, and not with work that would be cut off.
    assert verbs(plan_scale(spec, [ready("a", 2, billed_s=3610.0)], running, NOW)) == []
    assert verbs(plan_scale(spec, [*only, ready("b", 1, billed_s=3650.0)], running, NOW)) == []
    assert verbs(plan_scale(spec, only, Demand(waiting=0, running=2, task_s=20.0), NOW)) == []
    full = Demand(waiting=0, running=4, task_s=2.0)
    assert verbs(plan_scale(spec, [ready("a", 4, billed_s=3650.0)], full, NOW)) == []


def test_the_first_seconds_after_a_rest_do_not_make_tasks_look_long():
    history = learned(pool(scaling={"policy": "forecast"}), [4] * 100)
    assert history.task_s == 8.0
    history.look(Demand(waiting=9, running=4, task_s=90.0), NOW + 10_000)
    assert history.task_s is not None
    assert history.task_s < 20.0
    history.look(Demand(waiting=9, running=0), NOW + 20_000)
    assert history.task_s < 20.0


def test_an_own_instance_beside_a_hosted_model_goes_when_it_has_lost_what_a_boot_costs():
    spec = pool(
        scaling={"policy": "forecast", "when_cold": WhenCold(overflow=True), "usd_per_hour": 3.6, "boot_s": 300}
    )
    history = History(spec.scaling, spec.slots)

    def after(minutes: int, hosted: int, start: int) -> int:
        # Over there a slot costs half an instance: two in use pay for one.
        for minute in range(minutes):
            seen = Demand(waiting=0, running=0, hosted=hosted, task_s=10.0, hosted_usd=0.005)
            history.look(seen, NOW + (start + minute) * MINUTE_MS)
        return history.worth_renting

    assert after(5, 4, 0) == 0
    assert after(2, 4, 5) == 1
    assert after(4, 0, 7) == 1
    assert after(2, 0, 11) == 0
