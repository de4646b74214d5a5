"""Queueing again what an engine has lost: history stays, late workers are fenced off, nothing is there twice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from sophia.nouns.budget import Reservation, TenantBudget
from sophia.nouns.errors import BudgetExceeded, ErrorClass, ErrorInfo
from sophia.nouns.task import Attempt, AttemptOutcome, Durability, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.queue.base import Lease, Settlement
from tests.support.queue_engines import ENGINES, Engine
from tests.support.servers import chosen_server
from tests.support.tasks import make_task

FAULT = ErrorInfo(code="unavailable", message="try later", error_class=ErrorClass.RETRYABLE)
DAY_MS = 86_400_000


@pytest.fixture(params=[*ENGINES, "redis-4-partitions@cluster"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return chosen_server(request)


@pytest_asyncio.fixture
async def engine(place: tuple[str, str], nats_server_url: str) -> AsyncIterator[Engine]:
    name, redis_url = place
    budgets = {"acme": TenantBudget(tokens_per_day=100)}
    async with ENGINES[name](redis_url, nats_server_url, lease_s=0.3, budgets=budgets) as made:
        yield made


def lost(**changes: object) -> TaskRecord:
    """A task as the ledger had it: one attempt failed, a second one was under way."""
    now_ms = time.time_ns() // 1_000_000
    task = make_task(durability=Durability.LEDGER, idempotency_key="k", **changes)
    failed = Attempt(
        number=1,
        worker="w0",
        pool="p",
        started_at_ms=now_ms - 900,
        ended_at_ms=now_ms - 600,
        outcome=AttemptOutcome.RETRYING,
        error=FAULT,
        usage=Usage(input_tokens=7, cost_nano_usd=5),
    )
    running = Attempt(number=2, worker="w1", started_at_ms=now_ms - 500)
    return TaskRecord(task=task, state=TaskState.RUNNING, attempts=(failed, running), updated_at_ms=now_ms - 400)


async def lease_one(engine: Engine, worker: str = "w1") -> Lease:
    (lease,) = await engine.work.lease(worker, ["light"], 1, 2.0)
    return lease


async def test_attempts_stay_history_and_the_next_goes_on_behind_them(engine: Engine) -> None:
    record = lost()
    assert await engine.upkeep.restore([record]) == [record.task.id]
    (found,) = await engine.tasks.get([record.task.id])
    assert found is not None
    assert (found.task, found.state) == (record.task, TaskState.QUEUED)
    assert found.attempts[0] == record.attempts[0]
    interrupted = found.attempts[1]
    assert (interrupted.outcome, interrupted.ended_at_ms) == (AttemptOutcome.LOST, record.updated_at_ms)
    assert interrupted.error is not None
    assert interrupted.error.code == "queue_lost"
    lease = await lease_one(engine)
    # The interrupted attempt is nobody's fault: two of the three tries are left, this one included.
    assert (lease.task, lease.attempt, lease.attempts_counted) == (record.task, 3, 2)
    assert (lease.spent_before.input_tokens, lease.spent_before.cost_nano_usd) == (7, 5)
    assert await engine.work.settle([Settlement(lease=lease, outcome=AttemptOutcome.SUCCEEDED, result="ok")]) == [True]
    (found,) = await engine.tasks.get([record.task.id])
    assert found is not None
    assert [attempt.number for attempt in found.attempts] == [1, 2, 3]
    assert found.result == "ok"
    assert record.task.id in {change.task_id for change in await engine.upkeep.changes(10, 1.0)}


async def test_a_worker_that_still_runs_the_lost_attempt_is_fenced_off(engine: Engine) -> None:
    record = lost()
    zombie = Lease(task=record.task, attempt=2, attempts_counted=2, worker="w1", leased_at_ms=0)
    late = Settlement(lease=zombie, outcome=AttemptOutcome.SUCCEEDED, result="late")
    assert await engine.work.settle([late]) == [False]
    await engine.upkeep.restore([record])
    assert await engine.work.settle([late]) == [False]
    lease = await lease_one(engine)
    assert await engine.work.settle([late]) == [False]
    assert [status.held for status in await engine.work.extend([zombie, lease])] == [False, True]


async def test_what_the_queue_knows_is_left_alone(engine: Engine) -> None:
    record = lost()
    await engine.upkeep.restore([record])
    lease = await lease_one(engine)
    fresh = lost()
    assert await engine.upkeep.restore([record, fresh, record]) == [fresh.task.id]
    assert [status.held for status in await engine.work.extend([lease])] == [True]
    assert await engine.upkeep.restore([]) == []


async def test_a_spent_task_gets_one_more_try(engine: Engine) -> None:
    record = lost(max_attempts=1)
    await engine.upkeep.restore([record])
    assert (await lease_one(engine)).attempts_counted == 1


async def test_what_is_not_due_yet_stays_so(engine: Engine) -> None:
    later_ms = time.time_ns() // 1_000_000 + DAY_MS
    scheduled = TaskRecord(
        task=make_task(run_at_ms=later_ms), state=TaskState.SCHEDULED, updated_at_ms=1, due_at_ms=later_ms
    )
    retrying = msgspec.structs.replace(
        lost(), state=TaskState.RETRYING, attempts=lost().attempts[:1], due_at_ms=later_ms
    )
    await engine.upkeep.restore([scheduled, retrying])
    found = await engine.tasks.get([scheduled.task.id, retrying.task.id])
    assert [record and record.state for record in found] == [TaskState.SCHEDULED] * 2
    assert [record and record.due_at_ms for record in found] == [later_ms] * 2
    assert [record and record.task for record in found] == [scheduled.task, retrying.task]


async def test_a_key_that_a_newer_task_holds_is_no_hindrance(engine: Engine) -> None:
    newer = make_task(idempotency_key="k")
    await engine.tasks.submit([newer])
    record = lost()
    assert await engine.upkeep.restore([record]) == [record.task.id]
    (receipt,) = await engine.tasks.submit([msgspec.structs.replace(newer, id=make_task().id)])
    assert receipt.task_id == newer.id


async def test_what_may_still_be_spent_is_reserved_again_even_over_the_budget(engine: Engine) -> None:
    reserved = Reservation(nano_usd=0, tokens=60)
    now_ms = time.time_ns() // 1_000_000
    records = [lost(tenant="acme", reserved=reserved, submitted_at_ms=now_ms) for _ in range(2)]
    assert len(await engine.upkeep.restore(records)) == 2
    with pytest.raises(BudgetExceeded, match="106 tokens are reserved"):
        await engine.tasks.submit([make_task(tenant="acme", reserved=reserved, submitted_at_ms=now_ms)])
