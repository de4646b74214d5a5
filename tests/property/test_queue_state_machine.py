"""Any order of calls, lost workers, repeated and late calls: the queue does what a small model says.

The search is the same in every run; ``QUEUE_SEARCH_SEED=7 QUEUE_SEARCH_EXAMPLES=500`` looks elsewhere and longer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sophia.nouns.errors import Conflict, ErrorClass, ErrorInfo
from sophia.nouns.event import FINAL_EVENT_KINDS, Event
from sophia.nouns.task import AttemptOutcome, Priority, Route, Target, Task, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Emission, Lease, QueueUpkeep, Settlement
from tests.support.queue_benches import BENCHES, LEASE_S, STREAMS, BenchFactory, Profile, QueueBench
from tests.support.queue_model import WAITING, ModelTask, QueueModel
from tests.support.tasks import make_task

SEED = int(os.environ.get("QUEUE_SEARCH_SEED", "1"))
EXAMPLES = int(os.environ.get("QUEUE_SEARCH_EXAMPLES", "20"))
STEPS = 40

# The clock moves in steps of 60 s and everything is due half-way between two of them, so that the seconds a busy
# machine takes do not matter.
STEP_S = 60.0
MOMENTS_S = (30.0, 90.0, 150.0)
assert LEASE_S in MOMENTS_S

TENANTS = ("acme", "zeta", "initech")
WORKERS = ("w1", "w2", "w3")
PROFILES = {
    "one partition": Profile(),
    "three partitions, a cap by tenant": Profile(partitions=3, tenant_max_running=2),
    "a cap by type and a window of one": Profile(fair_window=1, max_running={"type:web_research": 2}),
}
FAULT = ErrorInfo(code="unavailable", message="try later", error_class=ErrorClass.RETRYABLE)

T = TypeVar("T")
indices = st.integers(min_value=0, max_value=10_000)
outcomes = st.sampled_from([outcome for outcome in AttemptOutcome if outcome not in ("running", "lost")])
some_streams = st.sampled_from([["light"], ["coding"], ["light", "coding"]])


class QueueMachine(RuleBasedStateMachine):
    """Every rule makes a call of the contract and compares its answer with the model's."""

    def __init__(self, factory: BenchFactory, url: str, profile: Profile) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._profile = profile
        self._factory = factory
        self._url = url
        self.bench: QueueBench
        self.model = QueueModel(LEASE_S)
        self.leases: list[Lease] = []
        self.settlements: list[Settlement] = []
        self.ledger: dict[str, TaskRecord] = {}
        self.poison = 0
        self._requests = 0
        self._router: QueueUpkeep

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    @initialize()
    def start(self) -> None:
        self.bench = self.run(self._stack.enter_async_context(self._factory(self._url, self._profile)))
        self.another_router_leads()

    # --- submission

    @rule(
        count=st.integers(1, 5),
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(Priority),
        stream=st.sampled_from(STREAMS),
        type_=st.sampled_from(["light", "web_research"]),
        max_attempts=st.integers(1, 3),
        due_in=st.one_of(st.none(), st.none(), st.sampled_from(MOMENTS_S)),
        start_by_in=st.one_of(st.none(), st.none(), st.sampled_from(MOMENTS_S)),
        calls=st.integers(1, 2),
        twice_in_one_call=st.booleans(),
    )
    def submit(
        self,
        count: int,
        tenant: str,
        priority: Priority,
        stream: str,
        type_: str,
        max_attempts: int,
        due_in: float | None,
        start_by_in: float | None,
        calls: int,
        twice_in_one_call: bool,
    ) -> None:
        """``calls`` of two: the reply to the first one was lost."""
        now_ms = time.time_ns() // 1_000_000
        tasks = [
            make_task(
                tenant=tenant,
                priority=priority,
                type=type_,
                route=Route(stream=stream, target=Target.CPU, reason="drawn"),
                max_attempts=max_attempts,
                run_at_ms=None if due_in is None else now_ms + round(due_in * 1000),
                deadline_at_ms=None if start_by_in is None else now_ms + round(start_by_in * 1000),
            )
            for _ in range(count)
        ]
        for task in tasks:
            self.model.submitted(task, due_in, start_by_in)
        asked = [*tasks, tasks[0]] if twice_in_one_call else tasks
        for _ in range(calls):
            receipts = self.run(self.bench.tasks.submit(asked))
            assert [(r.task_id, r.state, r.duplicate) for r in receipts] == [
                (task.id, self.model.tasks[task.id].state, False) for task in asked
            ]

    @rule(key=st.sampled_from(["k1", "k2"]), tenant=st.sampled_from(TENANTS), request=st.integers(1, 2))
    def submit_with_a_key(self, key: str, tenant: str, request: int) -> None:
        task = make_task(tenant=tenant, idempotency_key=key, payload={"prompt": f"request {request}"})
        first = self.model.by_key.get((tenant, key))
        if first is not None and first.payload != task.payload:
            other = make_task(tenant=tenant)
            with pytest.raises(Conflict):
                self.run(self.bench.tasks.submit([other, task]))
            assert self.run(self.bench.tasks.get([other.id, task.id])) == [None, None]
            return
        if first is None:
            self.model.submitted(task, None, None)
        (receipt,) = self.run(self.bench.tasks.submit([task]))
        accepted = first or task
        assert (receipt.task_id, receipt.duplicate) == (accepted.id, first is not None)
        assert receipt.state is self.model.tasks[accepted.id].state

    # --- workers

    @rule(worker=st.sampled_from(WORKERS), streams=some_streams, count=st.integers(1, 6))
    def lease(self, worker: str, streams: list[str], count: int) -> None:
        queued = self.model.queued(streams)
        leases = self.run(self.bench.work.lease(worker, streams, count, 0))
        assert len(leases) <= count
        # An attempt that was to begin too late fails then and there, if it was come across.
        late = [one for one in queued if self.model.start_expired(one)]
        for one, record in zip(late, self.records(late), strict=True):
            if record.state is TaskState.FAILED:
                self.model.fail_late_start(one)
        ready = [one for one in queued if one.undelivered_until is None and one not in late]
        if self._profile.ordered and len(ready) == len(queued) and not self.poison:
            due = sorted(one.task.priority for one in queued)[:count]
            assert [lease.task.priority for lease in leases] == due, "what was leased is not what goes first"
        for lease in leases:
            self.model.leased(lease)
            self.leases.append(lease)
        if self._profile.tenant_max_running is not None:
            for tenant in TENANTS:
                running = [one for one in self.model.in_state(TaskState.RUNNING) if one.task.tenant == tenant]
                assert len(running) <= self._profile.tenant_max_running
        _first_in_first_out(ready, [lease.task.id for lease in leases])

    @precondition(lambda self: not self.model.queued(list(STREAMS)) and not self.poison)
    @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 4), tenant=st.sampled_from(TENANTS))
    def submit_to_a_waiting_worker(self, worker: str, count: int, tenant: str) -> None:
        task = make_task(tenant=tenant)

        async def wait_and_submit() -> list[Lease]:
            waiting = asyncio.create_task(self.bench.work.lease(worker, list(STREAMS), count, 20))
            await self.bench.reader_is_waiting()
            await self.bench.tasks.submit([task])
            leases = await waiting
            # With several partitions other reads go on, for the worker's next call.
            await self.bench.work.leave(worker)
            return leases

        capped = self._capped(task)
        if capped:
            return
        self.model.submitted(task, None, None)
        (lease,) = self.run(wait_and_submit())
        self.model.leased(lease)
        self.leases.append(lease)

    def _capped(self, task: Task) -> bool:
        running = self.model.in_state(TaskState.RUNNING)
        of_tenant = sum(one.task.tenant == task.tenant for one in running)
        of_type = sum(one.task.type == task.type for one in running)
        cap, type_cap = self._profile.tenant_max_running, self._profile.max_running.get(f"type:{task.type}")
        return (cap is not None and of_tenant >= cap) or (type_cap is not None and of_type >= type_cap)

    @precondition(lambda self: self.leases)
    @rule(picks=st.lists(indices, min_size=1, max_size=5))
    def extend(self, picks: list[int]) -> None:
        leases = picked(self.leases, picks)
        expected = [(lease.task.id, *self.model.extended(lease)) for lease in leases]
        statuses = self.run(self.bench.work.extend(leases))
        # The engine may order its answers by worker.
        got = [(status.task_id, status.held, status.cancel_requested) for status in statuses]
        assert sorted(got) == sorted(expected)

    @precondition(lambda self: self.leases)
    @rule(picks=st.lists(indices, min_size=1, max_size=4))
    def emit(self, picks: list[int]) -> None:
        leases = picked(self.leases, picks)
        expected = [self.model.emitted(lease, "task.output") for lease in leases]
        emissions = [Emission(lease=lease, kind="task.output", data={"text": "é"}) for lease in leases]
        assert self.run(self.bench.work.emit(emissions)) == expected

    @precondition(lambda self: self.leases)
    @rule(
        picks=st.lists(indices, min_size=1, max_size=4),
        outcome=outcomes,
        cost=st.integers(0, 10**12),
        retry_in_s=st.sampled_from(MOMENTS_S),
        calls=st.integers(1, 2),
    )
    def settle(self, picks: list[int], outcome: AttemptOutcome, cost: int, retry_in_s: float, calls: int) -> None:
        """Leases of any age: those of lost attempts are refused. ``calls`` of two: the first reply was lost."""
        settlements = [self._settlement(lease, outcome, cost, retry_in_s) for lease in picked(self.leases, picks)]
        for _ in range(calls):
            expected = [self.model.settled(settlement) for settlement in settlements]
            assert self.run(self.bench.work.settle(settlements)) == expected
        self.settlements += settlements

    def _settlement(self, lease: Lease, outcome: AttemptOutcome, cost: int, retry_in_s: float) -> Settlement:
        self._requests += 1
        failed = outcome in (AttemptOutcome.FAILED, AttemptOutcome.RETRYING, AttemptOutcome.DEAD)
        return Settlement(
            lease=lease,
            outcome=outcome,
            pool="p",
            usage=Usage(cost_nano_usd=cost, model_calls=1),
            result={"by": lease.attempt, "call": self._requests} if outcome is AttemptOutcome.SUCCEEDED else None,
            error=FAULT if failed else None,
            retry_in_s=retry_in_s if outcome is AttemptOutcome.RETRYING else 0.0,
        )

    @precondition(lambda self: self.settlements)
    @rule(pick=indices)
    def settle_again_much_later(self, pick: int) -> None:
        (settlement,) = picked(self.settlements, [pick])
        expected = self.model.settled(settlement)
        assert self.run(self.bench.work.settle([settlement])) == [expected]

    @rule(stream=st.sampled_from(STREAMS))
    def lose_a_delivery(self, stream: str) -> None:
        task_id = self.run(self.bench.lose_delivery(stream))
        if task_id is not None:
            self.model.delivery_lost(task_id)

    @rule(worker=st.sampled_from(WORKERS))
    def leave(self, worker: str) -> None:
        self.run(self.bench.work.leave(worker))

    # --- users and operators

    @precondition(lambda self: self.model.tasks)
    @rule(pick=indices)
    def cancel(self, pick: int) -> None:
        (one,) = picked(list(self.model.tasks.values()), [pick])
        self.model.cancelled(one.task.id)
        record = self.run(self.bench.tasks.cancel(one.task.id, "not needed"))
        assert (record.state, record.cancel_requested) == (one.state, one.cancel_requested)

    @precondition(lambda self: self.model.in_state(TaskState.DEAD))
    @rule(picks=st.lists(indices, min_size=1, max_size=3), tenant=st.one_of(st.none(), st.sampled_from(TENANTS)))
    def redrive(self, picks: list[int], tenant: str | None) -> None:
        ids = [one.task.id for one in picked(list(self.model.tasks.values()), picks)]
        ids += [one.task.id for one in self.model.in_state(TaskState.DEAD)[:1]]
        expected = [task_id for task_id in dict.fromkeys(ids) if self.model.redriven(task_id, tenant)]
        assert sorted(self.run(self.bench.tasks.redrive(tenant, ids)).went) == sorted(expected)

    @rule(tenant=st.one_of(st.none(), st.sampled_from(TENANTS)))
    def list_the_dead(self, tenant: str | None) -> None:
        dead = [one for one in self.model.in_state(TaskState.DEAD) if tenant in (None, one.task.tenant)]
        listed = self.run(self.bench.tasks.dead(tenant, 1_000))
        assert {record.task.id for record in listed} == {one.task.id for one in dead}

    # --- time and upkeep

    @rule(steps=st.integers(1, 2))
    def time_passes(self, steps: int) -> None:
        self.model.now += steps * STEP_S
        self.run(self.bench.advance(steps * STEP_S))

    @rule()
    def keep_up(self) -> None:
        expected = self.model.kept_up()
        report = self.run(self.bench.upkeep().upkeep(1_000))
        assert msgspec.structs.replace(report, next_due_in_s=None, accounts_open=True) == expected

    @rule()
    def another_router_leads(self) -> None:
        self._router = self.bench.upkeep()

    @rule(limit=st.integers(1, 50))
    def record(self, limit: int) -> None:
        self.run(self._record(limit))

    async def _record(self, limit: int) -> bool:
        """As the router does it; ``False`` when there was nothing."""
        changes = await self._router.changes(limit, 0.001)
        for record in await self.bench.tasks.get([change.task_id for change in changes]):
            if record is not None:
                self.ledger[record.task.id] = record
        await self._router.acknowledge(changes)
        return bool(changes)

    @precondition(lambda self: self.poison < 2)
    @rule(stream=st.sampled_from(STREAMS), priority=st.sampled_from(Priority))
    def poison_a_stream(self, stream: str, priority: Priority) -> None:
        self.poison += self.run(self.bench.poison(stream, priority))

    # --- what always holds

    def records(self, which: list[ModelTask]) -> list[TaskRecord]:
        records = self.run(self.bench.tasks.get([one.task.id for one in which]))
        assert None not in records, "a task is gone"
        return list(records)

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self._compare_records()
        self._compare_counts()
        states = {task_id: one.state for task_id, one in self.model.tasks.items()}
        assert self.run(self.bench.audit(states)) == []

    def _compare_records(self) -> None:
        every = list(self.model.tasks.values())
        for one, record in zip(every, self.records(every), strict=True):
            outcomes_seen = [attempt.outcome for attempt in record.attempts]
            expected = [*one.outcomes, *([AttemptOutcome.RUNNING] if one.state is TaskState.RUNNING else [])]
            assert (record.state, outcomes_seen) == (one.state, expected)
            assert [attempt.number for attempt in record.attempts] == list(range(1, len(expected) + 1))
            assert record.task == one.task
            assert record.usage.cost_nano_usd == one.cost
            assert record.result == one.result
            assert (record.error.code if record.error else None) == one.error
            assert record.cancel_requested == one.cancel_requested
            assert (record.finished_at_ms is not None) == one.state.is_final

    def _compare_counts(self) -> None:
        counts = self.model.counts()
        for row in self.run(self.bench.tasks.stats()):
            expected = counts.get((row.stream, row.priority), Counter())
            assert (row.waiting, row.running, row.delayed, row.retrying, row.dead) == tuple(
                expected[state]
                for state in (
                    TaskState.QUEUED,
                    TaskState.RUNNING,
                    TaskState.SCHEDULED,
                    TaskState.RETRYING,
                    TaskState.DEAD,
                )
            )

    def teardown(self) -> None:
        try:
            if hasattr(self, "bench"):
                self._finish_everything()
                self._compare_logs()
                self.run(self._compare_ledger())
        finally:
            self.run(self._stack.aclose())
            self._runner.close()

    def _finish_everything(self) -> None:
        """No task is forgotten: time and workers are enough to finish them all."""
        for _ in range(60):
            if not self.model.in_state(*WAITING, TaskState.RUNNING):
                break
            self.keep_up()
            self.lease("w1", list(STREAMS), 50)
            held = [lease for lease in self.leases if self.model.holds(lease)]
            settlements = [self._settlement(lease, AttemptOutcome.SUCCEEDED, 1, 0) for lease in held]
            assert self.run(self.bench.work.settle(settlements)) == [self.model.settled(s) for s in settlements]
            self.time_passes(1)
        assert self.model.in_state(*WAITING, TaskState.RUNNING) == [], "some tasks cannot be finished"
        self.time_passes(2)
        self.keep_up()
        self.lease("w1", list(STREAMS), 50)
        assert self.run(self.bench.poisoned()) == self.poison, "an entry that is no task is in the way"
        self.all_is_as_the_model_says()

    def _compare_logs(self) -> None:
        seqs: dict[str, list[int]] = {}
        for event in self.run(self._platform_log()):
            seqs.setdefault(event.subject, []).append(event.seq)
        for task_id, one in self.model.tasks.items():
            log = self.run(self.bench.events.task_log(task_id, 0))
            assert [event.kind.value for event in log] == one.kinds
            assert [event.seq for event in log] == list(range(1, len(one.kinds) + 1))
            assert seqs.get(task_id) == list(range(1, len(one.kinds) + 1))
            _one_end(one.kinds)

    async def _platform_log(self) -> list[Event]:
        events: list[Event] = []
        cursor = ""
        while (page := await self.bench.events.read(cursor, 1_000, 0)).events:
            events += page.events
            cursor = page.cursor
        return events

    async def _compare_ledger(self) -> None:
        """Whoever follows the changes knows every task's last state."""
        while await self._record(1_000):
            pass
        states = {task_id: record.state for task_id, record in self.ledger.items()}
        assert states == {task_id: one.state for task_id, one in self.model.tasks.items()}
        costs = {task_id: record.usage.cost_nano_usd for task_id, record in self.ledger.items()}
        assert costs == {task_id: one.cost for task_id, one in self.model.tasks.items()}


