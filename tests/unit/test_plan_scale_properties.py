"""What holds for every plan, and for pools that follow their plans for a while."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia.decisions.plan_scale import CAPACITY_STATES, plan_scale
from sophia.nouns.pool import Demand, Instance, InstanceState, PoolSpec, ScalePlan

NOW = 1_700_000_000_000
MINUTE_MS = 60_000


@st.composite
def specs(draw) -> PoolSpec:
    low = draw(st.integers(0, 4))
    return PoolSpec(
        provider="local",
        streams=("light",),
        instance_types=("process",),
        min=low,
        max=low + draw(st.integers(0, 6)),
        idle_timeout_s=draw(st.none() | st.floats(0, 900)),
        slots=draw(st.integers(1, 8)),
        target_wait_s=draw(st.floats(0.1, 120)),
        boot_timeout_s=draw(st.floats(1, 900)),
        drain_timeout_s=draw(st.floats(1, 120)),
    )


past = st.integers(0, 30 * MINUTE_MS).map(lambda ago: NOW - ago)
demands = st.builds(
    Demand,
    waiting=st.none() | st.integers(0, 500),
    running=st.none() | st.integers(0, 50),
    oldest_age_s=st.none() | st.floats(0, 3600),
    task_s=st.none() | st.floats(0, 3600),
)
known_demands = st.builds(
    Demand,
    waiting=st.integers(0, 500),
    running=st.integers(0, 50),
    oldest_age_s=st.none() | st.floats(0, 3600),
    task_s=st.none() | st.floats(0, 3600),
)


@st.composite
def fleets(draw) -> list[Instance]:
    return [
        Instance(
            id=f"i{number}",
            pool="p",
            state=draw(st.sampled_from(InstanceState)),
            requested_at_ms=draw(past),
            idle_since_ms=draw(st.none() | past),
            draining_since_ms=draw(st.none() | past),
            silent_since_ms=draw(st.none() | past),
            busy=draw(st.none() | st.integers(0, 3)),
            slots=3,
            price_usd_per_hour=draw(st.sampled_from([0.0, 1.0, 2.5])),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


def chosen(plan: ScalePlan, verb: str, fleet: list[Instance]) -> list[Instance]:
    by_id = {instance.id: instance for instance in fleet}
    return [by_id[action.instance_id] for action in plan.actions if action.verb == verb]


def launches(plan: ScalePlan) -> int:
    return sum(action.verb == "launch" for action in plan.actions)


@given(specs(), fleets(), demands)
def test_every_plan_keeps_its_promises(spec, fleet, demand):
    plan = plan_scale(spec, fleet, demand, NOW)
    assert plan == plan_scale(spec, list(fleet), demand, NOW)
    assert all(action.reason for action in plan.actions)
    if demand.waiting is None or demand.running is None:
        assert plan.actions == ()
        return
    terminated = chosen(plan, "terminate", fleet)
    drained = chosen(plan, "drain", fleet)
    capacity = [i for i in fleet if i.state in CAPACITY_STATES and i not in terminated]
    assert spec.min <= plan.desired <= spec.max
    if launches(plan):
        assert len(capacity) + launches(plan) <= spec.max
        assert not drained
    assert len(capacity) - len(drained) + launches(plan) >= spec.min
    assert all(i.state is InstanceState.READY and i.busy == 0 for i in drained)
    assert all(i.state is not InstanceState.TERMINATED for i in terminated)
    assert all(i.state is not InstanceState.READY or i.busy is None for i in terminated)
    assert len({a.instance_id for a in plan.actions if a.instance_id}) == len(plan.actions) - launches(plan)


@given(specs(), fleets(), known_demands)
def test_following_a_plan_leaves_nothing_more_to_launch(spec, fleet, demand):
    plan = plan_scale(spec, fleet, demand, NOW)
    gone = {a.instance_id for a in plan.actions}
    fresh = [
        Instance(id=f"new{n}", pool="p", state=InstanceState.REQUESTED, requested_at_ms=NOW)
        for n in range(launches(plan))
    ]
    again = plan_scale(spec, [i for i in fleet if i.id not in gone] + fresh, demand, NOW)
    if not gone - {""}:
        assert again.actions == ()
    assert launches(again) == 0 or not launches(plan)


class Pool:
    """A pool that does what its plans say: boots take some steps, drains end with the next one."""

    def __init__(self, spec: PoolSpec, boot_steps: int) -> None:
        self.spec, self.boot_steps = spec, boot_steps
        self.fleet: list[Instance] = []
        self.launched = self.drained = 0

    def step(self, now: int, waiting: int) -> ScalePlan:
        self.fleet = [self._moved(i, now) for i in self.fleet if i.state is not InstanceState.DRAINING]
        serving = [i for i in self.fleet if i.state is InstanceState.READY]
        left, loaded = waiting, {}
        for instance in serving:
            loaded[instance.id] = min(left, self.spec.slots)
            left -= loaded[instance.id]
        self.fleet = [self._loaded(i, loaded[i.id], now) if i.id in loaded else i for i in self.fleet]
        plan = plan_scale(self.spec, self.fleet, Demand(waiting=left, running=waiting - left, task_s=30.0), now)
        for action in plan.actions:
            assert action.verb != "terminate"
            self._apply(action.verb, action.instance_id, now)
        return plan

    def _moved(self, instance: Instance, now: int) -> Instance:
        if instance.state is InstanceState.READY or now - instance.requested_at_ms < self.boot_steps * MINUTE_MS:
            return instance
        return msgspec.structs.replace(instance, state=InstanceState.READY, idle_since_ms=now)

    def _loaded(self, instance: Instance, busy: int, now: int) -> Instance:
        idle_since = None if busy else instance.idle_since_ms or now
        return msgspec.structs.replace(instance, busy=busy, slots=self.spec.slots, idle_since_ms=idle_since)

    def _apply(self, verb: str, instance_id: str, now: int) -> None:
        if verb == "launch":
            self.launched += 1
            self.fleet.append(
                Instance(id=f"i{self.launched}", pool="p", state=InstanceState.REQUESTED, requested_at_ms=now)
            )
        else:
            self.drained += 1
            self.fleet = [
                msgspec.structs.replace(i, state=InstanceState.DRAINING) if i.id == instance_id else i
                for i in self.fleet
            ]

    @property
    def capacity(self) -> int:
        return sum(i.state in CAPACITY_STATES for i in self.fleet)


@settings(max_examples=60)
@given(specs(), st.lists(st.integers(0, 60), min_size=5, max_size=40), st.integers(0, 3))
def test_a_pool_that_follows_its_plans_stays_within_its_bounds(spec, loads, boot_steps):
    spec = msgspec.structs.replace(spec, boot_timeout_s=900.0)
    pool = Pool(spec, boot_steps)
    for step, waiting in enumerate(loads):
        pool.step(NOW + step * MINUTE_MS, waiting)
        assert spec.min <= pool.capacity <= spec.max


@settings(max_examples=60)
@given(specs(), st.integers(0, 60))
def test_a_steady_load_settles_and_then_nothing_changes(spec, load):
    spec = msgspec.structs.replace(spec, boot_timeout_s=900.0)
    pool = Pool(spec, boot_steps=1)
    for step in range(40):
        pool.step(NOW + step * MINUTE_MS, load)
    before = (pool.launched, pool.drained)
    for step in range(40, 60):
        assert pool.step(NOW + step * MINUTE_MS, load).actions == ()
    assert (pool.launched, pool.drained) == before


@given(st.lists(st.sampled_from([0, 1]), min_size=60, max_size=60))
def test_a_load_that_comes_and_goes_within_the_idle_timeout_does_not_flap(loads):
    spec = PoolSpec(
        provider="local", streams=("light",), instance_types=("x",), min=0, max=3, idle_timeout_s=3600.0, slots=1
    )
    pool = Pool(spec, boot_steps=1)
    for step, waiting in enumerate(loads):
        pool.step(NOW + step * MINUTE_MS, waiting)
    assert pool.launched <= 1
    assert pool.drained == 0
