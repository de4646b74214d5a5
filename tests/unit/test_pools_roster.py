"""Instances as ledger, providers and workers tell them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.nouns.pool import Instance, InstanceState, PoolSpec
from sophia.pools.observe import Observation, demand_for
from sophia.pools.roster import Roster
from sophia.providers.base import Machine
from sophia.queue.base import StreamStats, WorkerBeat

NOW = 1_700_000_000_000
SPEC = PoolSpec(
    provider="local", streams=("light",), instance_types=("process",), min=0, max=3, idle_timeout_s=60.0, slots=2
)
UNKNOWN: Any = object()


def machine(name: str = "a", *, pool: str = "cpu", state: str = "running") -> Machine:
    return Machine(ref=f"ref-{name}", name=name, pool=pool, state=state, instance_type="process", region="local")


def beat(name: str = "a", *, busy: int = 0, done: int = 0, state: str = "ready") -> WorkerBeat:
    return WorkerBeat(worker=name, pool="cpu", state=state, busy=busy, slots=2, started_at_ms=NOW, done=done)


def seen(*things: Machine | WorkerBeat, at_s: float = 0, beats: Any = None, machines: Any = None) -> Observation:
    return Observation(
        at_ms=NOW + round(at_s * 1000),
        streams=[],
        beats=None if beats is UNKNOWN else {one.worker: one for one in things if isinstance(one, WorkerBeat)},
        machines={
            "local": None if machines is UNKNOWN else {one.name: one for one in things if isinstance(one, Machine)}
        },
    )


def roster(*instances: Instance, history_s: float = 100) -> Roster:
    made = Roster({"cpu": SPEC}, history_s)
    made.load(instances)
    return made


def instance(name: str = "a", state: InstanceState = InstanceState.REQUESTED, **changes: Any) -> Instance:
    return Instance(id=name, pool="cpu", state=state, requested_at_ms=NOW, **changes)


def the(one: Roster, name: str = "a") -> Instance:
    found = one.get(name)
    assert found is not None
    return found


def test_a_life_from_request_to_end():
    pool = roster(instance())
    pool.take_in(seen(machine(), at_s=1))
    assert (the(pool).state, the(pool).provider_ref, the(pool).busy) == (InstanceState.BOOTING, "ref-a", None)
    pool.take_in(seen(machine(), beat(), at_s=3))
    assert (the(pool).state, the(pool).ready_at_ms, the(pool).busy) == (InstanceState.READY, NOW + 3000, 0)
    assert the(pool).reason == "reported ready 3.0 s after its request"
    assert the(pool).idle_since_ms == NOW + 3000
    pool.take_in(seen(machine(), beat(busy=2), at_s=4))
    assert (the(pool).busy, the(pool).idle_since_ms) == (2, None)
    pool.take_in(seen(machine(), beat(done=2), at_s=9))
    assert the(pool).idle_since_ms == NOW + 9000
    pool.take_in(seen(machine(), beat(done=2), at_s=20))
    assert the(pool).idle_since_ms == NOW + 9000
    pool.take_in(seen(machine(), beat(done=3), at_s=21))
    assert the(pool).idle_since_ms == NOW + 21_000, "it worked between two reports"
    pool.take_in(seen(machine(), beat(done=3, state="draining"), at_s=22))
    assert (the(pool).state, the(pool).draining_since_ms) == (InstanceState.DRAINING, NOW + 22_000)
    pool.take_in(seen(at_s=23))
    assert (the(pool).state, the(pool).reason) == (InstanceState.TERMINATED, "its worker is leaving")
    pool.take_in(seen(at_s=200))
    assert pool.everyone() == []


def test_silence_counts_only_while_somebody_listens():
    pool = roster(instance(state=InstanceState.READY, silent_since_ms=NOW - 99_000))
    pool.take_in(seen(machine(), at_s=0))
    assert the(pool).silent_since_ms == NOW
    pool.take_in(seen(machine(), at_s=5, beats=UNKNOWN))
    assert (the(pool).silent_since_ms, the(pool).busy, the(pool).state) == (None, None, InstanceState.READY)
    pool.take_in(seen(machine(), at_s=60))
    assert the(pool).silent_since_ms == NOW + 60_000
    pool.take_in(seen(machine(), beat(), at_s=61))
    assert the(pool).silent_since_ms is None


def test_a_list_that_is_unknown_ends_nothing():
    pool = roster(instance(state=InstanceState.READY, provider_ref="ref-a"))
    for at_s in range(5):
        pool.take_in(seen(at_s=at_s, machines=UNKNOWN))
    assert the(pool).state is InstanceState.READY


def test_a_launch_without_an_answer_has_a_grace():
    pool = roster(instance())
    for at_s in (1, 2, 9):
        assert pool.take_in(seen(at_s=at_s)).failed_boots == []
    findings = pool.take_in(seen(at_s=11))
    assert [one.id for one in findings.failed_boots] == ["a"]
    assert the(pool).state is InstanceState.TERMINATED


def test_a_known_machine_is_gone_after_two_lists_without_it():
    pool = roster(instance(state=InstanceState.READY, provider_ref="ref-a"))
    pool.take_in(seen(at_s=1))
    pool.take_in(seen(machine(), beat(), at_s=2))
    pool.take_in(seen(at_s=3))
    assert the(pool).state is InstanceState.READY
    findings = pool.take_in(seen(at_s=4))
    assert the(pool).reason == "gone while ready: no longer listed by its provider"
    assert findings.failed_boots == []


def test_a_machine_that_turns_up_late_is_adopted():
    pool = roster(instance(state=InstanceState.TERMINATED))
    pool.take_in(seen(machine(), at_s=1))
    assert the(pool).state is InstanceState.BOOTING
    assert "adopted" in the(pool).reason


@pytest.mark.parametrize("pool_name", ["", "unknown"])
def test_a_machine_no_pool_wants_is_a_stray(pool_name):
    pool = roster()
    findings = pool.take_in(seen(machine("x", pool=pool_name)))
    assert [(provider, one.name) for provider, one in findings.strays] == [("local", "x")]
    assert pool.everyone() == []


def test_an_instance_whose_pool_was_removed_is_a_stray_while_it_is_there_and_gone_afterwards():
    pool = roster(
        Instance(id="a", pool="removed", state=InstanceState.READY, requested_at_ms=NOW, provider_ref="ref-a")
    )
    assert len(pool.take_in(seen(machine(pool="removed"), at_s=1)).strays) == 1
    for at_s in (2, 3):
        pool.take_in(seen(at_s=at_s))
    assert the(pool).state is InstanceState.TERMINATED


def test_a_machine_its_provider_stops_drains():
    pool = roster(instance(state=InstanceState.BOOTING))
    pool.take_in(seen(machine(state="stopping")))
    assert (the(pool).state, the(pool).reason) == (InstanceState.DRAINING, "its provider is stopping it")


ORDER = list(InstanceState)
moments = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(["none", "ready", "draining", "unknown"]), st.integers(0, 3), st.booleans()
    ),
    max_size=30,
)


@given(moments)
def test_states_only_go_forward_and_load_is_known_only_from_reports(steps):
    pool = roster(instance(), history_s=10_000)
    before = InstanceState.REQUESTED
    for number, (listed, report, busy, known) in enumerate(steps):
        things: list[Machine | WorkerBeat] = [machine()] if listed else []
        if report in ("ready", "draining"):
            things.append(beat(busy=busy, state=report, done=number))
        pool.take_in(
            seen(
                *things,
                at_s=number,
                beats=UNKNOWN if report == "unknown" else None,
                machines=None if known else UNKNOWN,
            )
        )
        now = the(pool)
        if before is InstanceState.TERMINATED:
            assert now.state is InstanceState.TERMINATED or listed
        else:
            assert ORDER.index(now.state) >= ORDER.index(before)
        if listed and known:
            assert now.busy == (busy if report in ("ready", "draining") else None)
        assert now.idle_since_ms is None or now.busy == 0 or not (listed and known)
        before = now.state


def stats(stream: str, waiting: int | None, running: int | None, age: float | None = None) -> StreamStats:
    return StreamStats(
        stream=stream, priority="normal", waiting=waiting, running=running, delayed=9, retrying=9, oldest_age_s=age
    )


def test_demand_sums_the_streams_of_a_pool_and_unknown_stays_unknown():
    spec = PoolSpec(
        provider="local", streams=("a", "b"), instance_types=("x",), min=0, max=1, idle_timeout_s=1.0, slots=1
    )
    rows = [stats("a", 2, 1, 4.0), stats("b", 3, 0, 9.0), stats("c", 50, 50)]

    def demand(rows: Any, beats: Any = {}, machines: Any = {}) -> tuple[int | None, int | None]:  # noqa: B006
        look = Observation(at_ms=NOW, streams=rows, beats=beats, machines={"local": machines})
        found = demand_for(spec, look, 1.5)
        return found.waiting, found.running

    assert demand(rows) == (5, 1)
    assert demand([*rows, stats("a", None, 1)]) == (None, 2)
    assert demand(rows[:1]) == (None, None)
    assert demand(None) == (None, None)
    assert demand(rows, beats=None) == (None, None)
    assert demand(rows, machines=None) == (None, None)