def picked(items: list[T], picks: list[int]) -> list[T]:
    """Different ones."""
    return [items[index] for index in dict.fromkeys(pick % len(items) for pick in picks)]


def _first_in_first_out(ready: list[ModelTask], leased: list[str]) -> None:
    """Of one tenant, type, stream and priority, the earlier goes first."""
    passed: dict[tuple[str, str, str, int], int] = {}
    for one in sorted(ready, key=lambda each: each.number):
        if one.fresh and one.task.run_at_ms is None:
            lane = (one.task.tenant, one.task.type, one.task.route.stream, one.task.priority)
            if one.task.id not in leased:
                passed.setdefault(lane, one.number)
            else:
                assert lane not in passed, "a later task of the same lane went first"


def _one_end(kinds: list[str]) -> None:
    """A final event is the last one; only a dead letter that was redriven has one before that."""
    ends = [index for index, kind in enumerate(kinds) if kind in FINAL_EVENT_KINDS]
    assert ends[-1:] == [len(kinds) - 1]
    for index in ends[:-1]:
        assert (kinds[index], kinds[index + 1]) == ("task.dead", "task.queued")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("engine", BENCHES)
def test_the_queue_does_what_the_model_says(
    engine: str, profile: str, redis_server_url: str, nats_server_url: str
) -> None:
    print(f"QUEUE_SEARCH_SEED={SEED} QUEUE_SEARCH_EXAMPLES={EXAMPLES}")

    url = {"redis": redis_server_url, "jetstream": nats_server_url}[engine]

    class Machine(QueueMachine):
        def __init__(self) -> None:
            super().__init__(BENCHES[engine], url, PROFILES[profile])

    run_state_machine_as_test(
        hypothesis.seed(SEED)(Machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
