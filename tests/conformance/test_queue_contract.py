"""What every queue engine promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from sophia.nouns.errors import Conflict, ErrorClass, ErrorInfo
from sophia.nouns.event import EventKind
from sophia.nouns.task import AttemptOutcome, Priority, Task, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Emission, Lease, Settlement, WorkerBeat
from tests.support.queue_engines import ENGINES, STREAMS, Engine
from tests.support.servers import chosen_server
from tests.support.tasks import make_task
from tests.support.waiting import eventually, settle_for

FAULT = ErrorInfo(code="unavailable", message="try later", error_class=ErrorClass.RETRYABLE)


@pytest.fixture(params=[*ENGINES, "redis@6.2", "redis@8", "redis-4-partitions@cluster"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return chosen_server(request)


@pytest_asyncio.fixture
async def engine(place: tuple[str, str], nats_server_url: str) -> AsyncIterator[Engine]:
    name, redis_url = place
    async with ENGINES[name](redis_url, nats_server_url, lease_s=0.3, age_boost_s=0.2) as made:
        yield made


async def lease_one(engine: Engine, worker: str = "w1", wait_s: float = 0) -> Lease:
    (lease,) = await engine.work.lease(worker, ["light"], 1, wait_s)
    return lease


def done(lease: Lease, result: object = "ok") -> Settlement:
    return Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=result)


async def state_of(engine: Engine, task: Task) -> TaskState | None:
    (record,) = await engine.tasks.get([task.id])
    return record.state if record else None


async def test_a_task_is_leased_with_all_its_fields_and_its_result_can_be_read(engine: Engine) -> None:
    task = make_task(labels={"team": "a"}, payload={"prompt": "çüß 漢字", "n": [1, {"x": None}]}, tenant="acme")
    (receipt,) = await engine.tasks.submit([task])
    assert (receipt.task_id, receipt.state, receipt.duplicate) == (task.id, TaskState.QUEUED, False)
    await engine.work.beat(WorkerBeat(worker="w1", pool="p", state="ready", busy=0, slots=1, started_at_ms=1))
    lease = await lease_one(engine)
    assert lease.task == task
    assert (lease.attempt, lease.attempts_counted) == (1, 1)
    usage = Usage(input_tokens=3, output_tokens=4, cost_nano_usd=55, run_s=0.5)
    settlement = Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, pool="p", result={"text": "é"}, usage=usage)
    assert await engine.work.settle([settlement]) == [True]
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert record.task == task
    assert (record.state, record.result, record.usage) == (TaskState.SUCCEEDED, {"text": "é"}, usage)
    assert [(a.number, a.worker, a.pool, a.outcome) for a in record.attempts] == [
        (1, "w1", "p", AttemptOutcome.SUCCEEDED)
    ]
    assert record.finished_at_ms is not None


async def test_what_was_added_before_anybody_listened_is_delivered(engine: Engine) -> None:
    tasks = [make_task() for _ in range(20)]
    await engine.tasks.submit(tasks)
    leases = await engine.work.lease("w1", ["light"], 100, 0)
    assert [lease.task.id for lease in leases] == [task.id for task in tasks]


async def test_one_lease_finds_what_was_there_before_and_what_came_since(engine: Engine) -> None:
    """An engine may read ahead of what it leases; what comes later must not be overlooked for that."""
    first, since = ([make_task() for _ in range(4)] for _ in range(2))
    await engine.tasks.submit(first)
    (one,) = await engine.work.lease("w1", ["light"], 1, 5.0)
    await engine.tasks.submit(since)
    rest = await engine.work.lease("w1", ["light"], 10, 5.0)
    assert {lease.task.id for lease in [one, *rest]} == {task.id for task in [*first, *since]}


async def test_a_waiting_worker_is_woken_by_a_submission(engine: Engine) -> None:
    waiting = asyncio.create_task(engine.work.lease("w1", list(STREAMS), 4, 20))
    await asyncio.wait({waiting}, timeout=0.3)
    assert not waiting.done()
    started = time.monotonic()
    task = make_task()
    await engine.tasks.submit([task])
    (lease,) = await waiting
    assert lease.task.id == task.id
    assert time.monotonic() - started < 2


async def test_one_entry_goes_to_one_worker(engine: Engine) -> None:
    await engine.tasks.submit([make_task() for _ in range(50)])
    batches = await asyncio.gather(*(engine.work.lease(f"w{n}", ["light"], 10, 0) for n in range(8)))
    ids = [lease.task.id for batch in batches for lease in batch]
    assert len(ids) == len(set(ids)) == 50


async def test_higher_priorities_go_first(engine: Engine) -> None:
    low, normal, critical = (make_task(priority=p) for p in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL))
    for task in (low, normal, critical):
        await engine.tasks.submit([task])
    leases = await engine.work.lease("w1", ["light"], 3, 0)
    assert [lease.task.id for lease in leases] == [critical.id, normal.id, low.id]


async def test_a_low_task_is_not_starved_by_a_flood_of_higher_ones(engine: Engine) -> None:
    low = make_task(priority=Priority.LOW)
    await engine.tasks.submit([low])
    await engine.tasks.submit([make_task(priority=Priority.CRITICAL) for _ in range(40)])
    (first,) = await engine.work.lease("w1", ["light"], 1, 0)
    assert first.task.priority == Priority.CRITICAL
    taken: list[str] = []

    async def low_was_taken() -> bool:
        if len(taken) < 30:
            taken.extend(lease.task.id for lease in await engine.work.lease("w1", ["light"], 1, 0))
        return low.id in taken

    await settle_for(0.25)
    await eventually(low_was_taken)
    assert len(taken) < 30


async def test_one_tenants_flood_does_not_delay_another_tenants_task(engine: Engine) -> None:
    for _ in range(10):
        await engine.tasks.submit([make_task(tenant="flood") for _ in range(30)])
    single = make_task(tenant="single")
    await engine.tasks.submit([single])
    order = []
    while single.id not in order:
        order += [lease.task.id for lease in await engine.work.lease("w1", ["light"], 1, 0)]
    # The window of entries whose order is settled, and one turn for each tenant.
    assert len(order) <= 4 + 2


async def test_a_late_result_of_a_lost_attempt_is_refused(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    zombie = await lease_one(engine, "zombie")

    async def reclaimed() -> bool:
        return (await engine.upkeep.upkeep(100)).reclaimed == 1

    await eventually(reclaimed)
    second = await lease_one(engine, "w2")
    assert (second.attempt, second.attempts_counted) == (2, 2)
    assert await engine.work.emit([Emission(lease=zombie, kind="task.output", data={"text": "late"})]) == [False]
    assert [s.held for s in await engine.work.extend([zombie])] == [False]
    assert await engine.work.settle([done(zombie, "late")]) == [False]
    assert await engine.work.settle([done(second, "right")]) == [True]
    assert await engine.work.settle([done(zombie, "later still")]) == [False]
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert record.result == "right"
    assert [a.outcome for a in record.attempts] == [AttemptOutcome.LOST, AttemptOutcome.SUCCEEDED]


async def test_a_lease_that_is_extended_is_never_given_to_another(engine: Engine) -> None:
    await engine.tasks.submit([make_task()])
    lease = await lease_one(engine)
    until = time.monotonic() + 1.0

    async def outlived() -> bool:
        (status,) = await engine.work.extend([lease])
        assert status.held
        assert (await engine.upkeep.upkeep(100)).reclaimed == 0
        return time.monotonic() > until

    await eventually(outlived)
    assert await engine.work.settle([done(lease)]) == [True]


async def test_settling_twice_is_applied_once(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    lease = await lease_one(engine)
    settlement = Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result=1, usage=Usage(cost_nano_usd=7))
    assert await engine.work.settle([settlement]) == [True]
    assert await engine.work.settle([settlement]) == [True]
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert record.usage.cost_nano_usd == 7
    log = await engine.events.task_log(task.id, 0)
    assert [event.kind for event in log].count(EventKind.TASK_SUCCEEDED) == 1


async def test_a_retry_waits_its_time_and_counts(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    lease = await lease_one(engine)
    await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.RETRYING, error=FAULT, retry_in_s=0.2)])
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert record.task == task
    assert (record.state, record.error) == (TaskState.RETRYING, FAULT)
    assert record.due_at_ms is not None
    assert await engine.work.lease("w1", ["light"], 1, 0) == []

    async def promoted() -> bool:
        return (await engine.upkeep.upkeep(100)).promoted == 1

    await eventually(promoted)
    second = await lease_one(engine)
    assert (second.attempt, second.attempts_counted) == (2, 2)


async def test_a_worker_that_dies_again_and_again_ends_in_the_dead_letters(engine: Engine) -> None:
    task = make_task(max_attempts=2)
    await engine.tasks.submit([task])
    for _ in range(2):
        await lease_one(engine)

        async def noticed() -> bool:
            report = await engine.upkeep.upkeep(100)
            return report.reclaimed + report.dead == 1

        await eventually(noticed)
    (dead,) = await engine.tasks.dead(None, 10)
    assert dead.task == task
    assert dead.error is not None
    assert dead.error.code == "worker_lost"
    assert await engine.tasks.dead("somebody-else", 10) == []
    assert (await engine.tasks.redrive("somebody-else", [task.id])).went == []
    assert sum(row.dead or 0 for row in await engine.tasks.stats()) == 1
    assert (await engine.tasks.redrive(task.tenant, [task.id])).went == [task.id]
    assert sum(row.dead or 0 for row in await engine.tasks.stats()) == 0
    assert await engine.tasks.dead(None, 10) == []
    lease = await lease_one(engine)
    assert (lease.attempt, lease.attempts_counted) == (3, 1)
    assert await engine.work.settle([done(lease)]) == [True]


async def test_handing_back_does_not_count_the_attempt(engine: Engine) -> None:
    task = make_task(max_attempts=1)
    await engine.tasks.submit([task])
    lease = await lease_one(engine)
    await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.HANDED_BACK)])
    again = await lease_one(engine)
    assert (again.attempt, again.attempts_counted) == (2, 1)
    assert await engine.work.settle([done(lease)]) == [False]
    assert await engine.work.settle([done(again)]) == [True]


@pytest.mark.parametrize("waiting_behind", [0, 30])
async def test_cancelling_what_waits_is_final_at_once(engine: Engine, waiting_behind: int) -> None:
    await engine.tasks.submit([make_task() for _ in range(waiting_behind + 1)])
    task = make_task()
    await engine.tasks.submit([task])
    record = await engine.tasks.cancel(task.id, "not needed")
    assert record is not None
    assert (record.state, record.task) == (TaskState.CANCELLED, task)
    assert record.error is not None
    assert (record.error.code, record.error.message) == ("cancelled", "not needed")
    leases = await engine.work.lease("w1", ["light"], 100, 0)
    assert task.id not in [lease.task.id for lease in leases]
    assert len(leases) == waiting_behind + 1
    assert sum(row.waiting or 0 for row in await engine.tasks.stats()) == 0


async def test_cancelling_what_runs_asks_the_worker(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    lease = await lease_one(engine)
    record = await engine.tasks.cancel(task.id, "changed my mind")
    assert record is not None
    assert (record.state, record.cancel_requested) == (TaskState.RUNNING, True)
    (status,) = await engine.work.extend([lease])
    assert status.held
    assert status.cancel_requested
    usage = Usage(output_tokens=5)
    await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.CANCELLED, usage=usage)])
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert (record.state, record.usage) == (TaskState.CANCELLED, usage)
    log = await engine.events.task_log(task.id, 0)
    assert log[-1].data["reason"] == "changed my mind"


async def test_a_cancelled_task_whose_worker_died_is_not_run_again(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    await lease_one(engine)
    await engine.tasks.cancel(task.id, "no")

    async def cancelled() -> bool:
        await engine.upkeep.upkeep(100)
        return await state_of(engine, task) is TaskState.CANCELLED

    await eventually(cancelled)


async def test_the_same_key_and_request_is_the_same_task(engine: Engine) -> None:
    payload = {"a": 1, "b": 2}
    first = make_task(idempotency_key="k", payload=payload)
    await engine.tasks.submit([first])
    again = make_task(idempotency_key="k", payload=dict(reversed(payload.items())))
    (receipt,) = await engine.tasks.submit([again])
    assert (receipt.task_id, receipt.duplicate) == (first.id, True)
    other = make_task(idempotency_key="k", payload={"a": 2})
    with pytest.raises(Conflict, match="idempotency key"):
        await engine.tasks.submit([other])
    assert await engine.tasks.get([other.id]) == [None]
    elsewhere = make_task(idempotency_key="k", tenant="other", payload={"a": 2})
    (receipt,) = await engine.tasks.submit([elsewhere])
    assert not receipt.duplicate


async def test_a_batch_with_a_conflict_accepts_nothing(engine: Engine) -> None:
    await engine.tasks.submit([make_task(idempotency_key="k")])
    fresh = make_task()
    with pytest.raises(Conflict):
        await engine.tasks.submit([fresh, make_task(idempotency_key="k", payload={"x": 1})])
    assert await engine.tasks.get([fresh.id]) == [None]


async def test_submitting_the_same_id_again_changes_nothing(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    (receipt,) = await engine.tasks.submit([task])
    assert not receipt.duplicate
    assert len(await engine.work.lease("w1", ["light"], 10, 0)) == 1


async def test_a_scheduled_task_starts_at_its_time(engine: Engine) -> None:
    task = make_task(run_at_ms=time.time_ns() // 1_000_000 + 300)
    (receipt,) = await engine.tasks.submit([task])
    assert receipt.state is TaskState.SCHEDULED
    assert await engine.work.lease("w1", ["light"], 1, 0) == []
    wait = await engine.tasks.wait_of(task.id)
    assert wait is not None
    assert wait.due_at_ms == task.run_at_ms

    async def promoted() -> bool:
        return (await engine.upkeep.upkeep(100)).promoted == 1

    await eventually(promoted)
    lease = await lease_one(engine)
    assert lease.task.id == task.id
    kinds = [event.kind for event in await engine.events.task_log(task.id, 0)]
    assert kinds == [EventKind.TASK_SCHEDULED, EventKind.TASK_QUEUED, EventKind.TASK_RUNNING]


@pytest.mark.parametrize("behind", [0, 20])
async def test_a_task_that_cannot_start_in_time_fails_as_such(engine: Engine, behind: int) -> None:
    await engine.tasks.submit([make_task() for _ in range(behind)] or [make_task()])
    task = make_task(deadline_at_ms=time.time_ns() // 1_000_000 + 100)
    await engine.tasks.submit([task])

    async def expired() -> bool:
        return (await engine.upkeep.upkeep(100)).expired == 1

    await eventually(expired)
    (record,) = await engine.tasks.get([task.id])
    assert record is not None
    assert record.state is TaskState.FAILED
    assert record.error is not None
    assert record.error.code == "deadline_exceeded"
    assert task.id not in [lease.task.id for lease in await engine.work.lease("w1", ["light"], 100, 0)]


@pytest.mark.parametrize("found_by", ["worker", "upkeep"])
async def test_tasks_that_are_too_late_do_not_hold_up_those_behind_them(engine: Engine, found_by: str) -> None:
    assert await engine.work.lease("w1", ["light"], 3, 0.05) == []
    await engine.tasks.submit([make_task(deadline_at_ms=time.time_ns() // 1_000_000 + 100) for _ in range(8)])
    await settle_for(0.15)
    in_time = [make_task() for _ in range(6)]
    await engine.tasks.submit(in_time)
    if found_by == "upkeep":
        # On a busy machine the first call's read may still have been under way, and was given one of them.
        assert (await engine.upkeep.upkeep(100)).expired in (7, 8)
    leased: list[str] = []

    async def all_leased() -> bool:
        leased.extend(lease.task.id for lease in await engine.work.lease("w1", ["light"], 3, 0.2))
        return len(leased) == len(in_time)

    await eventually(all_leased)
    assert set(leased) == {task.id for task in in_time}


async def test_upkeep_tells_what_it_did_before_any_worker_came(engine: Engine) -> None:
    await engine.tasks.submit([make_task(deadline_at_ms=time.time_ns() // 1_000_000 + 50) for _ in range(3)])
    await settle_for(0.1)
    assert (await engine.upkeep.upkeep(100)).expired == 3
    assert sum(row.waiting or 0 for row in await engine.tasks.stats()) == 0


async def test_the_log_of_a_task_can_be_resumed_from_any_event(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    lease = await lease_one(engine)
    texts = [f"piece {n}" for n in range(5)]
    await engine.work.emit([Emission(lease=lease, kind="task.output", data={"text": text}) for text in texts])
    await engine.work.settle([done(lease)])
    log = await engine.events.task_log(task.id, 0)
    assert [event.seq for event in log] == list(range(1, 9))
    assert [event.data["text"] for event in log[2:-1]] == texts
    assert log[0].data["route"]["reason"] == "else"
    for event in log:
        assert await engine.events.task_log(task.id, event.seq) == log[event.seq :]


async def test_the_platforms_log_gives_every_event_once_from_any_cursor(engine: Engine) -> None:
    start = await engine.events.head()
    tasks = [make_task(tenant=f"t{n % 3}") for n in range(6)]
    for task in tasks:
        await engine.tasks.submit([task])
    leases = await engine.work.lease("w1", ["light"], 10, 0)
    await engine.work.settle([done(lease) for lease in leases])
    page = await engine.events.read(start, 1000, 0)
    assert len(page.events) == 18
    assert not page.gap
    for task in tasks:
        assert [e.seq for e in page.events if e.subject == task.id] == [1, 2, 3]
    half = page.events[8]
    rest = await engine.events.read(half.cursor, 1000, 0)
    assert rest.events == page.events[9:]
    assert (await engine.events.read(page.cursor, 10, 0.01)).events == []


async def test_of_two_that_replace_a_snapshot_at_once_neither_is_lost(engine: Engine) -> None:
    assert not await engine.events.swap_snapshot("s", b"other", b"0")
    assert await engine.events.swap_snapshot("s", None, b"0")
    assert not await engine.events.swap_snapshot("s", None, b"1")

    async def count() -> None:
        for _ in range(100):
            was = await engine.events.snapshot("s")
            assert was is not None
            if await engine.events.swap_snapshot("s", was, str(int(was) + 1).encode()):
                return
        raise AssertionError("never its turn")

    await asyncio.gather(*(count() for _ in range(6)))
    assert await engine.events.snapshot("s") == b"6"


async def test_changes_are_given_until_they_are_acknowledged(engine: Engine) -> None:
    tasks = [make_task() for _ in range(3)]
    await engine.tasks.submit(tasks)
    changes = await engine.upkeep.changes(100, 0.1)
    assert {change.task_id for change in changes} == {task.id for task in tasks}
    assert await engine.upkeep.changes(100, 0.1) == changes
    await engine.upkeep.acknowledge(changes)
    assert await engine.upkeep.changes(100, 0.01) == []


async def test_settled_entries_leave_the_streams(engine: Engine) -> None:
    await engine.tasks.submit([make_task() for _ in range(30)])
    while leases := await engine.work.lease("w1", ["light"], 7, 0):
        await engine.work.settle([done(lease) for lease in leases])
    for row in await engine.tasks.stats():
        assert (row.waiting, row.running, row.delayed, row.retrying) == (0, 0, 0, 0)
        assert row.first_entry is None


async def test_counts_follow_a_task_through_its_states(engine: Engine) -> None:
    async def counts() -> tuple[int | None, ...]:
        (row,) = [r for r in await engine.tasks.stats() if (r.stream, r.priority) == ("light", "high")]
        return row.waiting, row.running, row.delayed, row.retrying

    soon = time.time_ns() // 1_000_000 + 60_000
    await engine.tasks.submit([make_task(priority=Priority.HIGH) for _ in range(6)])
    await engine.tasks.submit([make_task(priority=Priority.HIGH, run_at_ms=soon)])
    assert await counts() == (6, 0, 1, 0)
    first, second = await engine.work.lease("w1", ["light"], 2, 0)
    assert await counts() == (4, 2, 1, 0)
    await engine.work.settle(
        [done(first), Settlement(lease=second, outcome=AttemptOutcome.RETRYING, error=FAULT, retry_in_s=60)]
    )
    assert await counts() == (4, 0, 1, 1)


async def test_only_one_leads_and_another_takes_over(engine: Engine) -> None:
    assert await engine.upkeep.lead("router", "a", 0.2)
    assert not await engine.upkeep.lead("router", "b", 0.2)
    assert await engine.upkeep.lead("router", "a", 0.2)
    await eventually(lambda: engine.upkeep.lead("router", "b", 5))
    await engine.upkeep.resign("router", "a")
    assert not await engine.upkeep.lead("router", "a", 5)
    await engine.upkeep.resign("router", "b")
    assert await engine.upkeep.lead("router", "a", 5)


async def test_workers_report_and_are_asked_to_drain(engine: Engine) -> None:
    beat = WorkerBeat(worker="w1", pool="p", state="ready", busy=1, slots=4, started_at_ms=5)
    assert not await engine.work.beat(beat)
    (seen,) = await engine.tasks.workers()
    assert msgspec.structs.replace(seen, seen_at_ms=0) == beat
    await engine.upkeep.request_stop("w1")
    assert await engine.work.beat(beat)
    await engine.work.leave("w1")
    assert await engine.tasks.workers() == []


async def test_a_delivery_that_was_never_begun_is_found_again(engine: Engine) -> None:
    task = make_task()
    await engine.tasks.submit([task])
    await engine.lose_a_delivery()

    async def found() -> list[Lease]:
        await engine.upkeep.upkeep(100)
        return await engine.work.lease("w1", ["light"], 1, 0)

    (lease,) = await eventually(found)
    assert lease.task.id == task.id


async def test_an_entry_that_cannot_be_decoded_does_not_block_the_stream(engine: Engine) -> None:
    await engine.add_poison()
    task = make_task()
    await engine.tasks.submit([task])
    leases = [lease for _ in range(8) for lease in await engine.work.lease("w1", ["light"], 10, 0)]
    assert [lease.task.id for lease in leases] == [task.id]

    async def set_aside() -> bool:
        await engine.work.lease("w1", ["light"], 10, 0)
        return (await engine.shelf.poison(0)).total > 0

    await eventually(set_aside, 10)
    poison = await engine.shelf.poison(100)
    assert poison.total == len(poison.newest)
    assert {(entry.stream, entry.priority) for entry in poison.newest} == {("light", "normal")}
    assert all("ever" in entry.content for entry in poison.newest)
