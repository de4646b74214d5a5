"""What a pool does next, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from sophia.decisions.offers import choose_offer
from sophia.decisions.plan_scale import plan_scale
from sophia.nouns.pool import Demand, Instance, InstanceState, Offer, PoolSpec

NOW = 1_700_000_000_000


def spec(**changes) -> PoolSpec:
    values: dict[str, Any] = {
        "provider": "local",
        "streams": ("light",),
        "instance_types": ("process",),
        "min": 0,
        "max": 4,
        "idle_timeout_s": 60.0,
        "slots": 2,
        "target_wait_s": 10.0,
        "boot_timeout_s": 100.0,
        "drain_timeout_s": 30.0,
    }
    return PoolSpec(**(values | changes))


def ready(name: str, *, busy: int | None = 0, idle_s: float | None = None, **changes) -> Instance:
    values: dict[str, Any] = {
        "id": name,
        "pool": "p",
        "state": InstanceState.READY,
        "requested_at_ms": NOW - 500_000,
        "busy": busy,
        "slots": 2,
        "idle_since_ms": None if idle_s is None else NOW - round(idle_s * 1000),
    }
    return Instance(**(values | changes))


def in_state(name: str, state: InstanceState, age_s: float, **changes) -> Instance:
    return Instance(id=name, pool="p", state=state, requested_at_ms=NOW - round(age_s * 1000), **changes)


def verbs(plan) -> list[tuple[str, str]]:
    return [(action.verb, action.instance_id) for action in plan.actions]


def test_one_waiting_task_wakes_a_pool_at_zero():
    plan = plan_scale(spec(), [], Demand(waiting=1, running=0), NOW, pool="p")
    assert verbs(plan) == [("launch", "")]
    assert plan.actions[0].pool == "p"
    assert plan.desired == 1


def test_even_a_task_that_takes_no_time_wakes_it():
    assert plan_scale(spec(), [], Demand(waiting=1, running=0, task_s=0.0), NOW).desired == 1


def test_nothing_to_do_launches_nothing():
    plan = plan_scale(spec(), [], Demand(waiting=0, running=0), NOW)
    assert (plan.desired, plan.actions) == (0, ())
    assert plan.reason == "nothing waits or runs"


@pytest.mark.parametrize(
    ("waiting", "running", "task_s", "desired"),
    [
        (3, 1, None, 2),  # a slot for each
        (5, 0, None, 3),
        (100, 0, None, 4),  # the maximum
        (8, 4, 10.0, 3),  # slots are reused once within the target: 6 slots
        (8, 4, 1.0, 1),  # and ten times: 2 slots
        (100, 4, 0.1, 1),
        (0, 2, 3600.0, 1),
    ],
)
def test_desired_follows_backlog_slots_and_pace(waiting, running, task_s, desired):
    plan = plan_scale(spec(), [], Demand(waiting=waiting, running=running, task_s=task_s), NOW)
    assert plan.desired == desired


def test_what_boots_counts_as_capacity_and_what_drains_does_not():
    booting = in_state("b", InstanceState.BOOTING, 5)
    draining = in_state("d", InstanceState.DRAINING, 300, draining_since_ms=NOW - 1000)
    assert verbs(plan_scale(spec(), [booting], Demand(waiting=2, running=0), NOW)) == []
    assert verbs(plan_scale(spec(), [draining], Demand(waiting=2, running=0), NOW)) == [("launch", "")]


@pytest.mark.parametrize("demand", [Demand(waiting=None, running=3), Demand(waiting=9, running=None)])
def test_unknown_demand_holds_even_what_is_overdue(demand):
    there = [ready("a", idle_s=9999), in_state("b", InstanceState.BOOTING, 9999)]
    plan = plan_scale(spec(min=1), there, demand, NOW)
    assert plan.actions == ()
    assert plan.desired == 2
    assert "unknown" in plan.reason


def test_the_minimum_is_kept_without_any_demand():
    plan = plan_scale(spec(min=2), [], Demand(waiting=0, running=0), NOW)
    assert verbs(plan) == [("launch", ""), ("launch", "")]
    there = [ready("a", idle_s=999), ready("b", idle_s=999), ready("c", idle_s=999)]
    assert len(plan_scale(spec(min=2), there, Demand(waiting=0, running=0), NOW).actions) == 1


def test_idle_instances_go_after_their_timeout_and_not_before():
    there = [ready("young", idle_s=59), ready("old", idle_s=61), ready("busy", busy=1)]
    plan = plan_scale(spec(), there, Demand(waiting=0, running=1), NOW)
    assert verbs(plan) == [("drain", "old")]
    assert plan.actions[0].reason == "idle for 61 s, timeout 60 s; 1 needed"


def test_the_dearest_idle_instance_goes_first():
    there = [ready("cheap", idle_s=900), ready("dear", idle_s=61, price_usd_per_hour=2.0), ready("busy", busy=2)]
    plan = plan_scale(spec(), there, Demand(waiting=1, running=2), NOW)
    assert verbs(plan) == [("drain", "dear")]


def test_a_persistent_pool_never_drains_for_idleness():
    there = [ready("a", idle_s=10**6), ready("b", idle_s=10**6)]
    assert plan_scale(spec(idle_timeout_s=None), there, Demand(waiting=0, running=0), NOW).actions == ()
    over = plan_scale(spec(idle_timeout_s=None, max=1), there, Demand(waiting=0, running=0), NOW)
    assert len(over.actions) == 1


def test_unknown_load_is_never_drained_but_long_silence_ends_it():
    quiet = ready("quiet", busy=None, silent_since_ms=NOW - 99_000)
    assert plan_scale(spec(), [quiet], Demand(waiting=0, running=0), NOW).actions == ()
    lost = ready("lost", busy=None, silent_since_ms=NOW - 101_000)
    plan = plan_scale(spec(), [lost], Demand(waiting=0, running=0), NOW)
    assert verbs(plan) == [("terminate", "lost")]
    assert plan.actions[0].reason == "silent for 101 s, longer than the 100 s allowed"


def test_a_failed_boot_is_terminated_and_replaced_while_it_is_needed():
    stuck = in_state("stuck", InstanceState.BOOTING, 101)
    assert verbs(plan_scale(spec(), [stuck], Demand(waiting=0, running=0), NOW)) == [("terminate", "stuck")]
    plan = plan_scale(spec(), [stuck], Demand(waiting=1, running=0), NOW)
    assert verbs(plan) == [("terminate", "stuck"), ("launch", "")]
    assert "booting for 101 s" in plan.actions[0].reason


def test_a_boot_is_given_its_time_again_after_nobody_could_listen():
    stuck = in_state("stuck", InstanceState.BOOTING, 500, silent_since_ms=NOW - 5_000)
    assert plan_scale(spec(), [stuck], Demand(waiting=0, running=0), NOW).actions == ()


def test_draining_too_long_is_terminated():
    slow = in_state("slow", InstanceState.DRAINING, 500, draining_since_ms=NOW - 30_500, busy=1)
    plan = plan_scale(spec(), [slow], Demand(waiting=0, running=0), NOW)
    assert verbs(plan) == [("terminate", "slow")]


def test_a_missed_target_with_everything_full_adds_one():
    demand = Demand(waiting=3, running=2, task_s=0.1, oldest_age_s=25.0)
    plan = plan_scale(spec(), [ready("a", busy=2)], demand, NOW)
    assert plan.desired == 2
    assert "the oldest of 3 waiting tasks is 25 s old" in plan.reason
    free = plan_scale(spec(), [ready("a", busy=1)], demand, NOW)
    assert free.desired == 1
    booting = [ready("a", busy=2), in_state("b", InstanceState.BOOTING, 3)]
    assert verbs(plan_scale(spec(), booting, demand, NOW)) == []


def test_every_reason_has_its_figures():
    plan = plan_scale(spec(max=2), [ready("a", busy=2)], Demand(waiting=7, running=2, task_s=12.0), NOW)
    assert plan.actions[0].reason == (
        "7 waiting and 2 running need 3 at 2 slots (mean task 12 s, target wait 10 s); maximum 2; 1 there"
    )


def offer(price: float, available: bool | None = True, name: str = "gpu") -> Offer:
    return Offer(instance_type=name, region="here", price_usd_per_hour=price, available=available)


def test_an_offer_within_the_price_is_taken_in_order_of_preference():
    capped = spec(max_price_usd_per_hour=2.0)
    chosen, reason = choose_offer(capped, [offer(3.0), offer(1.5, False), offer(1.9, None, "b"), offer(1.0)])
    assert chosen is not None
    assert chosen.instance_type == "b"
    assert "$1.9/h" in reason


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ([], "offers none of process"),
        ([offer(3.0), offer(2.5)], "cheapest of 2 offers is $2.5/h, the pool's maximum is $2/h"),
        ([offer(1.0, False)], "sold out"),
    ],
)
def test_a_refusal_says_why(offers, words):
    chosen, reason = choose_offer(spec(max_price_usd_per_hour=2.0), offers)
    assert chosen is None
    assert words in reason
